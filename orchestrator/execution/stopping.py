"""The adapter of the schedulers: what a launch hears of its runs goes to the scheduler, what that says to the runs.

Ray Tune's callback and the workers of `--local` both use it, so that a scheduler knows neither. It begins with what the
root has recorded of the study, and keeps nothing but the marker of a run that was stopped:
DONE.json {"step", "reason": "stopped", "scheduler", "futile": {event: chance}, "horizon"}.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from grokstudy.orchestrator.runs.recorded import read_curve
from grokstudy.orchestrator.runs.study_dir import extensions
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.orchestrator.schedulers import SCHEDULERS
from grokstudy.orchestrator.schedulers.base import Decision
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.storage import checkpoint
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import DamagedError, Store
from grokstudy.trainables.storage.study_dir import StudyDir

ENDED = {"done": "finished", "diverged": "diverged", "stopped": "stopped", "failed": "failed"}
"""States of runs that report no more, in the words of the schedulers."""


class Stopping:
    """The scheduler of one launch. Without one that stops runs it costs nothing."""

    def __init__(self, study: Study, runs: Iterable[Run], store: Store) -> None:
        """Start with what the study's runs have recorded, these to be trained."""
        self.store, self.study = store, study
        self.scheduler = SCHEDULERS[study.scheduler_kind](study.scheduler, study.events)
        self._ended: set[str] = set()
        self._frozen: dict[str, Decision] = {}
        self._heard: dict[str, int] = {}
        self._free = set(extensions(store, study.name))
        """Runs that a person has extended are trained to where that person wants them."""
        self._horizons: dict[str, int] = {}
        if study.scheduler.stops:
            self._remember(list(runs))

    def begin(self, runs: Iterable[Run]) -> None:
        """These are going to report, too."""
        for run in runs if self.study.scheduler.stops else ():
            self._horizons[run.run_id] = run.config.train.steps
            self.scheduler.begin(run.run_id, run.config.train.steps)

    def admitted(self, runs: list[Run]) -> list[Run]:
        """Those that are to be trained now: not those that are paused."""
        if not self.study.scheduler.stops:
            return runs
        return [run for run in runs if run.run_id in self._free or self.scheduler.standing(run.run_id) == "continue"]

    def hear(self, lines: list[dict[str, Any]]) -> list[str]:
        """Take in a heartbeat; returns the runs that are to be frozen now."""
        if not self.study.scheduler.stops:
            return []
        now = []
        for line in lines:
            run_id, outcome = line["run_id"], line["outcome"]
            if run_id not in self._horizons:
                continue
            for step, metrics in line["evaluations"]:
                if step <= self._heard.get(run_id, -1):
                    continue
                self._heard[run_id] = step
                decision = self.scheduler.on_result(run_id, step, dict(metrics))
                if decision != "continue" and run_id not in self._frozen and run_id not in self._free:
                    self._frozen[run_id] = decision
                    now.append(run_id)
            if outcome is not None and run_id not in self._ended:
                self._end(run_id, outcome)
        return now

    def conclude(self) -> bool:
        """After the launch: end those that will not go on; whether any that was paused goes on now."""
        again = False
        for run_id, decision in self._frozen.items():
            if decision == "pause" and run_id not in self._ended:
                standing = self.scheduler.standing(run_id)
                again |= standing == "continue"
                if standing == "stop":
                    self._mark(run_id)
        return again

    def _end(self, run_id: str, outcome: str) -> None:
        if outcome == "frozen":
            if self._frozen.get(run_id) == "stop":
                self._mark(run_id)
            return
        self._frozen.pop(run_id, None)  # it came to its end before it was frozen
        self._ended.add(run_id)
        self.scheduler.on_end(run_id, outcome)

    def _mark(self, run_id: str) -> None:
        self._ended.add(run_id)
        self.scheduler.on_end(run_id, "stopped")
        run = RunDir(self.store, run_id)
        reached = max(checkpoint.steps(run), default=0)
        about = {"scheduler": self.study.scheduler_kind, "futile": self.scheduler.futile(run_id)}
        run.write("DONE.json", {"step": reached, "reason": "stopped", **about, "horizon": self._horizons[run_id]})

    def _remember(self, runs: list[Run]) -> None:
        """Repeat to the scheduler what the root has, all runs by step."""
        todo = {run.run_id for run in runs}
        states = {run_id: (horizon, state) for run_id, horizon, state in _settled(self.store, self.study.name)}
        for run_id, (horizon, _) in states.items():
            self.scheduler.begin(run_id, horizon)
        self.begin(runs)
        metrics = {event.metric for event in self.study.events.values()}
        metrics.add(getattr(self.study.scheduler, "metric", "accuracy"))
        horizons = {run_id: horizon for run_id, (horizon, _) in states.items()} | self._horizons
        heard = []
        for run_id, horizon in horizons.items():
            with contextlib.suppress(DamagedError, FileNotFoundError):  # as if it were not there
                heard += [(step, run_id, values) for step, values in read_curve(self.store, run_id, metrics, horizon)]
        for step, run_id, values in sorted(heard, key=lambda row: row[:2]):
            self._heard[run_id] = step
            self.scheduler.on_result(run_id, step, values)
        for run_id, (_, state) in states.items():
            if run_id not in todo:
                self.scheduler.on_end(run_id, ENDED[state])


def _settled(store: Store, study: str) -> list[tuple[str, int, str]]:
    """Runs of the study that have ended, each with the length that was asked of it."""
    try:
        table = StudyDir(store, study).read_trials("run_id", "horizon", "state")
    except (FileNotFoundError, DamagedError):
        return []
    rows = sorted(table.to_pylist(), key=lambda row: int(row["horizon"]))
    longest = {row["run_id"]: row for row in rows if row["run_id"] is not None and row["state"] in ENDED}
    return [(run_id, int(row["horizon"]), row["state"]) for run_id, row in longest.items()]
