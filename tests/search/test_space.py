"""From points to trials and runs: what a point resolves to, and which trials share a training."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grokstudy.orchestrator.runs.trials import all_trials, runs_of, trials_of
from grokstudy.orchestrator.search import SEARCHERS
from grokstudy.orchestrator.search.base import Score
from grokstudy.orchestrator.search.space import Range
from grokstudy.orchestrator.study.load import load_study
from grokstudy.orchestrator.study.resolve import ResolveError
from grokstudy.orchestrator.study.study import Study


def study_of(folder: Path, text: str) -> Study:
    path = folder / "asked.yaml"
    path.write_text(text)
    return load_study(path)


def test_trials_are_points_times_seeds_with_stable_names(tmp_path: Path) -> None:
    trials = all_trials(study_of(tmp_path, "space: {model.layers: [1, 2]}\nseeds: [3, 5]\n"))
    assert [trial.trial_id for trial in trials] == [
        "asked-00000-s3", "asked-00000-s5", "asked-00001-s3", "asked-00001-s5",
    ]  # fmt: skip
    assert [(trial.config.model.layers, trial.config.seed) for trial in trials] == [(1, 3), (1, 5), (2, 3), (2, 5)]
    assert trials[2].point == {"model.layers": 2}


def test_a_study_without_space_is_one_point(tmp_path: Path) -> None:
    (trial,) = all_trials(study_of(tmp_path, "hypothesis: the defaults\n"))
    assert (trial.trial_id, trial.point, trial.horizon) == ("asked-00000-s0", {}, 3000)


def test_later_wins_and_expressions_see_what_won(tmp_path: Path) -> None:
    study = study_of(
        tmp_path,
        """
base:
  data: {out_degree: 5, phi: "0.1 * data.out_degree"}
  model: {layers: 7, width: 8 * model.heads}
space:
  data.phi: "0.5 * data.out_degree"
  data.out_degree: [6, 10]
  depth:
    shared: {model.layers: 2, model.loops: 8 / model.layers}
    plain: {}
""",
    )
    resolved = [
        (c.data.out_degree, c.data.phi, c.model.layers, c.model.loops, c.model.width)
        for c in (trial.config for trial in all_trials(study))
    ]
    assert resolved == [(6, 3.0, 2, 4, 32), (6, 3.0, 7, 2, 32), (10, 5.0, 2, 4, 32), (10, 5.0, 7, 2, 32)]
    assert type(all_trials(study)[0].config.model.loops) is int
    assert study.columns == ["data.out_degree", "depth"]


def test_a_value_that_is_whole_but_for_rounding_becomes_whole(tmp_path: Path) -> None:
    study = study_of(tmp_path, "base: {model: {width: 0.1 * 3 * 10 * 8, heads: 1}}\n")
    width = all_trials(study)[0].config.model.width
    assert width == 24
    assert type(width) is int


def test_an_integer_written_for_a_float_is_the_same_run(tmp_path: Path) -> None:
    runs = [
        runs_of(all_trials(study_of(tmp_path, f"base: {{optim: {{weight_decay: {text}}}}}\n")))[0].run_id
        for text in ("1", "1.0", "2 / 2")
    ]
    assert len(set(runs)) == 1


def test_shorter_trainings_are_the_beginning_of_the_longest(tmp_path: Path) -> None:
    study = study_of(tmp_path, "space: {train.steps: [500, 2000, 1000], model.layers: [1, 2]}\nseeds: 2\n")
    trials = all_trials(study)
    runs = runs_of(trials)
    assert len(trials) == 12
    assert len(runs) == 4
    for run in runs:
        assert run.config.train.steps == 2000
        assert [trial.horizon for trial in run.trials] == [500, 2000, 1000]
        assert {trial.config.run_id for trial in run.trials} == {run.run_id}
    assert sorted(trial.trial_id for run in runs for trial in run.trials) == sorted(t.trial_id for t in trials)


def test_with_a_cosine_schedule_every_length_is_a_run_of_its_own(tmp_path: Path) -> None:
    study = study_of(tmp_path, "base: {optim: {schedule: cosine}}\nspace: {train.steps: [500, 1000]}\n")
    assert len(runs_of(all_trials(study))) == 2


def test_points_of_another_study_are_refused(tmp_path: Path) -> None:
    study = study_of(tmp_path, "space: {model.layers: [1, 2], optim.lr: {log: [1e-3, 1e-2], points: 2}}\n")
    good: dict[str, Any] = {"model.layers": 1, "optim.lr": 0.005}
    assert study.config_at(good, 0).optim.lr == 0.005
    for wrong, message in [
        ({"model.layers": 1}, "optim.lr is not in the point"),
        ({**good, "model.width": 8}, "model.width is no axis"),
        ({**good, "model.layers": 3}, "model.layers is never 3"),
        ({**good, "optim.lr": 1.0}, "optim.lr is never 1.0"),
    ]:
        with pytest.raises(ValueError, match=message):
            study.config_at(wrong, 0)


def test_a_point_found_impossible_during_a_search_names_the_option(tmp_path: Path) -> None:
    study = study_of(
        tmp_path,
        "base: {data: {phi: 1 / (optim.lr - 0.25)}}\n"
        "space: {optim.lr: {uniform: [0.5, 1]}}\nsearch: {kind: tpe}\n".replace("0.5, 1", "0.5, 1.0"),
    )
    assert trials_of(study, [(0, {"optim.lr": 0.75})])[0].config.data.phi == 2.0
    broken = study_of(
        tmp_path,
        "base: {model: {layers: 10 * optim.lr}}\nspace: {optim.lr: {uniform: [0.5, 1.0]}}\nsearch: {kind: tpe}\n",
    )
    with pytest.raises(
        ResolveError, match=r"model\.layers: '10 \* optim\.lr': gives 7.5, and a whole number is needed"
    ):
        broken.config_at({"optim.lr": 0.75}, 0)


def test_ten_thousand_trials_plan_in_seconds(tmp_path: Path) -> None:
    text = """
