"""What a root of very many runs costs to keep, list and answer: records are replayed, nothing is trained.

    python -m benchmarks.scale [RUNS ...]

Writes the run directories and tables that RUNS finished runs leave (with the product's own writers), then measures what
a driver does with them. One JSON line per figure.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from grokstudy.orchestrator.execution.driver import study_state
from grokstudy.orchestrator.runs.study_dir import write_study
from grokstudy.orchestrator.study.load import load_study
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.bench.measure import figure
from grokstudy.trainables.config import RunConfig, eval_steps
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import Lease, RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.writer import Writer
from grokstudy.trainables.tasks import TASKS

T = TypeVar("T")
SPLITS = TASKS["two_hop"].splits
STUDY = """\
base:
  data: {{entities: 20, relations: 8, out_degree: 5, ood_fraction: 0.2, phi: 2.0}}
  model: {{layers: 1, width: 16, heads: 2}}
  train: {{steps: 1000, checkpoint_every: 1000}}
  eval: {{every: 100, probes: []}}
space:
  data.exposure: [natural, both_hops]
seeds: {seeds}
"""


def study_of(folder: Path, runs: int) -> Study:
    """A study of so many small runs."""
    path = folder / "many.yaml"
    path.write_text(STUDY.format(seeds=runs // 2))
    return load_study(path)


def replay(store: Store, config: RunConfig) -> None:
    """Leave what a finished run leaves, without training."""
    run = RunDir(store, config.run_id)
    lease, steps = Lease.take(run), config.train.steps
    run.write("run.json", {"run_id": run.run_id, "config": config.to_dict()})
    recorder = records.Recorder(lease, 0, writer := Writer())
    noise = np.random.default_rng(config.seed).random(steps, np.float32)
    columns = {name: noise for name in ("loss", "grad_norm", "weight_norm", "lr")}
    recorder.add("steps", {"step": np.arange(steps), **columns})
    for step in eval_steps(config.eval, steps):
        accuracy = np.full(len(SPLITS), step / steps, np.float32)
        row = {"n": [100] * len(SPLITS), "accuracy": accuracy, "loss": accuracy, "margin": accuracy}
        recorder.add("evals", {"step": [step] * len(SPLITS), "split": list(SPLITS), **row})
    recorder.cut(steps + 1)
    writer.flush()
    run.write("DONE.json", {"step": steps, "reason": "finished", "attempt": 1})


def replay_all(store: Store, configs: list[RunConfig]) -> int:
    """Leave what all of them leave."""
    for config in configs:
        replay(store, config)
    return len(configs)


def timed(name: str, unit: str, runs: int, act: Callable[[], T]) -> T:
    """Measure one call: time on the clock, and of the processor, which other work on the machine does not change."""
    begun, cpu = time.perf_counter(), time.process_time()
    result = act()
    figure(name, [time.perf_counter() - begun], unit, cpu_seconds=round(time.process_time() - cpu, 3), runs=runs)
    return result


def main(runs: int) -> None:
    """Measure one size."""
    from grokstudy.analysis import load
    from grokstudy.analysis.answer import answer

    with tempfile.TemporaryDirectory(prefix="grokstudy-scale-") as folder:
        store = Store(Path(folder) / "root")
        study = study_of(Path(folder), runs)
        state = timed("plan", "seconds to make the runs and look for them", runs, lambda: study_state(study, store))
        configs = [run.config for run in state.runs]
        timed("replay", "seconds to write all records", runs, lambda: replay_all(store, configs))
        files = [path for path in Path(store.uri).rglob("*") if path.is_file()]
        figure("files", [len(files)], "files", runs=runs)
        figure("bytes", [sum(path.stat().st_size for path in files)], "bytes", runs=runs)
        done = timed("status", "seconds to read the state of all runs", runs, lambda: study_state(study, store))
        write_study(store, study, done.trials, done.ledger)
        timed("status_known", "seconds to show them again", runs, lambda: study_state(study, store, trust=True))
        timed("answer", "seconds to read all tables and answer", runs, lambda: answer(load(store.uri, study.name)))
    figure("memory", [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024], "MiB at most, so far", runs=runs)


if __name__ == "__main__":
    for asked in sys.argv[1:] or ["100", "1000", "10000"]:
        main(int(asked))
    print(json.dumps({"note": "one machine, one round per size"}))
