"""Nobody is stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from grokstudy.orchestrator.schedulers.base import Decision, Metrics, Scheduler


@dataclass(frozen=True, kw_only=True)
class FifoOptions:
    """Every trial runs to its end."""

    stops: ClassVar[bool] = False


class Fifo(Scheduler):
    """The scheduler `fifo`."""

    Options = FifoOptions

    def on_result(self, trial: str, step: int, metrics: Metrics) -> Decision:
        """Go on."""
        return "continue"
