"""The one writer of `studies/<name>/`: study.yaml, study.json and trials.parquet."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from grokstudy.orchestrator.runs.state import Ledger
from grokstudy.orchestrator.runs.trial_table import read_trials
from grokstudy.orchestrator.runs.trials import Trial
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.events import Event
from grokstudy.trainables.schema import TRIAL_COLUMNS
from grokstudy.trainables.storage.records import arrow_schema
from grokstudy.trainables.storage.store import DamagedError, Store
from grokstudy.trainables.versions import git_commit, installed

PACKAGES = ("grokstudy", "torch", "ray", "polars", "mlflow", "optuna")


def write_study(store: Store, study: Study, trials: list[Trial], ledger: Ledger) -> None:
    """Put down what was asked and how each trial stands. Writing again replaces."""
    folder = f"studies/{study.name}"
    store.write(f"{folder}/study.yaml", study.text.encode())
    about = {"versions": installed(*PACKAGES), "commit": git_commit()}
    budget = {"checkpoint_bytes": study.resources.checkpoint_bytes}
    store.write_json(f"{folder}/study.json", {**study.to_json(), **about, **budget})
    buffer = io.BytesIO()
    pq.write_table(trial_table(trials, ledger), buffer, compression="zstd")
    store.write(f"{folder}/trials.parquet", buffer.getvalue())


def is_written(store: Store, study: Study, trials: list[Trial], ledger: Ledger) -> bool:
    """Whether the root has this study with just these trials, as they stand."""
    known = store.read_json(f"studies/{study.name}/study.json") or {}
    if known.get("spec_hash") != study.spec_hash or not store.exists(f"studies/{study.name}/trials.parquet"):
        return False
    fixed = [column.name for column in TRIAL_COLUMNS]
    try:
        there = read_trials(store, study.name, *fixed)
    except DamagedError:
        return False
    written: bool = there.select(fixed).to_pydict() == trial_table(trials, ledger).select(fixed).to_pydict()
    return written


def write_external(
    store: Store, name: str, rows: list[dict[str, Any]], events: Mapping[str, Event], origin: str
) -> None:
    """Put down a study of imported curves: one trial per row {curve, run_id, horizon}, all of them done."""
    folder = f"studies/{name}"
    about = {"name": name, "hypothesis": origin, "spec_hash": ""}
    spec = {
        **about,
        "events": {name: event.to_json() for name, event in events.items()},
        "axes": ["curve"],
        "seeds": [0],
    }
    store.write_json(f"{folder}/study.json", {**spec, "base": {}, "versions": installed("grokstudy"), "commit": None})
    fixed = {
        "trial_id": [f"{name}-{number:05d}" for number in range(len(rows))],
        "run_id": [row["run_id"] for row in rows],
        "horizon": [row["horizon"] for row in rows],
        "seed": [0] * len(rows),
        "state": ["done"] * len(rows),
    }
    labels = pa.array([row["curve"] for row in rows], pa.string())
    table = pa.table(fixed, schema=arrow_schema(TRIAL_COLUMNS)).append_column("curve", labels)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    store.write(f"{folder}/trials.parquet", buffer.getvalue())


def trial_table(trials: list[Trial], ledger: Ledger) -> pa.Table:
    """One row per trial: the fixed columns, then every swept parameter under its own name."""
    fixed = {
        "trial_id": [trial.trial_id for trial in trials],
        "run_id": [trial.run_id for trial in trials],
        "horizon": [trial.horizon for trial in trials],
        "seed": [trial.seed for trial in trials],
        "state": [ledger.trial_state(trial) for trial in trials],
    }
    table = pa.table(fixed, schema=arrow_schema(TRIAL_COLUMNS))
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
