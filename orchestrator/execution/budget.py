"""What a run may take: hours by the clock, or money. When it is gone nothing more is begun; what trains goes on.

An hour of a worker costs `resources.price`. All workers count from the start of the launch to its end, as rented nodes
do, so what is said to be spent is the most that it can be.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from grokstudy.orchestrator.units import duration


@dataclass
class Budget:
    """Of one command."""

    hours: float | None = None
    cost: float | None = None
    price: float = 0.0
    """Of an hour of one worker."""
    clock: Callable[[], float] = time.monotonic
    workers: int = 1
    """At a time, known when the launch begins."""
    began: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self.began = self.clock()

    @property
    def seconds(self) -> float:
        """By the clock."""
        return self.clock() - self.began

    @property
    def spent(self) -> float:
        """Money."""
        return self.seconds / 3600 * self.workers * self.price

    @property
    def gone(self) -> bool:
        """Whether nothing more may be begun."""
        late = self.hours is not None and self.seconds >= self.hours * 3600
        return late or (self.cost is not None and self.spent >= self.cost)

    def __str__(self) -> str:
        money = f", {self.spent:.2f} at {self.price:g} an hour of a worker" if self.price else ""
        return f"the budget is gone ({duration(self.seconds)}{money}): nothing more is begun"
