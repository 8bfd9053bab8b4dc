"""What share of a study's time evaluation takes at the cadence that it asks for, and which cadence would do."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import asdict, dataclass
from typing import Any

from grokstudy.orchestrator.planning.pace import Pace, evaluation_kind, evaluations, step_kind
from grokstudy.trainables.config import RunConfig

SHARE = 0.1
"""Of the time, what evaluation should take at most."""


@dataclass(frozen=True)
class Cadence:
    """How often the run with the costliest evaluations evaluates, and what would bring it down to SHARE."""

    share: float
    key: str
    value: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def __str__(self) -> str:
        """The line of `plan`."""
        key = self.key.removeprefix("eval.")
        return f"takes about {self.share:.0%} of the time; eval: {{{key}: {self.value}}} would take {SHARE:.0%}"


def costly(configs: list[RunConfig], pace: Pace) -> Cadence | None:
    """The worst of these runs; None where none is beyond SHARE. Each kind of run is looked at once."""
    kinds = {(step_kind(config), evaluation_kind(config), config.train.steps): config for config in configs}
    found = [_cadence(config, pace.speed(config), pace.evaluation(config)) for config in kinds.values()]
    worst = max(found, key=lambda cadence: cadence.share, default=None)
    return worst if worst is not None and worst.share > SHARE else None


def _cadence(config: RunConfig, speed: float, seconds: float) -> Cadence:
    steps, options = config.train.steps, config.eval
    training, evaluating = steps / speed, evaluations(options, 0, steps) * seconds
    share, allowed = evaluating / (training + evaluating), training * SHARE / (1.0 - SHARE) / seconds
    if options.grid == "linear":  # the first and the last step are evaluated whatever the cadence
        return Cadence(share, "eval.every", min(steps, _rounded(steps / max(allowed - 2.0, 1.0))))
    sparser = (dataclasses.replace(options, per_decade=count) for count in range(options.per_decade, 0, -1))
    fits = (grid.per_decade for grid in sparser if evaluations(grid, 0, steps) <= allowed)
    return Cadence(share, "eval.per_decade", next(fits, 1))


def _rounded(every: float) -> int:
    """The next number of two digits and zeros: 243.1 -> 250."""
    unit: int = max(1, 10 ** (math.floor(math.log10(max(every, 1.0))) - 1))
    return math.ceil(every / unit) * unit
