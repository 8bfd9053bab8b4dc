"""A run stops only when it is not going to reach its events: late generalisers go on.

The chance of a run that stands at step t is that of the finished runs of the study which had not reached the event by t
either, weighed by how alike they were at t in training loss and weight norm (both in decades): the conditional survival
estimate of Beran (1981), with a Gaussian kernel. Few alike runs are no ground to stop: of m of them, none of which got
there, the chance is put at 0.5 / (m + 1). Runs that were stopped themselves are no examples.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from grokstudy.orchestrator.schedulers.base import TRAIN_LOSS, WEIGHT_NORM, Decision, Metrics, Scheduler
from grokstudy.trainables.events import Event
from grokstudy.trainables.options import option

WIDTH = 1.0
"""Of the kernel, in standard deviations of what the examples have."""


@dataclass(frozen=True, kw_only=True)
class FutilityOptions:
    """Stops a run that, going by finished runs like it, has hardly a chance to reach its events."""

    stops: ClassVar[bool] = True

    events: tuple[str, ...] = option(
        ("generalised",), "events of the study; a run stops when it will reach none of them"
    )
    chance: float = option(0.05, "a run stops when its chance of each event is below this", gt=0, lt=0.5)
    grace_steps: int = option(1000, "steps that every run gets", ge=1)


@dataclass
class _Run:
    steps: list[int] = field(default_factory=list)
    places: list[tuple[float, float]] = field(default_factory=list)
    """log10 of training loss and weight norm, at each of the steps."""
    streaks: dict[str, int] = field(default_factory=dict)
    """Hits in a row, by event; those of an event that was reached stay."""
    began: dict[str, int] = field(default_factory=dict)
    last: int = -1
    ended: str | None = None
    futile: dict[str, float] = field(default_factory=dict)

    def place(self, step: int) -> tuple[float, float] | None:
        """Where it stood at a step."""
        index = bisect.bisect_right(self.steps, step)
        return self.places[index - 1] if index else None

    def reached(self, name: str, event: Event) -> bool:
        """Whether an event has come, its consecutive hits counted."""
        return self.streaks.get(name, 0) >= event.for_


class Futility(Scheduler):
    """The scheduler `futility`."""

    Options = FutilityOptions

    def __init__(self, options: Any, events: Mapping[str, Event]) -> None:
        """Start without runs."""
        super().__init__(options, events)
        self._watched = {name: events[name] for name in options.events if name in events}
        self._runs: dict[str, _Run] = {}

    def begin(self, trial: str, horizon: int) -> None:
        """A run that is extended begins to hope again."""
        super().begin(trial, horizon)
        self._runs.setdefault(trial, _Run()).ended = None

    def on_result(self, trial: str, step: int, metrics: Metrics) -> Decision:
        """Stop when every event that has not come is out of reach."""
        run = self._runs[trial]
        self._note(run, step, metrics)
        left = [name for name, event in self._watched.items() if not run.reached(name, event)]
        if not left or run.ended or not self.options.grace_steps <= step < self.horizons[trial]:
            return "continue"
        chances = {}
        for name in left:
            chance = self.chance(trial, name, step)
            if chance >= self.options.chance:
                return "continue"
            chances[name] = round(chance, 4)
        run.futile = chances
        return "stop"

    def on_end(self, trial: str, outcome: str = "finished") -> None:
        """A run that has come to its end is an example."""
        self._runs[trial].ended = outcome

    def futile(self, trial: str) -> dict[str, float]:
        """Events that it was stopped for, with its chance of each."""
        return dict(self._runs[trial].futile)

    def chance(self, trial: str, name: str, step: int) -> float:
        """The chance to reach an event between this step and the horizon; 0.5 where there is nothing to go by."""
        own, horizon = self._runs[trial].place(step), self.horizons[trial]
        rows = [row for row in self._examples(trial, name, step, horizon) if row is not None]
        if own is None or not rows:
            return 0.5
        table = np.array(rows)
        places, times, observed = table[:, :2], table[:, 2], table[:, 3] > 0
        spread = places.std(axis=0)
        scale = np.where(spread > 1e-9, spread, math.inf)  # what all have alike tells nothing, unless this one differs
        differs = (spread <= 1e-9) & (np.abs(places[0] - own) > 1e-6)
        if differs.any():
            return 0.5
        distance = ((places - own) / scale / WIDTH) ** 2
        weight = np.exp(-0.5 * distance.sum(axis=1))
        mass = float(weight.sum())
        return (mass * _reached_by(horizon, times, observed, weight) + 0.5) / (mass + 1)

    def _examples(self, trial: str, name: str, step: int, horizon: int) -> list[tuple[float, ...] | None]:
        """Place at the step, time and whether the event came, of each finished run that had not reached it by then."""
        event = self._watched[name]
        rows: list[tuple[float, ...] | None] = []
        for other, run in self._runs.items():
            if other == trial or run.ended not in ("finished", "diverged"):
                continue
            came = run.reached(name, event)
            at = run.began[name] if came else math.inf if run.ended == "diverged" else run.last
            place = run.place(step)
            if at > step and place is not None and run.last >= step:
                rows.append((*place, float(at), float(came)))
        return rows

    def _note(self, run: _Run, step: int, metrics: Metrics) -> None:
        if step <= run.last:
            return
        run.last = step
        for name, event in self._watched.items():
            hit = event.hit(metrics) if not run.reached(name, event) else None
            if hit:
                run.began.setdefault(name, step)
                run.streaks[name] = run.streaks.get(name, 0) + 1
            elif hit is False:
                run.streaks.pop(name, None)
                run.began.pop(name, None)
        loss, norm = metrics.get(TRAIN_LOSS), metrics.get(WEIGHT_NORM)
        if loss is not None and norm is not None and loss > 0 and norm > 0:
            run.steps.append(step)
            run.places.append((math.log10(loss), math.log10(norm)))


def _reached_by(horizon: int, times: Any, observed: Any, weight: Any) -> float:
    """1 - S(horizon), by the product over event times of what the weighed runs at risk leave."""
    survival = 1.0
    for time in np.unique(times[observed & (times <= horizon)]):
        at_risk = float(weight[times >= time].sum())
        if at_risk > 0:
            survival *= 1 - float(weight[observed & (times == time)].sum()) / at_risk
    return 1 - survival
