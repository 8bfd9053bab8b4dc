"""How long work takes, from what a step and an evaluation take."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grokstudy.orchestrator.planning.cost import Pace, evaluations, makespan, makespan_seconds, work_seconds
from grokstudy.orchestrator.planning.seconds import NONE, Seconds
from grokstudy.orchestrator.runs.siblings import Share
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.trainables.bench.speed import opening_seconds
from grokstudy.trainables.config import RunConfig, eval_steps

Small = Callable[..., RunConfig]


def test_evaluations_of_a_run_that_goes_on_are_those_that_are_left(small: Small) -> None:
    options = small(train={"steps": 100}, eval={"every": 30}).eval
    assert eval_steps(options, 100) == [0, 30, 60, 90, 100]
    assert [evaluations(options, start, 100) for start in (0, 29, 30, 90, 99, 100)] == [5, 4, 3, 1, 1, 0]


def test_seconds_are_those_of_steps_and_of_evaluations(small: Small) -> None:
    config = small(train={"steps": 100}, eval={"every": 30})
    pace = Pace(lambda *_: Seconds(0.5, 0.25, 1.0), lambda _: Seconds(2.0, 1.0, 4.0), lambda _: 0)
    assert pace.seconds((config, 0, 100)) == Seconds(100 / 2 + 5 * 2.0, 100 / 4 + 5 * 1.0, 100 + 5 * 4.0)
    assert pace.seconds((config, 60, 100)) == Seconds(40 / 2 + 2 * 2.0, 40 / 4 + 2 * 1.0, 40 + 2 * 4.0)
    assert pace.seconds((config, 60, 100), jumped=30) == Seconds(10 / 2 + 2 * 2.0, 10 / 4 + 2 * 1.0, 10 + 2 * 4.0)
    opened = dataclasses.replace(pace, opening=lambda _: Seconds(0.5, 0.25, 1.0))
    assert opened.seconds((config, 0, 100)).mean == pace.seconds((config, 0, 100)).mean + 0.5
    assert opened.seconds((config, 60, 100)) == pace.seconds((config, 60, 100))


def test_what_opening_a_run_takes_is_measured_and_leaves_nothing(small: Small, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(tmp_path))
        seconds = opening_seconds(small())
        large = opening_seconds(small(model={"width": 4096, "heads": 8}))
    assert min(seconds) > 0.0
    assert large == (0.0, 0.0)
    assert not [*tmp_path.iterdir()]


def test_each_kind_of_run_is_measured_once(small: Small) -> None:
    measured: dict[str, list[RunConfig]] = {"step": [], "evaluation": [], "state": []}

    def noting(what: str) -> Callable[..., Seconds]:
        def measure(config: RunConfig, members: int = 1) -> Seconds:
            measured[what].append(config)
            return Seconds(1.0)

        return measure

    def state(config: RunConfig) -> int:
        measured["state"].append(config)
        return 1

    pace = Pace(noting("step"), noting("evaluation"), state).remembered()
    rarer, longer, wide = small(eval={"probes": []}), small(train={"steps": 80}), small(model={"width": 32})
    for config in (small(), small(seed=1), longer, rarer, wide):
        pace.seconds((config, 0, config.train.steps))
        pace.state(config)
    assert measured == {"step": [small(), wide], "evaluation": [small(), rarer, wide], "state": [small(), wide]}


@pytest.mark.parametrize(
    ("seconds", "workers", "expected"),
    [([], 2, 0.0), ([3.0], 4, 3.0), ([1.0] * 5, 2, 3.0), ([2.0, 3.0, 1.0, 4.0], 2, 5.0), ([1.0, 1.0], 0, 2.0)],
)
def test_work_that_cannot_be_divided_takes_as_long_as_the_busiest_worker(
    seconds: list[float], workers: int, expected: float
) -> None:
    assert makespan(seconds, workers) == expected


def test_a_spread_is_of_what_was_measured_more_than_once() -> None:
    assert Seconds.of([(1.0, 2.0), (3.0, 6.0)]) == Seconds(3.0, 1.0, 6.0)
    assert Seconds.of([(1.0,), (3.0,)]) == Seconds(2.0)
    assert Seconds.of([(1.0, 2.0), (3.0,)]) == Seconds(2.0)
    assert str(Seconds(90.0, 60.0, 125.0)) == "1m30s (1m00s to 2m05s)"
    assert str(Seconds(90.0)) == "1m30s"


def test_what_has_no_spread_leaves_none_unless_it_is_not_done_at_all() -> None:
    known, rough = Seconds(2.0, 1.0, 3.0), Seconds(5.0)
    assert known + rough == Seconds(7.0)
    assert known + rough * 0 == known
    assert makespan_seconds([known, rough], 2) == Seconds(5.0)
    assert makespan_seconds([], 2) == NONE


def test_idle_workers_are_in_the_forecast_and_in_both_its_bounds() -> None:
    three = [Seconds(10.0, 8.0, 13.0)] * 3
    assert makespan_seconds(three, 1) == Seconds(30.0, 24.0, 39.0)
    assert makespan_seconds(three, 2) == Seconds(20.0, 16.0, 26.0)
    assert makespan_seconds(three, 5) == Seconds(10.0, 8.0, 13.0)


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(1, 10**6)] * 3).map(sorted), min_size=1, max_size=12), st.integers(1, 5))
def test_the_forecast_is_never_outside_its_bounds(bounds: list[list[int]], workers: int) -> None:
    told = makespan_seconds([Seconds(mean, low, high) for low, mean, high in bounds], workers)
    assert told.low is not None
    assert told.high is not None
    assert told.low <= told.mean <= told.high
    assert told.high <= sum(high for _, _, high in bounds)


def test_runs_of_a_pack_share_its_steps_and_evaluate_each(small: Small) -> None:
    runs = [Run(config.run_id, config, ()) for config in (small(seed=seed, eval={"every": 30}) for seed in range(4))]
    steps, shares = {run.run_id: 0 for run in runs}, {run.run_id: Share(60) for run in runs}
    pace = Pace(lambda _, members: Seconds(1.0 + members), lambda _: Seconds(10.0), lambda _: 0)

    def told(members: int, workers: int) -> list[float]:
        packs = work_seconds(runs, steps, shares, lambda _, most: min(most, members), workers, pace)
        return [pack.mean for pack in packs]

    assert told(1, 2) == [60 * 2.0 + 3 * 10.0] * 4
    assert told(2, 2) == [60 * 3.0 + 6 * 10.0] * 2
    assert told(4, 1) == [60 * 5.0 + 12 * 10.0]
