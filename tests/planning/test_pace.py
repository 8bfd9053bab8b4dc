"""How long work takes, from what a step and an evaluation take."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from grokstudy.orchestrator.planning.cost import Measure, Pace, evaluations, makespan
from grokstudy.trainables.config import RunConfig, eval_steps

Small = Callable[..., RunConfig]


def test_evaluations_of_a_run_that_goes_on_are_those_that_are_left(small: Small) -> None:
    options = small(train={"steps": 100}, eval={"every": 30}).eval
    assert eval_steps(options, 100) == [0, 30, 60, 90, 100]
    assert [evaluations(options, start, 100) for start in (0, 29, 30, 90, 99, 100)] == [5, 4, 3, 1, 1, 0]


def test_seconds_are_those_of_steps_and_of_evaluations(small: Small) -> None:
    config = small(train={"steps": 100}, eval={"every": 30})
    pace = Pace(lambda _: 10.0, lambda _: 2.0, lambda _: 0)
    assert pace.seconds((config, 0, 100)) == 100 / 10 + 5 * 2.0
    assert pace.seconds((config, 60, 100)) == 40 / 10 + 2 * 2.0


def test_each_kind_of_run_is_measured_once(small: Small) -> None:
    measured: dict[str, list[RunConfig]] = {"step": [], "evaluation": [], "state": []}

    def noting(what: str) -> Measure:
        def measure(config: RunConfig) -> float:
            measured[what].append(config)
            return 1.0

        return measure

    pace = Pace(noting("step"), noting("evaluation"), noting("state")).remembered()
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
