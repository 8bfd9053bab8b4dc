"""The one writer of `studies/<name>/`: study.yaml, study.json and trials.parquet."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.ledger import Ledger
from orchestrator.space import Trial
from orchestrator.study import Study
from trainables.records import arrow_schema
from trainables.schema import TRIAL_COLUMNS
from trainables.store import Store
from trainables.versions import git_commit, installed

PACKAGES = ("grokstudy", "torch", "ray", "polars", "mlflow", "optuna")


def write_study(store: Store, study: Study, trials: list[Trial], ledger: Ledger) -> None:
    """Put down what was asked and how each trial stands. Writing again replaces."""
    folder = f"studies/{study.name}"
    store.write(f"{folder}/study.yaml", study.text.encode())
    versions = installed(*PACKAGES)
    store.write_json(f"{folder}/study.json", {**study.to_json(), "versions": versions, "commit": git_commit()})
    buffer = io.BytesIO()
    pq.write_table(trial_table(trials, ledger), buffer, compression="zstd")
    store.write(f"{folder}/trials.parquet", buffer.getvalue())


def trial_table(trials: list[Trial], ledger: Ledger) -> pa.Table:
    """One row per trial: the fixed columns, then every swept parameter under its own name."""
    fixed = {
        "trial_id": [trial.trial_id for trial in trials],
        "run_id": [trial.config.run_id for trial in trials],
        "horizon": [trial.horizon for trial in trials],
        "seed": [trial.seed for trial in trials],
        "state": [ledger.trial_state(trial) for trial in trials],
    }
    table = pa.table(fixed, schema=arrow_schema(TRIAL_COLUMNS))
    for name in dict.fromkeys(key for trial in trials for key in trial.point):
        table = table.append_column(name, pa.array(_uniform([trial.point.get(name) for trial in trials])))
    return table


def _uniform(values: list[Any]) -> list[Any]:
    """One type per column: numbers stay numbers, a mixture becomes text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    return values if len(kinds) <= 1 else [None if value is None else str(value) for value in values]
