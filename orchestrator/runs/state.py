"""What the root says about each run. Read only: the run directories are the state, this is how they are read.

Interrupted, failed and done are three different things; "diverged" and "never grokked" are results, not failures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from grokstudy.orchestrator.runs.trial_table import read_trials
from grokstudy.orchestrator.runs.trials import Run, Trial
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import DamagedError, Store

SETTLED = ("done", "diverged", "stopped")
"""States in which a run needs no more work."""
FEW = 10
"""From so many open runs on, an object store is listed at once."""


@dataclass(frozen=True)
class RunState:
    """One run as the root shows it."""

    state: str
    """missing, interrupted, failed, done, diverged, stopped."""
    step: int
    """Steps that are known to be complete."""
    error: str | None = None
    traceback: str | None = None

    @property
    def settled(self) -> bool:
        """Whether it needs no more work."""
        return self.state in SETTLED


class Ledger:
    """The states of the runs of one study."""

    def __init__(
        self, store: Store, runs: Iterable[Run], scheduler_stops: bool, known: Mapping[str, int] | None = None
    ) -> None:
        """Read all states now; not those of runs that are `known` to have reached a step that is enough."""
        self.runs = {run.run_id: run for run in runs}
        self._scheduler_stops = scheduler_stops
        self._store = store
        recalled = known or {}
        open_ = {i: run for i, run in self.runs.items() if recalled.get(i, -1) < run.config.train.steps}
        self._files = None if store.local or len(open_) < FEW else _files_by_run(store)
        there = {PurePosixPath(path).name for path in store.list("runs")} if open_ else set()
        begun = {i: run for i, run in open_.items() if i in there}
        with ThreadPoolExecutor(max_workers=8) as pool:
            read = dict(zip(begun, pool.map(self._read, begun.values()), strict=True))
        read |= {i: RunState("missing", 0) for i in open_.keys() - there}
        self.states = {i: read[i] if i in read else RunState("done", recalled[i]) for i in self.runs}

    def _list(self, folder: str) -> list[str]:
        """Names in a folder: of an object store, all are listed at once where there are many."""
        if self._files is None:
            return [PurePosixPath(path).name for path in self._store.list(folder)]
        return self._files.get(folder, [])

    def _read(self, run: Run) -> RunState:
        folder = RunDir(self._store, run.run_id)
        names = self._list(folder.folder)
        damage = None
        try:
            if "DONE.json" in names and (done := folder.read("DONE.json")) is not None:
                return self._done(run, done)
            if "FAILED.json" in names and (failed := folder.read("FAILED.json")) is not None:
                return RunState("failed", failed["step"], failed["error"], failed["traceback"])
        except DamagedError as error:  # as if it were not there: training goes on and writes it again
            damage = str(error)
        if not {"run.json", "lease.json", "DONE.json", "FAILED.json"} & set(names):
            return RunState("missing", 0)
        step = _newest_checkpoint(self._list(folder.checkpoints))
        # A longer study has come further than this one asks for: its rows are complete up to there.
        complete = step >= run.config.train.steps and damage is None
        return RunState("done" if complete else "interrupted", step, damage)

    def _done(self, run: Run, marker: dict[str, Any]) -> RunState:
        step, reason = marker["step"], marker["reason"]
        if reason == "diverged":
            return RunState("diverged", step)
        if step >= run.config.train.steps:
            return RunState("done", step)
        stopped = reason == "stopped" and self._scheduler_stops
        return RunState("stopped" if stopped else "interrupted", step)

    def unsettled(self, retry_failed: bool = False) -> list[Run]:
        """Runs that need work, the longest first."""
        todo = [
            run
            for run_id, run in self.runs.items()
            if not self.states[run_id].settled and (retry_failed or self.states[run_id].state != "failed")
        ]
        return sorted(todo, key=lambda run: -run.config.train.steps)

    def trial_state(self, trial: Trial) -> str:
        """State of a trial: a prefix may be complete before its run is. One that cannot be trained has its own."""
        if trial.no_start is not None:
            return trial.no_start.state
        state = self.states[trial.config.run_id]
        if state.state != "diverged" and state.step >= trial.horizon:
            return "done"
        return state.state

    def counts(self) -> dict[str, int]:
        """Number of runs per state."""
        tally: dict[str, int] = {}
        for state in self.states.values():
            tally[state.state] = tally.get(state.state, 0) + 1
        return tally


def reached_before(store: Store, study: str) -> dict[str, int]:
    """Steps of the runs that the study's table shows as done and that are still there. Costs a read and a listing."""
    path = f"studies/{study}/trials.parquet"
    if not store.exists(path):
        return {}
    try:
        table = read_trials(store, study, "run_id", "horizon", "state")
    except DamagedError:
        return {}
    there = {PurePosixPath(folder).name for folder in store.list("runs")}
    reached: dict[str, int] = {}
    for row in table.to_pylist():
        if row["state"] == "done" and row["run_id"] in there:
            reached[row["run_id"]] = max(row["horizon"], reached.get(row["run_id"], 0))
    return reached


def _files_by_run(store: Store) -> dict[str, list[str]]:
    """Names by folder, from one listing of `runs/` to its bottom."""
    found: dict[str, list[str]] = {}
    for path in store.list("runs", recursive=True):
        folder, _, name = path.rpartition("/")
        found.setdefault(folder, []).append(name)
    return found


def _newest_checkpoint(names: list[str]) -> int:
    steps = [int(name.split("-")[1]) for name in names if re.fullmatch(r"step-\d+-\w+\.pt", name)]
    return max(steps, default=0)
