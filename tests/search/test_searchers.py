"""The contract of every searcher: a new entry of the registry is tested the moment it is registered."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from grokstudy.orchestrator.search import SEARCHERS
from grokstudy.orchestrator.search.base import Proposals, Score, Searcher
from grokstudy.orchestrator.search.optuna import expected_beyond
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
ADAPTIVE = ", trials: 10, batch: 4, seed: 3"
OPTIONS = {
    **{"grid": "", "random": ", trials: 10, seed: 3", "sobol": ", trials: 10, seed: 3"},
    **dict.fromkeys(("tpe", "gp", "cmaes"), ADAPTIVE),
    "nsga2": ADAPTIVE + ", objectives: [accuracy/test_oo, loss/test_oo], population: 4",
    "boundary": ", trials: 3, batch: 2, least: 24",
}
GRID_POINTS = 3 * 2 * 2 * 3 * 2 * 2 * 2


def study_with(folder: Path, search: str, space: str = SPACE) -> Study:
    path = folder / "study.yaml"
    path.write_text(f"{space}\nsearch: {{{search}}}\n")
    return load_study(path)


@pytest.fixture(params=SEARCHERS)
def study(request: pytest.FixtureRequest, tmp_path: Path) -> Study:
    assert request.param in OPTIONS, "a new searcher needs its options for the contract"
    return study_with(tmp_path, f"kind: {request.param}{OPTIONS[request.param]}")


def score(point: Point, goals: int = 1) -> Score | None:
    """A smooth objective that fails in a corner."""
    lr, beta1 = point["optim.lr"], point["optim.beta1"]
    assert isinstance(lr, float)
    assert isinstance(beta1, float)
    number = -abs(math.log10(lr) + 3) - beta1
    return None if lr > 5e-3 and beta1 > 0.8 else Score((number, -number)[:goals], (False,) * goals)


def outcome(point: Point) -> Score | None:
    """What comes or does not come, and fails in the same corner."""
    told = score(point)
    return None if told is None else Score((float(told.numbers[0] > -1.2),))


def kind_of(searcher: Searcher) -> str | None:
    """What its first goal is about."""
    return searcher.goals[0].kind if searcher.goals else None


def play(study: Study, known: dict[int, Score | None] | None = None, late: int = 0) -> Proposals:
    """All points, in order; up to `late` points are on their way when the newest of them ends first."""
    searcher, scores = SEARCHERS[study.search_kind](study.axes, study.search), {} if known is None else known
    goals = max(1, len(searcher.goals))
    asked: Proposals = []
    running: Proposals = []
    while not searcher.finished or running:
        new = searcher.next_points(scores)
        asked, running = asked + new, running + [row for row in new if row[0] not in scores]
        if running:
            number, point = running.pop(-1 if late and len(running) > 1 else 0)
            scores[number] = outcome(point) if kind_of(searcher) == "outcome" else score(point, goals)
    assert searcher.next_points(scores) == []
    return asked


def test_numbers_count_up_from_zero_and_the_count_is_told(study: Study) -> None:
    numbers = [number for number, _ in play(study)]
    assert numbers == list(range(SEARCHERS[study.search_kind].count(study.axes, study.search)))


def test_a_new_driver_gets_the_same_points_for_the_same_scores(study: Study) -> None:
    scores: dict[int, Score | None] = {}
    whole = play(study, scores)
    left = {number: scores[number] for number in scores if number < 6}  # killed when these were in the root
    assert play(study, left) == whole


def test_points_do_not_depend_on_which_run_ends_first(study: Study) -> None:
    assert play(study) == play(study, late=1)


def test_no_point_is_asked_twice(study: Study) -> None:
    points = [tuple(point.values()) for _, point in play(study)]
    assert len(set(points)) == len(points)


def test_points_lie_in_the_space(study: Study) -> None:
    for _, point in play(study):
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


def test_an_adaptive_search_waits_for_scores_with_a_batch_on_its_way(study: Study) -> None:
    searcher = SEARCHERS[study.search_kind](study.axes, study.search)
    first = searcher.next_points({})
    assert searcher.next_points({}) == []
    assert searcher.finished or len(first) == study.search.batch
    if not searcher.finished:  # the oldest decides when the next one is asked, not the others
        assert searcher.next_points({first[-1][0]: None}) == []
        assert len(searcher.next_points({first[0][0]: None})) == 1


def test_every_point_failing_ends_the_search_too(study: Study) -> None:
    searcher, scores = SEARCHERS[study.search_kind](study.axes, study.search), dict[int, Score | None]()
    while not searcher.finished:
        scores.update(dict.fromkeys((number for number, _ in searcher.next_points(scores)), None))
    assert len(scores) == SEARCHERS[study.search_kind].count(study.axes, study.search)


def test_grid_is_the_product_with_the_last_axis_fastest(tmp_path: Path) -> None:
    batch = play(study_with(tmp_path, "kind: grid"))
    assert len({tuple(point.values()) for _, point in batch}) == GRID_POINTS
    assert [point["depth"] for _, point in batch[:4]] == ["shared", "untied", "shared", "untied"]
    assert sorted({point["optim.lr"] for _, point in batch}, key=str) == [0.0001, 0.001, 0.01]
    assert {point["model.width"] for _, point in batch} == {16, 64, 256}


def test_more_random_trials_only_add_points(tmp_path: Path) -> None:
    few, many = (play(study_with(tmp_path, f"kind: random, trials: {n}")) for n in (5, 50))
    assert many[:5] == few
    assert len({point["optim.lr"] for _, point in many}) == 50


def test_another_axis_leaves_random_coordinates_as_they_were(tmp_path: Path) -> None:
    before = play(study_with(tmp_path, "kind: random, trials: 5"))
    after = play(study_with(tmp_path, "kind: random, trials: 5", SPACE + "  model.bias: [true, false]\n"))
    assert [{name: point[name] for name in point if name != "model.bias"} for _, point in after] == [
        point for _, point in before
    ]


def test_random_coordinates_fill_the_axes(tmp_path: Path) -> None:
    batch = play(study_with(tmp_path, "kind: random, trials: 300, seed: 1"))
    logs = sorted(math.log10(float(point["optim.lr"] or 0)) for _, point in batch)
    assert logs[0] < -3.95
    assert logs[-1] > -2.05
    assert logs[150] == pytest.approx(-3, abs=0.25)
    assert 110 < sum(point["depth"] == "shared" for _, point in batch) < 190


SQUARE = "space: {optim.lr: {log: [1e-5, 1.0]}, optim.beta1: {uniform: [0.1, 0.9]}}"


@pytest.mark.parametrize("kind", ["tpe", "gp", "cmaes"])
def test_a_known_optimum_is_found_restarted_in_the_middle(kind: str, tmp_path: Path) -> None:
    """f = |log10 lr + 3| + 4 |beta1 - 0.4|: 40 random points come to about 0.35 at best."""
    study = study_with(tmp_path, f"kind: {kind}, trials: 40, batch: 3, mode: min", SQUARE)

    def f(point: Point) -> float:
        return abs(math.log10(float(point["optim.lr"] or 0)) + 3) + 4 * abs(float(point["optim.beta1"] or 0) - 0.4)

    scores: dict[int, Score | None] = {}
    best = math.inf
    for stop in (17, 10**9):
        searcher = SEARCHERS[kind](study.axes, study.search)
        while not searcher.finished and len(scores) < stop:
            for number, point in searcher.next_points(scores):
                scores.setdefault(number, Score((f(point),)))
                best = min(best, f(point))
    assert len(scores) == 40
    assert best < 0.3


def test_nsga2_spreads_over_the_front(tmp_path: Path) -> None:
    """Early circuit wants beta1 low, early answer wants it high: both ends of the front are found."""
    text = "kind: nsga2, trials: 60, batch: 4, population: 8, objectives: [circuit, generalised]"
    study = study_with(tmp_path, text, SQUARE)
    scores: dict[int, Score | None] = {}
    searcher = SEARCHERS["nsga2"](study.axes, study.search)
    rows = []
    while not searcher.finished:
        for number, point in searcher.next_points(scores):
            off, beta1 = abs(math.log10(float(point["optim.lr"] or 0)) + 3), float(point["optim.beta1"] or 0)
            scores[number] = Score((3 + off + beta1, 4 + off - beta1), (False, False))
            rows.append((off, beta1))
    late = [row for row in rows[-20:] if row[0] < 0.5]
    assert len(late) > 5
    assert max(beta1 for _, beta1 in late) - min(beta1 for _, beta1 in late) > 0.3


def test_tpe_depends_on_the_scores(tmp_path: Path) -> None:
    study = study_with(tmp_path, "kind: tpe, trials: 24, batch: 6, seed: 0")

    def last(sign: float) -> Point:
        searcher, scores = SEARCHERS["tpe"](study.axes, study.search), dict[int, Score | None]()
        while not searcher.finished:
            for number, point in searcher.next_points(scores):
                told = score(point)
                scores[number] = None if told is None else Score((sign * told.numbers[0],))
        return point

    assert last(1) == last(1)
    assert last(1) != last(-1)


def test_a_small_space_is_exhausted_without_a_repeat(tmp_path: Path) -> None:
    space = "space: {optim.clip: [null, 1.0], model.tied: [true, false], train.steps: {int: [100, 102]}}"
    study = study_with(tmp_path, "kind: tpe, trials: 40", space)
    searcher, scores = SEARCHERS["tpe"](study.axes, study.search), dict[int, Score | None]()
    points = set()
    while not searcher.finished:
        for number, point in searcher.next_points(scores):
            assert tuple(point.values()) not in points
            points.add(tuple(point.values()))
            scores[number] = Score((1.0,))
    assert len(points) == 2 * 2 * 3


def test_grid_axes_get_a_search_each_in_turn(tmp_path: Path) -> None:
    study = study_with(tmp_path, "kind: tpe, trials: 6, batch: 2, grid: [depth]")
    searcher, scores = SEARCHERS["tpe"](study.axes, study.search), dict[int, Score | None]()
    depths = []
    while not searcher.finished:
        for number, point in searcher.next_points(scores):
            depths.append(point["depth"])
            scores[number] = score(point)
    assert depths == ["shared", "untied"] * 6


def test_a_bound_is_told_as_later_than_itself_and_in_order() -> None:
    known = [2.0, 2.4, 2.8, 3.1]
    bounds = [1.0, 2.5, 3.0, 4.0, 6.0]
    told = [expected_beyond(bound, known) for bound in bounds]
    assert all(number > bound for number, bound in zip(told, bounds, strict=True))
    assert told == sorted(told)
    assert expected_beyond(3.0, []) > 3.0


def test_the_horizon_does_not_win_over_late_events(tmp_path: Path) -> None:
    """Events come after 10^(2 + 4 beta1) steps, and runs are followed to 10^3: nothing to see above beta1 = 0.25."""
    study = study_with(tmp_path, "kind: tpe, trials: 40, batch: 4, objective: {event: generalised}", SQUARE)
    searcher, scores = SEARCHERS["tpe"](study.axes, study.search), dict[int, Score | None]()
    while not searcher.finished:
        for number, point in searcher.next_points(scores):
            time = 2 + 4 * float(point["optim.beta1"] or 0)
            scores[number] = Score((min(time, 3.0),), (time > 3.0,))
    told = [score.numbers[0] for score in list(scores.values())[-10:] if score is not None]
    assert sum(time < 3.0 for time in told) >= 7
