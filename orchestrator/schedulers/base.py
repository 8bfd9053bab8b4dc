"""What every scheduler has in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from grokstudy.trainables.events import Event, Site
from grokstudy.trainables.options import option

Decision = Literal["continue", "pause", "stop"]
Metrics = Mapping[Site, float | None]
"""What one evaluation measured, with the loss and the weight norm of the update before it."""
TRAIN_LOSS: Site = ("loss", "batch", None, None)
WEIGHT_NORM: Site = ("weight_norm", "batch", None, None)


class Scheduler(ABC):
    """Hears every evaluation of every trial, in the order of each trial's steps, and says who goes on.

    A trial that is told `pause` keeps its place: `standing` says later whether it goes on. One that is told `stop` is
    over, until somebody extends it. Nothing is kept on disk: a new driver repeats what the root has recorded.
    """

    Options: ClassVar[type[Any]]

    def __init__(self, options: Any, events: Mapping[str, Event]) -> None:
        """Start before the first trial; `events` are those that the study declares."""
        self.options, self.events = options, events
        self.horizons: dict[str, int] = {}

    def begin(self, trial: str, horizon: int) -> None:
        """A trial of this length, in steps, is going to report."""
        self.horizons[trial] = horizon

    @abstractmethod
    def on_result(self, trial: str, step: int, metrics: Metrics) -> Decision:
        """Take in an evaluation."""

    def on_end(self, trial: str, outcome: str = "finished") -> None:  # noqa: B027
        """A trial reports no more: it has `finished`, `diverged`, `failed` or been `stopped`."""

    def standing(self, trial: str) -> Decision:
        """Whether a trial that was paused goes on now."""
        return "continue"

    def futile(self, trial: str) -> dict[str, float]:
        """Of a trial that was stopped: the events that it is not going to reach, each with its chance.

        Empty where nothing is known of that: then the stop tells nothing about its events but that they had not come.
        """
        return {}


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """Options of the rules that rank trials by a metric."""

    stops: ClassVar[bool] = True

    metric: str = option("accuracy", "accuracy, loss or margin, or the name of a probe's measurement")
    split: str | None = option(None, "evaluation split; where none is named, the headline of the task")
    mode: Literal["max", "min"] = option("max", "whether more is better")
    grace_steps: int = option(1000, "steps that every trial gets", ge=1)

    def score(self, metrics: Metrics) -> float | None:
        """The metric, turned so that more is better; None where it was not measured."""
        if self.split is None:
            raise ValueError("a rule that ranks trials needs the split that its metric is of")
        value = metrics.get((self.metric, self.split, None, None))
        if value is None or math.isnan(value):
            return None
        return value if self.mode == "max" else -value
