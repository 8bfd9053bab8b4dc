"""What a run has recorded, as a scheduler hears it: for a new driver, and for replays without training."""

from __future__ import annotations

import bisect
from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from grokstudy.orchestrator.schedulers.base import TRAIN_LOSS, WEIGHT_NORM, Metrics
from grokstudy.trainables.events import Site
from grokstudy.trainables.schema import METRICS
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.retention import values_by_step
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store

RecordedCurve = list[tuple[int, Metrics]]
"""Each evaluation of a run with its step, in order."""


def read_curve(store: Store, run_id: str, metrics: Collection[str], horizon: int) -> RecordedCurve:
    """The evaluations of a run up to its horizon, of these probes and of every accuracy, loss and margin.

    Beside them training loss and weight norm of the update before. Raises DamagedError for a torn part.
    """
    run = RunDir(store, run_id)
    tables = {"evals": records.read(run, "evals").to_pydict()}
    if probed := sorted(set(metrics) - set(METRICS)):
        rows = records.read(run, "probes")
        wanted = pc.and_(pc.is_in(rows["probe"], pa.array(probed)), pc.is_null(rows["layer"]))
        tables["probes"] = rows.filter(wanted).to_pydict()
    steps = records.read(run, "steps").select(["step", "loss", "weight_norm"]).to_pydict()
    curve: RecordedCurve = []
    for step, values in sorted(values_by_step(tables).items()):
        if step <= horizon:
            measured: dict[Site, float | None] = {
                site: value for site, value in values.items() if site[2:] == (None, None)
            }
            before = bisect.bisect_left(steps["step"], step) - 1
            if before >= 0:
                measured |= {TRAIN_LOSS: steps["loss"][before], WEIGHT_NORM: steps["weight_norm"][before]}
            curve.append((step, measured))
    return curve
