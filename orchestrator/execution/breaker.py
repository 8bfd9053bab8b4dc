"""When a launch stops by itself: too many runs fail for the same reason, or the storage is gone."""

from __future__ import annotations

from collections import Counter
from typing import Any

from grokstudy.orchestrator.runs.state import cause

SAME = 5
FIRST = 20
"""So many equal failures among the first so many runs to end halt a study."""


class HaltedError(RuntimeError):
    """The launch was stopped; the runs that are left can still be trained later."""


class Breaker:
    """Hears how runs end; `reason` is why to stop, None while there is no reason."""

    def __init__(self, same: int = SAME, first: int = FIRST) -> None:
        """Halt after `same` equal failures among the `first` runs to end."""
        self.same, self.first = same, first
        self.reason: str | None = None
        self._ended: set[str] = set()
        self._causes: Counter[str] = Counter()

    def hear(self, line: dict[str, Any]) -> None:
        """Take in where a run stands."""
        if line["outcome"] is None or line["run_id"] in self._ended or len(self._ended) >= self.first:
            return
        self._ended.add(line["run_id"])
        error = line.get("error")
        if error is None:
            return
        key = cause(error["error"], error["traceback"])
        self._causes[key] += 1
        if self._causes[key] >= self.same:
            self.reason = (
                f"halted: {self._causes[key]} of the first {len(self._ended)} runs failed in the same way; repair the "
                f"cause, then resume with --retry-failed\n{error['traceback'].strip()}"
            )
