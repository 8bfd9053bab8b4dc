"""Tree-structured Parzen estimator (Bergstra et al. 2011) by Optuna's ask and tell, in batches of fixed size.

Optuna keeps nothing on disk here. A batch is asked for as a whole and told as a whole, in the order of its
numbers, so that the points depend on the values alone and not on which run finished first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from grokstudy.orchestrator.search.base import Batch, Objective, Searcher, corners
from grokstudy.orchestrator.search.space import Axis, Range, Value
from grokstudy.trainables.options import option


@dataclass(frozen=True, kw_only=True)
class TpeOptions:
    """Options of the model-based search."""

    trials: int = option(40, "points to try; each is run for every seed", ge=1)
    batch: int = option(4, "points chosen at a time, before their values are known", ge=1)
    seed: int = option(0, "seed of the search, not of the runs", ge=0, lt=2**32)
    objective: Objective = field(default_factory=Objective, metadata={"doc": "what the search drives up or down"})
    mode: Literal["max", "min"] = option("max", "whether more is better")


class Tpe(Searcher):
    """The searcher `tpe`."""

    Options = TpeOptions

    def __init__(self, axes: tuple[Axis, ...], options: Any) -> None:
        """Start an in-memory Optuna study."""
        super().__init__(axes, options)
        self._optuna: Any = None
        self._open: list[tuple[int, Any]] = []

    @classmethod
    def count(cls, axes: tuple[Axis, ...], options: Any) -> int:
        """As many as asked for."""
        return int(options.trials)

    def preview(self) -> Batch:
        """The corners of the space: where the search goes is not known yet."""
        return corners(self.axes)

    def _batch(self, values: Mapping[int, float | None]) -> Batch:
        for number, trial in self._open:
            self._tell(trial, values[number])
        first = len(self._chosen)
        numbers = range(first, min(first + self.options.batch, self.options.trials))
        self._open = [(number, self._study().ask()) for number in numbers]
        return [(number, {axis.name: _suggested(trial, axis) for axis in self.axes}) for number, trial in self._open]

    def _study(self) -> Any:
        if self._optuna is None:
            import optuna

            optuna.logging.set_verbosity(optuna.logging.WARNING)
            direction = "maximize" if self.options.mode == "max" else "minimize"
            sampler = optuna.samplers.TPESampler(seed=self.options.seed)
            self._optuna = optuna.create_study(direction=direction, sampler=sampler)
        return self._optuna

    def _tell(self, trial: Any, value: float | None) -> None:
        from optuna.trial import TrialState

        if value is None or not math.isfinite(value):
            self._study().tell(trial, state=TrialState.FAIL)
        else:
            self._study().tell(trial, value)


def _suggested(trial: Any, axis: Axis) -> Value:
    if not isinstance(axis, Range):
        choice: Value = trial.suggest_categorical(axis.name, axis.grid())
        return choice
    if axis.whole:
        return int(trial.suggest_int(axis.name, int(axis.low), int(axis.high), log=axis.scale == "log"))
    return axis.rounded(trial.suggest_float(axis.name, axis.low, axis.high, log=axis.scale == "log"))
