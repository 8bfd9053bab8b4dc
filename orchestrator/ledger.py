"""What the root says about each run. Read only: the run directories are the state, this is how they are read.

Interrupted, failed and done are three different things; "diverged" and "never grokked" are results, not failures.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath

from orchestrator.space import Run, Trial
from trainables.rundir import RunDir
from trainables.store import Store

SETTLED = ("done", "diverged", "stopped")
"""States in which a run needs no more work."""


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

    def __init__(self, store: Store, runs: Iterable[Run], scheduler_stops: bool) -> None:
        """Read all states now: one listing of `runs/`, then only the markers that are there."""
        self.runs = {run.run_id: run for run in runs}
        self._scheduler_stops = scheduler_stops
        self._store = store
        with ThreadPoolExecutor(max_workers=8) as pool:
            self.states = dict(zip(self.runs, pool.map(self._read, self.runs.values()), strict=True))

    def _read(self, run: Run) -> RunState:
        folder = RunDir(self._store, run.run_id)
        names = {PurePosixPath(path).name for path in self._store.list(folder.folder)}
        if "DONE.json" in names:
            return self._done(run, folder.read("DONE.json") or {})
        if "FAILED.json" in names:
            failed = folder.read("FAILED.json") or {}
            return RunState("failed", int(failed.get("step", 0)), failed.get("error"), failed.get("traceback"))
        if "run.json" not in names and "lease.json" not in names:
            return RunState("missing", 0)
        step = _newest_checkpoint(self._store.list(folder.checkpoints))
        # A longer study has come further than this one asks for: its rows are complete up to there.
        return RunState("done" if step >= run.config.train.steps else "interrupted", step)

    def _done(self, run: Run, marker: dict[str, object]) -> RunState:
        step, reason = int(str(marker["step"])), str(marker["reason"])
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
        """State of a trial: a prefix may be complete before its run is."""
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


def _newest_checkpoint(names: list[str]) -> int:
    steps = [int(PurePosixPath(name).name.split("-")[1]) for name in names if name.endswith(".pt")]
    return max(steps, default=0)
