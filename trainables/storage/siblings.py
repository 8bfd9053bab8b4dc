"""Which other runs of a root share a run's training. Plain data: the driver finds them, workers read them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Siblings:
    """Runs of equal `training_id`, those that have come furthest first."""

    run_ids: tuple[str, ...] = ()
    only_measure: bool = False
    """Whether to stop, rather than to train, where their steps cannot be repeated to the bit."""


NO_SIBLINGS = Siblings()
