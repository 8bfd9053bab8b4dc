"""How long runs take on this machine, from what one step and one evaluation take."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from grokstudy.trainables.config import Eval, RunConfig, eval_steps

Measure = Callable[[RunConfig], float]
Stretch = tuple[RunConfig, int, int]
"""A run, the step where it stands, and the step where it is to end."""


@dataclass(frozen=True)
class Pace:
    """Of one worker."""

    speed: Measure
    """Optimiser steps per second."""
    evaluation: Measure
    """Seconds of one evaluation with its probes."""

    def seconds(self, stretch: Stretch) -> float:
        """Of training a run from one step to another, evaluations included."""
        config, start, stop = stretch
        training = (stop - start) / self.speed(config)
        return training + evaluations(config.eval, start, stop) * self.evaluation(config)

    def remembered(self) -> Pace:
        """The same, measuring each kind of run once."""
        return Pace(_once(self.speed, step_kind), _once(self.evaluation, evaluation_kind))


def step_kind(config: RunConfig) -> Hashable:
    """What the speed of a step depends on."""
    return config.model, config.train.batch, config.data.vocabulary, config.train.precision, config.train.loss


def evaluation_kind(config: RunConfig) -> Hashable:
    """What the time of an evaluation depends on."""
    return config.task, config.model, config.data.vocabulary, config.train.precision, config.eval


@functools.lru_cache
def evaluations(options: Eval, start: int, stop: int) -> int:
    """Evaluations of a run that stands at step `start` (0: not begun) until it has trained to `stop`."""
    return sum(step > start or start == 0 for step in eval_steps(options, stop))


def makespan(seconds: Iterable[float], workers: int) -> float:
    """Seconds until work that cannot be divided is done by so many workers, the longest first."""
    busy = [0.0] * max(1, workers)
    for length in sorted(seconds, reverse=True):
        heapq.heapreplace(busy, busy[0] + length)
    return max(busy)


def _once(measure: Measure, kind: Callable[[RunConfig], Hashable]) -> Measure:
    measured: dict[Hashable, float] = {}

    def known(config: RunConfig) -> float:
        if (key := kind(config)) not in measured:
            measured[key] = measure(config)
        return measured[key]

    return known
