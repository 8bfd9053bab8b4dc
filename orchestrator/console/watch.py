"""How a study gets on, from the root alone: also of one that is driven elsewhere, by somebody else.

Rows reach the root with checkpoints, so what is seen here is what is safe, and a little behind the workers.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grokstudy.orchestrator.console.progress import SHOWN_SPLITS, duration
from grokstudy.orchestrator.runs.status import RunStanding, standings
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import DamagedError, Store

STATES = ("done", "diverged", "stopped", "failed", "interrupted", "missing")


@dataclass(frozen=True)
class Look:
    """One look at a study."""

    runs: tuple[RunStanding, ...]
    accuracy: Mapping[str, Mapping[str, float]]
    """run_id -> split -> newest accuracy."""
    at: float
    """When, by a clock that only goes forward."""

    @property
    def steps(self) -> int:
        """Steps that are safe."""
        return sum(run.state.step for run in self.runs)

    @property
    def left(self) -> int:
        """Steps that are still to be trained."""
        return sum(run.horizon - run.state.step for run in self.runs if not self._ended(run))

    @property
    def over(self) -> bool:
        """Whether every run has ended."""
        return all(self._ended(run) for run in self.runs)

    @staticmethod
    def _ended(run: RunStanding) -> bool:
        return run.state.settled or run.state.state == "failed"


def look(store: Store, study: str, at: float, before: Look | None = None) -> Look:
    """Look now; runs that had ended at the look before are not read again."""
    runs = tuple(standings(store, study))
    known = {} if before is None else dict(before.accuracy)
    same = set() if before is None else {run.run_id for run in before.runs if run.state.settled}
    fresh = {run.run_id: _newest(store, run.run_id) for run in runs if run.about and run.run_id not in same}
    return Look(runs, {**known, **fresh}, at)


def _newest(store: Store, run_id: str) -> dict[str, float]:
    """Accuracy by split at the newest evaluation that is safe. A torn part counts as none."""
    folder = RunDir(store, run_id)
    starts = records.part_starts(folder, "evals")
    if not starts:
        return {}
    try:
        rows = records.read_part(folder, "evals", starts[-1]).to_pylist()
    except (FileNotFoundError, DamagedError):
        return {}
    last = max((row["step"] for row in rows), default=0)
    return {row["split"]: row["accuracy"] for row in rows if row["step"] == last}


def headline(now: Look, first: Look) -> str:
    """Runs ended, steps safe, speed since the first look, and the time that is left at this speed."""
    ended = sum(Look._ended(run) for run in now.runs)
    said = f"{ended}/{len(now.runs)} runs ended, {now.steps:,} steps safe"
    speed = (now.steps - first.steps) / (now.at - first.at) if now.at > first.at else 0.0
    return f"{said}, {speed:,.0f} steps/s, {duration(now.left / speed)} left" if speed > 0 and now.left else said


def rows(now: Look) -> list[dict[str, Any]]:
    """One row per regime: runs per state, and the median newest accuracy."""
    groups: dict[str, list[RunStanding]] = {}
    for run in now.runs:
        groups.setdefault(run.regime, []).append(run)
    states = [state for state in STATES if any(run.state.state == state for run in now.runs)]
    splits = [split for split in SHOWN_SPLITS if any(split in found for found in now.accuracy.values())]
    return [
        {
            "regime": regime,
            **{state: sum(run.state.state == state for run in group) for state in states},
            **{split: _median(now, group, split) for split in splits},
        }
        for regime, group in groups.items()
    ]


def _median(now: Look, group: list[RunStanding], split: str) -> float | None:
    found = [now.accuracy[run.run_id][split] for run in group if split in now.accuracy.get(run.run_id, {})]
    return round(statistics.median(found), 3) if found else None
