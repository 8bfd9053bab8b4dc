"""The median rule (Golovin et al. 2017, Google Vizier): who has never been as good as the others usually are stops.

Late generalisers look like that until they generalise.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grokstudy.orchestrator.schedulers.base import Decision, Metrics, Ranked, Scheduler
from grokstudy.trainables.events import Event
from grokstudy.trainables.options import option


@dataclass(frozen=True, kw_only=True)
class MedianOptions(Ranked):
    """Stops a trial whose best value is below the median of what the others averaged up to the same step."""

    least_others: int = option(3, "other trials that must have come as far", ge=1)


class Median(Scheduler):
    """The scheduler `median`."""

    Options = MedianOptions

    def __init__(self, options: Any, events: Mapping[str, Event]) -> None:
        """Start without trials."""
        super().__init__(options, events)
        self._scores: dict[str, list[tuple[int, float]]] = {}

    def on_result(self, trial: str, step: int, metrics: Metrics) -> Decision:
        """Compare with the others' averages up to this step."""
        score = self.options.score(metrics)
        if score is None:
            return "continue"
        own = self._scores.setdefault(trial, [])
        own.append((step, score))
        if step < self.options.grace_steps or step >= self.horizons[trial]:
            return "continue"
        others = [
            statistics.fmean(value for at, value in scores if at <= step)
            for name, scores in self._scores.items()
            if name != trial and scores[-1][0] >= step
        ]
        best = max(value for _, value in own)
        return "stop" if len(others) >= self.options.least_others and best < statistics.median(others) else "continue"
