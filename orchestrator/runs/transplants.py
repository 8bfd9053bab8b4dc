"""The one writer of `studies/<name>/transplants.parquet`: states of one checkpoint of a run written into another.

For every run that came to both events, the checkpoints at which it had memorised and generalised against the one at its
end (`trainables/training/transplants.py`). What a run keeps is enough: a checkpoint stays where an event begins.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import TRANSPLANTED, StudyDir

if TYPE_CHECKING:
    import torch


def write_transplants(store: Store, study: str, device: torch.device) -> tuple[int, list[str]]:
    """Measure and write them; returns the number of runs, and for each that was left out why. Raises ValueError."""
    from grokstudy.analysis.statistics.paths import AFTER, BEFORE, LATE, stages
    from grokstudy.analysis.tables.study import load
    from grokstudy.trainables.training.transplants import transplants

    tables = load(store.uri, study)
    known = stages(tables)
    if known.is_empty():
        raise ValueError(f"{study}: no run came to both events {BEFORE} and {AFTER}, so there is no before and after")
    of_trial = dict(tables.results.select("trial_id", "run_id").collect().iter_rows())
    steps = {(trial, stage): step for trial, stage, step in known.select("trial_id", "stage", "step").iter_rows()}
    rows: list[dict[str, Any]] = []
    left_out = []
    for trial in sorted({trial for trial, _ in steps}):
        run = RunDir(store, of_trial[trial])
        try:
            for stage in (BEFORE, AFTER):
                measurements = transplants(run, steps[trial, stage], steps[trial, LATE], device)
                rows += [{"run_id": run.run_id, "stage": stage, **row} for row in measurements]
        except ValueError as error:
            left_out.append(str(error))
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=TRANSPLANTED), buffer, compression="zstd")
    store.write(StudyDir(store, study).transplants, buffer.getvalue())
    return len({row["run_id"] for row in rows}), left_out
