"""A study as a page shows it while it trains, from the root alone: progress, events, failures, answer, figures."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from grokstudy.orchestrator.console.watch import headline, rows
from grokstudy.orchestrator.runs.status import StudyStatus, study_status
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import StudyDir

EVENTS = 50
"""Most events that are listed, the newest first."""
FRESH_S = 2.0
"""A look that is younger is shown again: many pages cost what one costs."""
REDRAW_S = 10.0
"""Figures are drawn at most so often."""


class LiveStudy:
    """One study, looked at again when somebody asks and the last look is old. For use by many threads."""

    def __init__(self, store: Store, name: str) -> None:
        """Nothing is read yet."""
        self.folder = StudyDir(store, name)
        self._lock = threading.Lock()
        self._first: tuple[float, int] | None = None
        self._before: StudyStatus | None = None
        self._state: tuple[float, dict[str, Any]] | None = None
        self._figures: tuple[float, str, list[dict[str, Any]]] | None = None

    def state(self, trained: str | None, driver: str | None) -> dict[str, Any]:
        """Everything but the figures, as JSON has it; `trained` is the study that somebody trains now, `driver` who.

        Raises ValueError for files that cannot be read.
        """
        with self._lock:
            if self._state is None or time.monotonic() - self._state[0] > FRESH_S:
                self._state = time.monotonic(), self._look(trained == self.folder.name)
            return {**self._state[1], "driver": driver}

    def figures(self) -> list[dict[str, Any]]:
        """The report's figures of what is there now: name, caption, and a Vega-Lite specification."""
        with self._lock:
            revision = self._state[1]["revision"] if self._state else ""
            drawn = self._figures
            if drawn is None or (drawn[1] != revision and time.monotonic() - drawn[0] > REDRAW_S):
                drawn = self._figures = time.monotonic(), revision, self._draw()
            return drawn[2]

    def _look(self, driven: bool) -> dict[str, Any]:
        from grokstudy.analysis.answer import answer
        from grokstudy.analysis.summary import sentences
        from grokstudy.analysis.tables.study import load

        trials = self.folder.read_trials("run_id", "trial_id", "horizon", "seed").to_pylist()
        now = self._before = study_status(self.folder.store, trials, self._before, driven=driven)
        tables = load(self.folder.store.uri, self.folder.name)
        frame = answer(tables)
        regimes = {run.run_id: run.regime for run in now.runs}
        return {
            "hypothesis": str(tables.spec.get("hypothesis") or ""),
            "headline": headline(now, self._speed(now)),
            "share": now.steps / now.asked if now.asked else 0.0,
            "runs": len(now.runs),
            "ended": sum(run.ended for run in now.runs),
            "revision": f"{now.steps} {sum(run.ended for run in now.runs)}",
            "sentences": sentences(frame) if any(row["seeds"] for row in frame.to_dicts()) else [],
            "regimes": rows(now),
            "events": _events(tables, regimes),
            "failures": [
                {
                    "run": run.run_id,
                    "regime": run.regime,
                    "step": run.state.step,
                    "error": run.state.error,
                    "traceback": run.state.traceback,
                }
                for run in now.runs
                if run.state.state == "failed"
            ],
        }

    def _speed(self, now: StudyStatus) -> float:
        """Steps per second since the first look."""
        if self._first is None:
            self._first = time.monotonic(), now.steps
        seconds = time.monotonic() - self._first[0]
        return (now.steps - self._first[1]) / seconds if seconds > 1 else 0.0

    def _draw(self) -> list[dict[str, Any]]:
        from grokstudy.analysis.figures import draw
        from grokstudy.analysis.tables.study import load

        figures = draw(load(self.folder.store.uri, self.folder.name))
        return [{"name": shown.name, "caption": shown.caption, "spec": shown.spec} for shown in figures]


def _events(tables: Any, regimes: Mapping[str, str]) -> list[dict[str, Any]]:
    """The events that have come, the latest step first, each once for all lengths of a run."""
    import polars as pl

    runs = tables.trials.select("trial_id", "run_id")
    came = tables.events.filter(pl.col("state") == "observed").join(runs, on="trial_id")
    came = came.sort("time", "event", "horizon", descending=[True, False, True])
    once = came.unique(["run_id", "event"], keep="first", maintain_order=True)
    return [
        {
            "step": round(row["time"]),
            "event": row["event"],
            "regime": regimes.get(row["run_id"], ""),
            "seed": row["seed"],
            "trial": row["trial_id"],
        }
        for row in once.head(EVENTS).collect().iter_rows(named=True)
    ]