base: {data: {entities: 50, phi: "0.5 * data.out_degree"}}
space:
  data.exposure: [natural, first_hop, second_hop, both_hops]
  data.out_degree: [6, 7, 8, 9, 10]
  optim.weight_decay: {log: [0.01, 1.0], points: 10}
  optim.lr: {log: [1e-4, 1e-2], points: 5}
  depth: {shared: {model.layers: 2}, untied: {model.layers: 4, model.loops: 1}}
seeds: 5
"""
    started = time.process_time()
    trials = all_trials(study_of(tmp_path, text))
    runs = runs_of(trials)
    assert time.process_time() - started < 3
    assert len(trials) == len(runs) == 10_000


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(101, 5000), min_size=1, max_size=5, unique=True), st.integers(1, 3), st.booleans())
def test_runs_partition_the_trials(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], n_seeds: int, cosine: bool
) -> None:
    schedule = "cosine" if cosine else "constant"
    text = f"base: {{optim: {{schedule: {schedule}}}}}\nspace: {{train.steps: {steps}}}\nseeds: {n_seeds}\n"
    trials = all_trials(study_of(tmp_path_factory.mktemp("study"), text))
    runs = runs_of(trials)
    assert len(runs) == n_seeds * (len(steps) if cosine else 1)
    assert sorted(t.trial_id for run in runs for t in run.trials) == sorted(t.trial_id for t in trials)
    assert all(run.config.train.steps == max(trial.horizon for trial in run.trials) for run in runs)


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        (Range("a.b", "uniform", 0.1, 0.75, None, False, 0.2), (0.1, 0.3, 0.5, 0.7)),
        (Range("a.b", "int", 10, 40, None, True, 10), (10, 20, 30, 40)),
    ],
)
def test_a_step_bounds_what_an_axis_can_be(axis: Range, values: tuple[float, ...]) -> None:
    assert axis.grid() == values
    assert {axis.at(share / 1000) for share in range(1000)} == set(values)
    shares = [axis.low + share / 100 * (axis.high - axis.low) for share in range(101)]
    assert {axis.rounded(value) for value in shares} == set(values)
    assert all(type(value) is type(values[0]) for value in axis.grid())


@pytest.mark.parametrize("kind", ["tpe", "cmaes", "random", "sobol"])
def test_searchers_keep_to_the_steps(kind: str) -> None:
    axes = (Range("a.b", "uniform", 0.1, 0.75, None, False, 0.05), Range("a.c", "int", 10, 40, None, True, 10))
    searcher, scores = SEARCHERS[kind](axes, SEARCHERS[kind].Options(trials=12)), dict[int, Score | None]()
    while not searcher.finished:
        for number, point in searcher.next_points(scores):
            assert point["a.b"] in axes[0].grid()
            assert point["a.c"] in axes[1].grid()
            scores[number] = Score((float(point["a.b"] or 0),))
