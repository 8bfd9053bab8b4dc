"""The one writer of `studies/<name>/`: study.yaml, study.json, code/, trials.parquet, extensions.json, launches.json.

An extension is longer training for some runs, asked for after the fact, as {run_id: steps}: the longest trial of that
run gets this length instead of the study file's. What was trained stays; the run resumes from its last checkpoint.

A launch is kept as {began, executor, workers, foretold: {seconds, seconds_low, seconds_high, run_steps}, ended}; it
`began` so many seconds after 1970. `ended` is null while it lasts, and for good where its driver was killed; else
{seconds, run_steps, cut_short}. Only the report reads it.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from grokstudy.orchestrator.runs.state import Ledger
from grokstudy.orchestrator.runs.trials import Trial
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.config import MOST_STEPS
from grokstudy.trainables.events import Event
from grokstudy.trainables.schema import SEED_PARTS
from grokstudy.trainables.storage.run_dir import run_ids
from grokstudy.trainables.storage.store import DamagedError, Store
from grokstudy.trainables.storage.study_dir import FIXED, StudyDir
from grokstudy.trainables.versions import git_commit, installed

PACKAGES = ("grokstudy", "torch", "ray", "polars", "mlflow", "optuna")


def write_study(store: Store, study: Study, trials: list[Trial], ledger: Ledger) -> None:
    """Put down what was asked and how each trial stands. Writing again replaces."""
    folder = StudyDir(store, study.name)
    folder.keep_code(study.code.values())
    store.write(folder.text, study.text.encode())
    about = {"versions": installed(*PACKAGES), "commit": git_commit()}
    resources = study.resources
    budget = {"checkpoint_bytes": resources.checkpoint_bytes, "keep_checkpoints": resources.keep_checkpoints}
    store.write_json(folder.spec, {**study.to_json(), **about, **budget})
    _write_trials(folder, trial_table(trials, ledger))


def is_written(store: Store, study: Study, trials: list[Trial], ledger: Ledger) -> bool:
    """Whether the root has this study with just these trials, as they stand."""
    folder = StudyDir(store, study.name)
    if (folder.find_spec() or {}).get("spec_hash") != study.spec_hash:
        return False
    try:
        written = folder.read_trials(*FIXED.names)
    except (FileNotFoundError, DamagedError):
        return False
    table = trial_table(trials, ledger)
    return all(written[name].equals(table[name]) for name in FIXED.names)


def write_external(
    store: Store, name: str, rows: list[dict[str, Any]], events: Mapping[str, Event], origin: str
) -> None:
    """Put down a study of imported curves: a trial per row {run_id, horizon, axes in words}, all of them done."""
    folder = StudyDir(store, name)
    axes = [key for key in rows[0] if key not in FIXED.names]
    about = {"name": name, "hypothesis": origin, "spec_hash": ""}
    spec = {
        **about,
        "events": {name: event.to_json() for name, event in events.items()},
        "axes": axes,
        "seeds": [0],
    }
    store.write_json(folder.spec, {**spec, "base": {}, "versions": installed("grokstudy"), "commit": None})
    fixed = {
        "trial_id": [f"{name}-{number:05d}" for number in range(len(rows))],
        "run_id": [row["run_id"] for row in rows],
        "horizon": [row["horizon"] for row in rows],
        "seed": [0] * len(rows),
        "state": ["done"] * len(rows),
    }
    table = pa.table(fixed, schema=FIXED)
    for axis in axes:
        table = table.append_column(axis, pa.array([row[axis] for row in rows], pa.string()))
    _write_trials(folder, table)


def _write_trials(folder: StudyDir, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    folder.store.write(folder.trials, buffer.getvalue())


def trial_table(trials: list[Trial], ledger: Ledger) -> pa.Table:
    """One row per trial: the fixed columns, then every swept parameter under its own name."""
    fixed = {
        "trial_id": [trial.trial_id for trial in trials],
        "run_id": [trial.run_id for trial in trials],
        "horizon": [trial.horizon for trial in trials],
        "seed": [trial.seed for trial in trials],
        "state": [ledger.trial_state(trial) for trial in trials],
    }
    table = pa.table(fixed, schema=FIXED)
    if any(trial.seed != trial.config.seed for trial in trials):  # numbers of combinations (`CrossedSeeds`)
        configs = [trial.config for trial in trials]
        parts = zip(*((config.seed, config.starting_seed, config.drawing_seed) for config in configs), strict=True)
        for name, seeds in zip(SEED_PARTS, parts, strict=True):
            table = table.append_column(name, pa.array(seeds, pa.int64()))
    if any(trial.start_from is not None for trial in trials):
        table = _with_starts(table, trials)
    for name in dict.fromkeys(key for trial in trials for key in trial.point):
        table = table.append_column(name, pa.array(_uniform([trial.point.get(name) for trial in trials])))
    return table


def _with_starts(table: pa.Table, trials: list[Trial]) -> pa.Table:
    """What was asked for, where it begins (null: from scratch, or it has no start), and why it has no start."""
    starts = [None if trial.no_start else trial.config.start for trial in trials]
    columns = {
        "start.from": pa.array([trial.start_from and str(trial.start_from) for trial in trials], pa.string()),
        "start.run_id": pa.array([start and start.run_id for start in starts], pa.string()),
        "start.step": pa.array([start and start.step for start in starts], pa.int64()),
        "start.note": pa.array([trial.no_start and trial.no_start.note for trial in trials], pa.string()),
    }
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


def _uniform(values: list[Any]) -> list[Any]:
    """One type per column: numbers stay numbers, a mixture becomes text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    return values if len(kinds) <= 1 else [None if value is None else str(value) for value in values]


