"""What commands cost on a finished study: plan, report, the first `mlflow sync` and one with nothing new.

    python -m benchmarks.finished [RUNS]

The records of so many runs of 3,000 steps are replayed, nothing is trained. Each command is a process of its own: the
seconds on the clock, and those of the processor, which other work on the machine changes less. One JSON line each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmarks.scale import STUDY, replay
from benchmarks.scratch import scratch
from grokstudy.orchestrator.execution.driver import study_state
from grokstudy.orchestrator.runs.study_dir import write_study
from grokstudy.orchestrator.study.load import load_study
from grokstudy.orchestrator.tracking.mlflow_store import Tracker
from grokstudy.trainables.bench.measure import figure
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store

STEPS = 3000
COMMANDS = {
    "plan": ["plan"],
    "report": ["report"],
    "mlflow, first": ["mlflow", "sync"],
    "mlflow, again": ["mlflow", "sync"],
}


def main(runs: int) -> None:
    """Replay the study, then give the commands in turn."""
    folder = scratch()
    path, store = folder / "finished.yaml", Store(folder / "root")
    path.write_text(STUDY.format(seeds=runs // 2).replace("steps: 1000", f"steps: {STEPS}"))
    study = load_study(path)
    for run in study_state(study, store).runs:
        replay(store, run.config)
        own = RunDir(store, run.run_id)
        own.write("run.json", {**(own.read("run.json") or {}), "started": 1.7e9})  # MLflow shows begun ones
    done = study_state(study, store)
    write_study(store, study, done.trials, done.ledger)
    assert Tracker(
        f"sqlite:///{store.path('mlflow.db')}", "other", None
    ).experiment  # MLflow's own set-up, once per data base
    for name, words in COMMANDS.items():
        before, begun = os.times(), time.perf_counter()
        given = [sys.executable, "-m", "grokstudy", *words, str(path), "--root", store.uri]
        subprocess.run(given, check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        processor = after.children_user + after.children_system - before.children_user - before.children_system
        figure(name, [time.perf_counter() - begun], "seconds", cpu_seconds=round(processor, 2), runs=runs, steps=STEPS)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
