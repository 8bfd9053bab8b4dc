"""What the root says about each run. Read only: the run directories are the state, this is how they are read.

Interrupted, failed and done are three different things; "diverged" and "never grokked" are results, not failures.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from grokstudy.orchestrator.runs.trials import Run, Trial
from grokstudy.trainables.config import NUMERICS
from grokstudy.trainables.storage.run_dir import CHECKPOINT, MARKERS, RunDir, run_ids
from grokstudy.trainables.storage.store import DamagedError, Store

_VARYING = re.compile(r"0x[0-9a-f]+|\d+")
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

    @property
    def open(self) -> bool:
        """Whether something may still come of it by itself."""
        return self.state in ("missing", "interrupted")


def read_states(
    store: Store, steps: Mapping[str, int], scheduler_stops: bool, reached: Mapping[str, int] | None = None
) -> dict[str, RunState]:
    """The states of runs now, by the steps that are asked of each; not read are those `reached` says to be so far.

    With `scheduler_stops`, a run that a scheduler stopped has ended; else, or when more is asked of it since, it is
    interrupted.
    """
    done = {run_id: step for run_id, step in (reached or {}).items() if step >= steps.get(run_id, step + 1)}
    open_ = [run_id for run_id in steps if run_id not in done]
    begun_ids = set(run_ids(store)) & {*open_} if open_ else set()
    names = _names_by_folder(store) if not store.local and len(open_) >= FEW else None
    with ThreadPoolExecutor(max_workers=8) as pool:
        states = pool.map(lambda run_id: _read(RunDir(store, run_id), steps[run_id], scheduler_stops, names), begun_ids)
        read = dict(zip(begun_ids, states, strict=True))
    missing = RunState("missing", 0)
    return {run_id: RunState("done", done[run_id]) if run_id in done else read.get(run_id, missing) for run_id in steps}


def _read(run: RunDir, target: int, scheduler_stops: bool, names: Mapping[str, list[str]] | None) -> RunState:
    def listed(folder: str) -> list[str]:
        return names.get(folder, []) if names is not None else [path.split("/")[-1] for path in run.store.list(folder)]

    files = listed(run.folder)
    damage = None
    try:
        if "DONE.json" in files and (done := run.read("DONE.json")) is not None:
            step = done["step"]
            stopped = done["reason"] == "stopped" and scheduler_stops and target <= done.get("horizon", target)
            reached = "done" if step >= target else "stopped" if stopped else "interrupted"
            return RunState("diverged" if done["reason"] == "diverged" else reached, step)
        if "FAILED.json" in files and (failed := run.read("FAILED.json")) is not None:
            return RunState("failed", failed["step"], failed["error"], failed["traceback"])
    except DamagedError as error:  # as if it were not there: training goes on and writes it again
        damage = str(error)
    if not {*MARKERS} & {*files}:
        return RunState("missing", 0)
    saved = filter(None, map(CHECKPOINT.fullmatch, listed(run.checkpoints)))
    step = max((int(match["step"]) for match in saved if match["kind"] == "step"), default=0)
    # A longer study has come further than this one asks for: its rows are complete up to there. A checkpoint at the
    # very end says nothing of the evaluation there, which comes after it.
    return RunState("done" if step > target and damage is None else "interrupted", step, damage)


def _names_by_folder(store: Store) -> dict[str, list[str]]:
    """Names by folder, from one listing of `runs/` to its bottom: an object store is not asked run by run."""
    names: dict[str, list[str]] = {}
    for path in store.list("runs", recursive=True):
        folder, _, name = path.rpartition("/")
        names.setdefault(folder, []).append(name)
    return names


class Ledger:
    """The states of the runs of one study."""

    def __init__(
        self, store: Store, runs: Iterable[Run], scheduler_stops: bool, reached: Mapping[str, int] | None = None
    ) -> None:
        """Read all states now; not those of runs that have `reached` a step that is enough."""
        self.runs = {run.run_id: run for run in runs}
        steps = {run_id: run.config.train.steps for run_id, run in self.runs.items()}
        self.states = read_states(store, steps, scheduler_stops, reached)

    def unsettled(self, retry_failed: bool = False) -> list[Run]:
        """Runs that need work, the longest first."""
        todo = [
            run
            for run_id, run in self.runs.items()
            if not self.states[run_id].settled and (retry_failed or self.states[run_id].state != "failed")
        ]
        return sorted(todo, key=lambda run: -run.config.train.steps)

    def trial_state(self, trial: Trial) -> str:
        """State of a trial: a prefix may be complete before its run is, once the run is beyond it. One that cannot be
        trained has its own.
        """
        if trial.no_start is not None:
            return trial.no_start.state
        state = self.states[trial.config.run_id]
        if state.state != "diverged" and state.step >= trial.horizon + (not state.settled):
            return "done"
        return state.state

    def counts(self) -> dict[str, int]:
        """Number of runs per state."""
        tally: dict[str, int] = {}
        for state in self.states.values():
            tally[state.state] = tally.get(state.state, 0) + 1
        return tally


def cause(error: str | None, traceback: str | None) -> str:
    """What two failures of the same kind have in common: the traceback, less its numbers."""
    return _VARYING.sub("#", traceback or error or "no message")


def older_runs(store: Store, runs: Iterable[Run], current: int = NUMERICS) -> dict[int, int]:
    """How many of these runs the root has under each older version."""
    known_ids = set(run_ids(store)) if current > 1 else set()
    if not known_ids:
        return {}
    configs = [run.config for run in runs]
    counts = {
        version: sum(dataclasses.replace(config, numerics=version).run_id in known_ids for config in configs)
        for version in range(1, current)
    }
    return {version: count for version, count in counts.items() if count}


def older_text(counts: dict[int, int]) -> str:
    """What to say about them; empty without any."""
    return "\n".join(
        f"{count} of them are in the root with numerics {version}, from before the numbers changed, and are not "
        f"re-used; to take them as they are, write base: {{numerics: {version}}} in the study file"
        for version, count in counts.items()
    )