def reached_before(store: Store, study: str) -> dict[str, int]:
    """Steps of the runs that the study's table shows as done and that are still there. Costs a read and a listing."""
    try:
        table = StudyDir(store, study).read_trials("run_id", "horizon", "state")
    except (FileNotFoundError, DamagedError):
        return {}
    begun_ids = set(run_ids(store))
    reached: dict[str, int] = {}
    for row in table.to_pylist():
        if row["state"] == "done" and row["run_id"] in begun_ids:
            reached[row["run_id"]] = max(row["horizon"], reached.get(row["run_id"], 0))
    return reached


def extensions(store: Store, study: str) -> dict[str, int]:
    """The lengths that were asked for, by run."""
    name = StudyDir(store, study).extensions
    lengths = store.read_json(name) or {}
    if not all(type(steps) is int and 0 < steps < MOST_STEPS for steps in lengths.values()):
        raise DamagedError(f"{store.path(name)}: holds a length that is none; delete it and extend the study again")
    return lengths


def extend(store: Store, study: str, run_ids: Iterable[str], steps: int) -> None:
    """Ask for at least so many steps of these runs."""
    lengths = extensions(store, study)
    lengths.update({run_id: max(steps, lengths.get(run_id, 0)) for run_id in run_ids})
    store.write_json(StudyDir(store, study).extensions, lengths)


def begin_launch(
    store: Store, study: str, executor: str, workers: int, foretold: tuple[float, float | None, float | None],
    run_steps: int,
) -> float:  # fmt: skip
    """Add a launch that is `foretold` to take seconds (mean, low, high) for so many run-steps; when it began."""
    rounded = [None if seconds is None else round(seconds, 3) for seconds in foretold]
    seconds = dict(zip(("seconds", "seconds_low", "seconds_high"), rounded, strict=True))
    began = round(time.time(), 3)
    launch = {
        "began": began,
        "executor": executor,
        "workers": workers,
        "foretold": {**seconds, "run_steps": run_steps},
        "ended": None,
    }
    _write_launches(store, study, [*_launches(store, study), launch])
    return began


def end_launch(store: Store, study: str, began: float, seconds: float, run_steps: int, cut_short: bool) -> None:
    """Complete the launch that began then; another may have begun since."""
    ended = {"seconds": round(seconds, 3), "run_steps": run_steps, "cut_short": cut_short}
    launches = _launches(store, study)
    completed = [{**launch, "ended": ended} if launch.get("began") == began else launch for launch in launches]
    _write_launches(store, study, completed)


def _launches(store: Store, study: str) -> list[dict[str, Any]]:
    """Those so far. What is torn or foreign is dropped: nothing that trains shall wait for it."""
    try:
        launches = (store.read_json(StudyDir(store, study).launches) or {}).get("launches")
    except DamagedError:
        return []
    return [launch for launch in launches if isinstance(launch, dict)] if isinstance(launches, list) else []


def _write_launches(store: Store, study: str, launches: list[dict[str, Any]]) -> None:
    store.write_json(StudyDir(store, study).launches, {"launches": launches})


def extended(trials: list[Trial], lengths: Mapping[str, int]) -> list[Trial]:
    """The trials with the lengths that were asked for; of trials that share a run, the longest is extended."""
    if not lengths:
        return trials
    longest: dict[str, int] = {}
    for trial in trials:
        longest[trial.config.run_id] = max(trial.horizon, longest.get(trial.config.run_id, 0))
    return [
        trial.with_steps(lengths[trial.config.run_id])
        if trial.horizon == longest[trial.config.run_id] < lengths.get(trial.config.run_id, 0)
        else trial
        for trial in trials
    ]
