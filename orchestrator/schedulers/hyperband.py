"""Hyperband (Li et al. 2018, JMLR 18): brackets of successive halving that differ in how long nobody is stopped.

Trials are dealt to the brackets in turn. At a rung a trial is paused until all of its bracket have come there or ended;
then the best go on and the others are stopped. As with ASHA, late generalisers look like laggards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from grokstudy.orchestrator.schedulers.base import Decision, Metrics, Ranked, Scheduler
from grokstudy.trainables.events import Event
from grokstudy.trainables.options import option


@dataclass(frozen=True, kw_only=True)
class HyperbandOptions(Ranked):
    """Brackets of synchronous successive halving: trials wait at a rung for each other."""

    reduction_factor: int = option(3, "of that many trials of a bracket, one goes on past a rung", ge=2)
    brackets: int = option(3, "brackets; each begins to stop trials a factor later than the one before", ge=1)


@dataclass
class _Bracket:
    rung: int
    """Where it waits for its trials, in steps."""
    open_: set[str] = field(default_factory=set)
    """Trials that can still come to the rung, or are there."""
    scores: dict[str, float] = field(default_factory=dict)


class Hyperband(Scheduler):
    """The scheduler `hyperband`."""

    Options = HyperbandOptions

    def __init__(self, options: Any, events: Mapping[str, Event]) -> None:
        """Start with empty brackets."""
        super().__init__(options, events)
        factor = options.reduction_factor
        self._brackets = [_Bracket(options.grace_steps * factor**number) for number in range(options.brackets)]
        self._of: dict[str, _Bracket] = {}
        self._stopped: set[str] = set()

    def begin(self, trial: str, horizon: int) -> None:
        """Deal the trial to a bracket."""
        super().begin(trial, horizon)
        if trial not in self._of:
            bracket = self._brackets[len(self._of) % len(self._brackets)]
            self._of[trial] = bracket
            bracket.open_.add(trial)

    def on_result(self, trial: str, step: int, metrics: Metrics) -> Decision:
        """Wait at the rung, or go on or stop when this was the last one to come there."""
        bracket, score = self._of[trial], self.options.score(metrics)
        if trial in bracket.scores or trial in self._stopped:
            return self.standing(trial)
        if step < bracket.rung or score is None or step >= self.horizons[trial]:
            return "continue"
        bracket.scores[trial] = score
        self._decide(bracket)
        return self.standing(trial)

    def on_end(self, trial: str, outcome: str = "finished") -> None:
        """The others do not wait for it."""
        bracket = self._of[trial]
        bracket.open_.discard(trial)
        bracket.scores.pop(trial, None)
        self._decide(bracket)

    def standing(self, trial: str) -> Decision:
        """Paused while its bracket is not complete."""
        if trial in self._stopped:
            return "stop"
        return "pause" if trial in self._of[trial].scores else "continue"

    def _decide(self, bracket: _Bracket) -> None:
        while bracket.scores and bracket.open_ == bracket.scores.keys():
            ordered = sorted(bracket.scores, key=lambda trial: -bracket.scores[trial])
            kept = max(1, len(ordered) // self.options.reduction_factor)
            self._stopped |= set(ordered[kept:])
            bracket.open_, bracket.scores = set(ordered[:kept]), {}
            bracket.rung *= self.options.reduction_factor
