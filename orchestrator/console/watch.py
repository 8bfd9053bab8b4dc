"""A study's status in words: one line for all of it, and a table with a row per regime."""

from __future__ import annotations

import statistics
from typing import Any

from grokstudy.orchestrator.runs.status import STATES, RunStatus, StudyStatus
from grokstudy.orchestrator.units import duration
from grokstudy.trainables.tasks import of_splits


def headline(now: StudyStatus, speed: float = 0.0) -> str:
    """Runs ended, steps safe; with a speed in steps per second, also that and the time that is left at it."""
    ended = sum(run.ended for run in now.runs)
    message = f"{ended}/{len(now.runs)} runs ended, {now.steps:,} of {now.asked:,} steps are safe in the root"
    return f"{message}, {speed:,.0f} steps/s, {duration(now.left / speed)} left" if speed > 0 and now.left else message


def rows(now: StudyStatus) -> list[dict[str, Any]]:
    """One row per regime: runs per state, and the median newest accuracy. Of a driven study none is interrupted."""
    states = [state for state in STATES if any(run.state.state == state for run in now.runs)]
    recorded = list(dict.fromkeys(split for accuracy in now.accuracy.values() for split in accuracy))
    splits = [split for split in of_splits(recorded)[1] if split in recorded]
    return [
        {
            "regime": regime,
            **{now.word(state): sum(run.state.state == state for run in group) for state in states},
            **{split: _median(now, group, split) for split in splits},
        }
        for regime, group in now.by_regime().items()
    ]


def _median(now: StudyStatus, group: list[RunStatus], split: str) -> float | None:
    values = [now.accuracy[run.run_id][split] for run in group if split in now.accuracy.get(run.run_id, {})]
    return round(statistics.median(values), 3) if values else None
