"""How long it takes to show a large study in MLflow: `python -m benchmarks.mlflow_sync [RUNS]`, one JSON line.

Twenty curves of five hundred points a run, to a fresh sqlite as `grokstudy mlflow` uses it; then again, when all of it
is there. Beside it the same points of a few runs by MLflow's own `log_batch`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from grokstudy.orchestrator.runs.status import RunRecord
from grokstudy.orchestrator.tracking.mlflow_store import Tracker
from grokstudy.orchestrator.tracking.mlflow_sync import sync
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.store import Store

CURVES, POINTS, STEPS = 20, 500, 100_000


def build(store: Store, runs: int) -> None:
    """A study whose runs have markers and no rows: the points are made up below."""
    import io

    import polars as pl

    rows = []
    for number in range(runs):
        run_id = f"{number:016x}"
        about = {"config": RunConfig().to_dict(), "started": 1.7e9 + number, "data_hash": "d", "commit": "c"}
        store.write_json(f"runs/{run_id}/run.json", about)
        store.write_json(f"runs/{run_id}/DONE.json", {"step": STEPS, "reason": "finished", "seconds": 60.0})
        state = {"horizon": STEPS, "seed": number, "state": "done", "optim.weight_decay": number / runs}
        rows.append({"trial_id": f"large-{number}", "run_id": run_id, **state})
    buffer = io.BytesIO()
    pl.DataFrame(rows).write_parquet(buffer)
    store.write("studies/large/trials.parquet", buffer.getvalue())
    store.write_json("studies/large/study.json", {"name": "large", "hypothesis": "", "spec_hash": "0"})


def curves(runs: Sequence[RunRecord]) -> Iterator[tuple[str, str, int, float]]:
    """Every curve of some runs."""
    for run in runs:
        for curve in range(CURVES):
            for point in range(POINTS):
                yield run.run_id, f"probe/curve_{curve:02d}", point * STEPS // POINTS, run.seed + curve / (1 + point)


def by_log_batch(folder: Path, runs: int) -> float:
    """Seconds a run when MLflow's own client writes the points."""
    from mlflow.entities import Metric

    tracker: Any = Tracker(f"sqlite:///{folder}/batch.db", "batch", None)
    begun = time.monotonic()
    for number in range(runs):
        mlflow_id = tracker.create(f"s/{number}", "run", 0, 1, "FINISHED", {})
        points = [Metric(f"probe/curve_{c:02d}", c / (1 + p), p, p) for c in range(CURVES) for p in range(POINTS)]
        tracker._client.log_batch(mlflow_id, metrics=points)
    return (time.monotonic() - begun) / runs


def main() -> None:
    """Measure and print."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch) / "root")
        build(store, runs)
        assert Tracker(f"sqlite:///{store.path('mlflow.db')}", "other", None).experiment
        begun = time.monotonic()
        sync(store, "large", {}, {}, curves)
        written = time.monotonic()
        sync(store, "large", {}, {}, curves)
        again = time.monotonic()
        own = by_log_batch(Path(scratch), 3)
    seconds = {"sync_s": round(written - begun, 1), "sync_again_s": round(again - written, 1)}
    sizes = {"runs": runs, "points": runs * CURVES * POINTS}
    print(json.dumps({"benchmark": "mlflow_sync", **sizes, **seconds, "log_batch_s": round(own * runs, 1)}))


if __name__ == "__main__":
    main()
