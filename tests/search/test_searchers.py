"""The contract of every searcher: a new entry of the registry is tested the moment it is registered."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from grokstudy.orchestrator.search import SEARCHERS
from grokstudy.orchestrator.search.base import Batch
from grokstudy.orchestrator.search.space import Point
from grokstudy.orchestrator.study.load import load_study
from grokstudy.orchestrator.study.study import Study

SPACE = """
base: {data: {phi: 2}, model: {heads: 1}}
space:
  optim.lr: {log: [1e-4, 1e-2], points: 3}
  optim.beta1: {uniform: [0.5, 0.9], points: 2}
  train.steps: {int: [100, 200], points: 2}
  model.width: {log: [16, 256], points: 3}
  optim.clip: [null, 1.0]
  model.tied: [true, false]
  depth: {shared: {model.layers: 2, model.loops: 2}, untied: {model.layers: 4, model.loops: 1}}
"""
OPTIONS = {"grid": "", "random": ", trials: 10, seed: 3", "tpe": ", trials: 10, batch: 4, seed: 3"}
GRID_POINTS = 3 * 2 * 2 * 3 * 2 * 2 * 2


def study_with(folder: Path, search: str, space: str = SPACE) -> Study:
    path = folder / "study.yaml"
    path.write_text(f"{space}\nsearch: {{{search}}}\n")
    return load_study(path)


@pytest.fixture(params=SEARCHERS)
def study(request: pytest.FixtureRequest, tmp_path: Path) -> Study:
    assert request.param in OPTIONS, "a new searcher needs its options for the contract"
    return study_with(tmp_path, f"kind: {request.param}{OPTIONS[request.param]}")


def score(point: Point) -> float | None:
    """A smooth objective that fails in a corner."""
    lr, beta1 = point["optim.lr"], point["optim.beta1"]
    assert isinstance(lr, float)
    assert isinstance(beta1, float)
    return None if lr > 5e-3 and beta1 > 0.8 else -abs(math.log10(lr) + 3) - beta1


def play(study: Study) -> list[Batch]:
    searcher, values, batches = SEARCHERS[study.search_kind](study.axes, study.search), dict[int, float | None](), []
    while batch := searcher.next_points(values):
        batches.append(batch)
        values.update({number: score(point) for number, point in batch})
    assert searcher.next_points(values) == []
    return batches


def test_numbers_count_up_from_zero_and_the_count_is_told(study: Study) -> None:
    numbers = [number for batch in play(study) for number, _ in batch]
    assert numbers == list(range(SEARCHERS[study.search_kind].count(study.axes, study.search)))


def test_a_new_driver_gets_the_same_points_for_the_same_values(study: Study) -> None:
    assert play(study) == play(study)


def test_points_lie_in_the_space(study: Study) -> None:
    for batch in play(study):
        for _, point in batch:
            config = study.config_at(point, 0)
            assert list(point) == study.columns
            assert 1e-4 <= config.optim.lr <= 1e-2
            assert 0.5 <= config.optim.beta1 <= 0.9
            assert type(config.train.steps) is int
            assert 100 <= config.train.steps <= 200
            assert type(config.model.width) is int
            assert config.model.layers == {"shared": 2, "untied": 4}[str(point["depth"])]


def test_preview_can_be_resolved_before_anything_ran(study: Study) -> None:
    for _, point in SEARCHERS[study.search_kind](study.axes, study.search).preview():
        study.config_at(point, 0)


def test_a_batch_without_values_is_refused(study: Study) -> None:
    searcher = SEARCHERS[study.search_kind](study.axes, study.search)
    first = searcher.next_points({})
    with pytest.raises(ValueError, match=f"point {first[0][0]} has no value yet"):
        searcher.next_points({})


def test_every_point_failing_ends_the_search_too(study: Study) -> None:
    searcher, values, n_points = SEARCHERS[study.search_kind](study.axes, study.search), dict[int, float | None](), 0
    while batch := searcher.next_points(values):
        values.update(dict.fromkeys((number for number, _ in batch), None))
        n_points += len(batch)
    assert n_points == SEARCHERS[study.search_kind].count(study.axes, study.search)


def test_grid_is_the_product_with_the_last_axis_fastest(tmp_path: Path) -> None:
    (batch,) = play(study_with(tmp_path, "kind: grid"))
    assert len({tuple(point.values()) for _, point in batch}) == GRID_POINTS
    assert [point["depth"] for _, point in batch[:4]] == ["shared", "untied", "shared", "untied"]
    assert sorted({point["optim.lr"] for _, point in batch}, key=str) == [0.0001, 0.001, 0.01]
    assert {point["model.width"] for _, point in batch} == {16, 64, 256}


def test_more_random_trials_only_add_points(tmp_path: Path) -> None:
    (few,), (many,) = (play(study_with(tmp_path, f"kind: random, trials: {n}")) for n in (5, 50))
    assert many[:5] == few
    assert len({point["optim.lr"] for _, point in many}) == 50


def test_another_axis_leaves_random_coordinates_as_they_were(tmp_path: Path) -> None:
    (before,) = play(study_with(tmp_path, "kind: random, trials: 5"))
    (after,) = play(study_with(tmp_path, "kind: random, trials: 5", SPACE + "  model.bias: [true, false]\n"))
    assert [{name: point[name] for name in point if name != "model.bias"} for _, point in after] == [
        point for _, point in before
    ]


def test_random_coordinates_fill_the_axes(tmp_path: Path) -> None:
    (batch,) = play(study_with(tmp_path, "kind: random, trials: 300, seed: 1"))
    logs = sorted(math.log10(float(point["optim.lr"] or 0)) for _, point in batch)
    assert logs[0] < -3.95
    assert logs[-1] > -2.05
    assert logs[150] == pytest.approx(-3, abs=0.25)
    assert 110 < sum(point["depth"] == "shared" for _, point in batch) < 190


def test_tpe_depends_on_the_values_and_not_on_their_order(tmp_path: Path) -> None:
    study = study_with(tmp_path, "kind: tpe, trials: 24, batch: 6, seed: 0")

    def third_batch(sign: float, reverse: bool) -> Batch:
        searcher, values = SEARCHERS["tpe"](study.axes, study.search), dict[int, float | None]()
        for _ in range(2):
            batch = searcher.next_points(values)
            told = {number: sign * (score(point) or -9) for number, point in batch}
            values = dict(sorted({**values, **told}.items(), reverse=reverse))
        return searcher.next_points(values)

    assert third_batch(1, False) == third_batch(1, True)
    assert third_batch(1, False) != third_batch(-1, False)


def test_tpe_finds_better_points_than_its_first_batch(tmp_path: Path) -> None:
    space = "space: {optim.lr: {log: [1e-5, 1.0]}, optim.beta1: {uniform: [0.5, 0.9]}}"
    batches = play(study_with(tmp_path, "kind: tpe, trials: 40, batch: 10", space))
    best = [max(score(point) or -9.0 for _, point in batch) for batch in batches]
    assert max(best[2:]) > best[0]
