"""Seconds as they are foretold: the mean of what was measured, with its fastest and its slowest repetition."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from grokstudy.orchestrator.units import duration


@dataclass(frozen=True)
class Seconds:
    """Of some work. Without low and high where nothing was measured more than once."""

    mean: float
    low: float | None = None
    """If all went as in the fastest repetition,"""
    high: float | None = None
    """or as in the slowest."""

    @classmethod
    def of(cls, workers: Iterable[Sequence[float]]) -> Seconds:
        """From the repetitions of each worker. A single one was reckoned, or extended: its spread is not known."""
        measured = [*workers]
        every = [seconds for repetitions in measured for seconds in repetitions]
        is_spread = all(len(repetitions) > 1 for repetitions in measured)
        bounds = (min(every), max(every)) if is_spread else (None, None)
        return cls(statistics.fmean(every), *bounds)

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.mean + other.mean, _sum(self.low, other.low), _sum(self.high, other.high))

    def __mul__(self, times: float) -> Seconds:
        """So many times the same; none of it takes no time, for sure."""
        if not times:
            return NONE
        low, high = (None if bound is None else times * bound for bound in (self.low, self.high))
        return Seconds(times * self.mean, low, high)

    def __str__(self) -> str:
        known = self.low is not None and self.high is not None and self.mean > 0
        return duration(self.mean) + (f" ({duration(self.low)} to {duration(self.high)})" if known else "")


NONE = Seconds(0.0, 0.0, 0.0)


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other
