"""Trials that lag behind are stopped. Late generalisers look like laggards: no study asks for it by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grokstudy.orchestrator.schedulers.base import Decision, Metrics, Ranked, Scheduler
from grokstudy.trainables.events import Event
from grokstudy.trainables.options import option


@dataclass(frozen=True, kw_only=True)
class AshaOptions(Ranked):
    """Asynchronous successive halving (arXiv 1810.05934): trials that lag behind at a rung are stopped."""

    reduction_factor: int = option(3, "of that many trials, one goes on past a rung", ge=2)


class Asha(Scheduler):
    """The scheduler `asha`: rungs at grace, grace x factor, grace x factor^2, ... steps."""

    Options = AshaOptions

    def __init__(self, options: Any, events: Mapping[str, Event]) -> None:
        """Start with empty rungs."""
        super().__init__(options, events)
        self._rungs: dict[int, list[float]] = {}
        self._next: dict[str, int] = {}

    def on_result(self, trial: str, step: int, metrics: Metrics) -> Decision:
        """Compare with those that came to the same rung before."""
        rung = self._next.setdefault(trial, self.options.grace_steps)
        score = self.options.score(metrics)
        if step < rung or score is None or step >= self.horizons[trial]:
            return "continue"
        while rung <= step:
            scores = self._rungs.setdefault(rung, [])
            scores.append(score)
            rung *= self.options.reduction_factor
            self._next[trial] = rung
            if len(scores) >= self.options.reduction_factor:
                kept = len(scores) // self.options.reduction_factor
                if score < sorted(scores, reverse=True)[kept - 1]:
                    return "stop"
        return "continue"
