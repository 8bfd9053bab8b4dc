"""How far a study is, from the root alone: one status per run, and what follows from it for the study.

`status`, `watch`, `run` and MLflow show this, each in its own form. Rows reach the root with checkpoints, so what is
seen here is what is safe, and a little behind the workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from grokstudy.analysis.labels import named, setting
from grokstudy.orchestrator.runs.state import RunState, read_states
from grokstudy.trainables.schema import SEED_PARTS
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import RunDir, last_lease
from grokstudy.trainables.storage.store import DamagedError, Store
from grokstudy.trainables.storage.study_dir import FIXED, StudyDir

BESIDE = ("start.", "seed.")
"""What columns begin with that say more of a trial than its place in the space."""
STATES = ("done", "diverged", "stopped", "failed", "interrupted", "missing")
"""In the order in which they are shown."""
MOST_LOOKED_INTO = 1000
"""Runs whose newest accuracy is looked up; of more, only the states are told."""


def regimes(points: Iterable[Mapping[str, Any]]) -> list[str]:
    """Places in the space in words, as reports call them, without seed and length."""
    return named(({name: x for name, x in point.items() if name != "train.steps"} for point in points), setting)


@dataclass(frozen=True)
class RunStatus:
    """One run of a study."""

    run_id: str
    trials: tuple[str, ...]
    horizon: int
    """The largest length that the study asks of it, in steps."""
    seed: int
    parts: tuple[int, ...]
    """Where seeds are crossed, those of graph, initialisation and order; else empty."""
    point: Mapping[str, Any]
    """Its place in the space,"""
    regime: str
    """and in words, without seed and length."""
    state: RunState

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.state.settled or self.state.state == "failed"


def run_statuses(
    store: Store, trials: Iterable[Mapping[str, Any]], states: Mapping[str, RunState] | None = None
) -> list[RunStatus]:
    """Every run of a study, in the order of its trials: rows of trials.parquet. `states` where they are known."""
    by_run: dict[str, list[Mapping[str, Any]]] = {}
    for row in trials:
        if row["run_id"] is not None:
            by_run.setdefault(row["run_id"], []).append(row)
    longest = {run_id: max(rows, key=lambda row: int(row["horizon"])) for run_id, rows in by_run.items()}
    horizons = {run_id: int(row["horizon"]) for run_id, row in longest.items()}
    states_now = read_states(store, horizons, scheduler_stops=True) if states is None else states
    points = [
        {key: value for key, value in row.items() if key not in FIXED.names and not key.startswith(BESIDE)}
        for row in longest.values()
    ]
    return [
        RunStatus(
            run_id=run_id,
            trials=tuple(trial["trial_id"] for trial in by_run[run_id]),
            horizon=horizons[run_id],
            seed=int(row["seed"]),
            parts=tuple(int(row[name]) for name in SEED_PARTS if name in row),
            point=point,
            regime=regime,
            state=states_now[run_id],
        )
        for (run_id, row), point, regime in zip(longest.items(), points, regimes(points), strict=True)
    ]


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is at one moment."""

    runs: tuple[RunStatus, ...]
    accuracy: Mapping[str, Mapping[str, float]]
    """run_id -> split -> newest accuracy that is safe."""
    driven: bool = False
    """Whether somebody drives it now, so that what is interrupted is on its way."""

    def word(self, state: str) -> str:
        """A state as people are told it."""
        return "running" if self.driven and state == "interrupted" else state

    @property
    def steps(self) -> int:
        """Steps that are safe."""
        return sum(min(run.state.step, run.horizon) for run in self.runs)

    @property
    def asked(self) -> int:
        """Steps that the study asks for."""
        return sum(run.horizon for run in self.runs)

    @property
    def left(self) -> int:
        """Steps that are still to be trained."""
        return sum(run.horizon - run.state.step for run in self.runs if not run.ended)

    @property
    def over(self) -> bool:
        """Whether every run has ended."""
        return all(run.ended for run in self.runs)

    def by_regime(self) -> dict[str, list[RunStatus]]:
        """Its runs by their place in the space."""
        groups: dict[str, list[RunStatus]] = {}
        for run in self.runs:
            groups.setdefault(run.regime, []).append(run)
        return groups


def study_status(
    store: Store, trials: Iterable[Mapping[str, Any]], before: StudyStatus | None = None,
    states: Mapping[str, RunState] | None = None, driven: bool = False,
) -> StudyStatus:  # fmt: skip
    """Look now; what runs that had ended `before` have reached is not read again."""
    runs = tuple(run_statuses(store, trials, states))
    known = {} if before is None else dict(before.accuracy)
    same = set() if before is None else {run.run_id for run in before.runs if run.ended}
    begun_ids = [run.run_id for run in runs if run.state.state != "missing" and run.run_id not in same]
    looked_into = begun_ids if len(runs) <= MOST_LOOKED_INTO else []
    return StudyStatus(runs, {**known, **{run_id: _newest(store, run_id) for run_id in looked_into}}, driven)


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


@dataclass(frozen=True)
class RunRecord(RunStatus):
    """A run with what its own files tell of it."""

    about: Mapping[str, Any]
    """run.json; empty when it never began."""
    attempts: int
    began_at: float | None
    """Seconds since 1970, as run.json says; of curves from elsewhere, when they were imported."""
    ended_at: float | None
    """The same for its end, if it has one."""

    @property
    def name(self) -> str:
        """Its seed and its place in the space, in words: seeds sort beside each other."""
        words = [str(value) for value in self.point.values()]
        parts = dict(zip(("graph", "init", "order"), self.parts, strict=False)) or {"seed": self.seed}
        seeds = ", ".join(f"{kind} {seed}" for kind, seed in parts.items())
        return " ".join([*words, "(imported)"] if self.imported else [seeds, *words])

    @property
    def imported(self) -> str | None:
        """The file that the curves come from, if they were not trained here."""
        return f"{self.about['external']} (sha256 {self.about['sha256']})" if "external" in self.about else None


def run_records(store: Store, study: str) -> list[RunRecord]:
    """Every run of a study, with what its files tell."""
    statuses = run_statuses(store, StudyDir(store, study).trial_rows())
    return [_record(RunDir(store, status.run_id), status) for status in statuses]


def _record(run: RunDir, status: RunStatus) -> RunRecord:
    about = run.read("run.json") or {}
    done = (run.read("DONE.json") or {}) if about else {}
    began = about.get("started", about.get("imported"))
    ended = done.get("ended")
    if ended is None and "started" in about and "seconds" in done:  # a marker that does not say when: at the earliest
        ended = float(about["started"]) + float(done["seconds"])
    return RunRecord(**vars(status), about=about, attempts=last_lease(run)["attempt"], began_at=began, ended_at=ended)
