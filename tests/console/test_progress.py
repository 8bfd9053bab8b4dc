"""What a launch says of itself while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grokstudy.orchestrator.console.progress import Board, status_line
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.trainables.config import RunConfig


def heartbeat(run_id: str, step: int, outcome: str | None = None) -> dict[str, Any]:
    return {"run_id": run_id, "step": step, "steps_per_second": 10.0, "outcome": outcome, "accuracy": {}}


def test_the_time_left_counts_a_worker_that_is_between_two_runs(small: Callable[..., RunConfig]) -> None:
    runs = {name: Run(name, small(seed=seed, train={"steps": 1000}), ()) for seed, name in enumerate("abcd")}
    board = Board(runs)
    board.update([heartbeat("a", 500), heartbeat("b", 500)])
    assert board.seconds_left == 3000 / 20
    board.update([heartbeat("a", 1000, "done"), heartbeat("c", 0)])
    board.update([heartbeat("b", 1000, "done")])
    assert status_line(board) == "2/4 runs done, 1 running, 10 steps/s, 1m40s left"
    board.update([heartbeat("c", 1000, "done")])
    assert board.seconds_left is None
    board.update([heartbeat("d", 500)])
    assert board.seconds_left == 500 / 10


def test_the_time_left_of_a_launch_that_goes_on_is_of_the_steps_that_are_missing(
    small: Callable[..., RunConfig],
) -> None:
    runs = {name: Run(name, small(seed=seed, train={"steps": 1000}), ()) for seed, name in enumerate("abc")}
    board = Board(runs, {"a": 600, "b": 600})
    assert board.steps_left == 400 + 400 + 1000
    board.update([heartbeat("a", 700)])
    assert board.seconds_left == (300 + 400 + 1000) / 10
