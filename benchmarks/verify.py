"""What `verify` costs per row: one run of many steps, in parts of 1000 and merged, whole and with a gap near its end.

    python -m benchmarks.verify [STEPS]

The rows are written by the product's own writer; nothing is trained. Of many small parts, opening them is most of the
cost; the merged run shows what a row costs. One JSON line per figure.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from benchmarks.scale import SPLITS
from benchmarks.scratch import scratch
from grokstudy.orchestrator.root.compact import compact
from grokstudy.orchestrator.root.verify import files_of
from grokstudy.orchestrator.root.verify_run import verify_run
from grokstudy.trainables.bench.measure import figure
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import Lease, RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.writer import Writer

PART = 1000
ROUNDS = 5


def long_run(store: Store, steps: int) -> tuple[RunDir, int]:
    """Leave the rows of a run that is evaluated every 100 steps; returns how many they are, too."""
    options = {"train": {"steps": steps, "checkpoint_every": PART}, "eval": {"every": 100, "probes": []}}
    config = RunConfig.from_dict(options)
    run = RunDir(store, config.run_id)
    recorder = records.Recorder(Lease.take(run), 0, writer := Writer())
    run.write("run.json", {"run_id": run.run_id, "config": config.to_dict()})
    for start in range(0, steps, PART):
        recorder.cut(start)
        noise = np.random.default_rng(start).random(PART, np.float32)
        names = ("loss", "grad_norm", "weight_norm", "lr")
        recorder.add("steps", {"step": np.arange(start, start + PART), **dict.fromkeys(names, noise)})
        for step in range(start, start + PART, 100):
            recorder.add("evals", evaluation(step))
    recorder.cut(steps)
    recorder.add("evals", evaluation(steps))
    recorder.cut(steps + 1)
    writer.flush()
    run.write("DONE.json", {"step": steps, "reason": "finished", "attempt": 1})
    return run, steps + (steps // 100 + 1) * len(SPLITS)


def evaluation(step: int) -> dict[str, object]:
    """The rows of one evaluation, by column."""
    value = np.full(len(SPLITS), 0.5, np.float32)
    names = ("accuracy", "loss", "margin")
    return {
        "step": [step] * len(SPLITS),
        "split": list(SPLITS),
        "n": [100] * len(SPLITS),
        **dict.fromkeys(names, value),
    }


def seconds(run: RunDir, faults: int) -> Iterator[float]:
    """How long `verify` takes over the run, and that it finds so many faults."""
    files = files_of(run.store)
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        found = list(verify_run(run, files))
        yield time.perf_counter() - begun
        if len(found) != faults:
            raise SystemExit(f"{run.folder}: {len(found)} faults instead of {faults}; mend verify first")


def main(steps: int) -> None:
    """Print a figure for the whole run and one for a gap near the end, which must cost no more."""
    run, rows = long_run(Store(scratch()), steps)

    def show(name: str, faults: int) -> None:
        taken = [1e6 * second / rows for second in seconds(run, faults)]
        figure(name, taken, "microseconds per row", steps=steps, rows=rows)

    show("verify, parts of 1000 steps", 0)
    compact(run.store, [run.run_id])
    show("verify, merged", 0)
    whole = records.read_part(run, "steps", 0)
    run.store.write(run.part("steps", 0), records.encode(pa.concat_tables([whole[:-2], whole[-1:]])))
    show("verify, merged, a late gap", 1)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300_000)
