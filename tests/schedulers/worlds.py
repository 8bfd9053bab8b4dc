"""Simulated studies whose truth is known: event times that hang on what a run shows early, and some that never come."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from grokstudy.orchestrator.schedulers.base import TRAIN_LOSS, WEIGHT_NORM, Metrics, Scheduler
from grokstudy.trainables.events import Event, Site

EVENT = Event(metric="accuracy", split=("test_oo",), at_least=0.5, for_=1)
EVENTS = {"generalised": EVENT}
ACCURACY: Site = ("accuracy", "test_oo", None, None)
HORIZON = 10_000
GRID = [int(step) for step in np.unique(np.geomspace(100, HORIZON, 41).round())]


@dataclass(frozen=True)
class Run:
    """One run: when it generalises (inf: never), and how heavy its weights and its loss are."""

    name: str
    at: float
    norm: float
    loss: float
    floor: float = 0.05
    """Accuracy before it generalises."""

    def metrics(self, step: int) -> Metrics:
        """What an evaluation measures."""
        reached = step >= self.at
        return {ACCURACY: 0.9 if reached else self.floor, TRAIN_LOSS: self.loss / step**0.5, WEIGHT_NORM: self.norm}


def study(seed: int, runs: int = 80, never: float = 0.4) -> list[Run]:
    """Half of the runs or more generalise, the lighter the sooner; of the heavy ones most never do."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(runs):
        is_heavy = rng.random() < never
        norm = math.exp(rng.normal(4.0 if is_heavy else 3.0, 0.15))
        late = is_heavy and rng.random() > 0.02
        at = math.inf if late else math.exp(rng.normal(math.log(1500) + 1.5 * (math.log(norm) - 3.0), 0.4))
        made.append(Run(f"run{number}", at, norm, math.exp(rng.normal(0, 0.2)), rng.uniform(0.02, 0.08)))
    return made


def play(scheduler: Scheduler, runs: list[Run], workers: int = 4) -> dict[str, tuple[int, bool]]:
    """Carry the runs out, so many at a time; returns the step where each ended, and whether it was stopped."""
    waiting, running, ended = list(runs), list[tuple[Run, int]](), dict[str, tuple[int, bool]]()
    for run in runs:
        scheduler.begin(run.name, HORIZON)
    while waiting or running:
        while waiting and len(running) < workers:
            running.append((waiting.pop(0), 0))
        run, index = running.pop(0)
        step = GRID[index]
        decision = scheduler.on_result(run.name, step, run.metrics(step))
        if decision == "stop" or step == HORIZON:
            ended[run.name] = (step, decision == "stop")
            scheduler.on_end(run.name, "stopped" if decision == "stop" else "finished")
        elif decision == "continue":
            running.append((run, index + 1))
    return ended


def on_headline(options: Any) -> Any:
    """The options as a study file gives them: of what they leave open, the split is the task's headline."""
    return dataclasses.replace(options, split=ACCURACY[1]) if getattr(options, "split", "") is None else options
