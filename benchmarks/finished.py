"""What commands cost on a finished study, and how that grows with its runs: plan, status, a run with nothing to do,
queries, report, verify, the first `mlflow sync` and one with nothing new.

    python -m benchmarks.finished [RUNS ...]

The records of so many runs of 3,000 steps are replayed, nothing is trained. Each command is a process of its own: the
seconds on the clock, and those of the processor, which other work on the machine changes less. One JSON line each, and
of several sizes, one line for each command: its seconds of processor over those of the size before, less what the
command takes on one run, over how many times more runs there are. 1 is linear, and below it cheaper than that.
"""

from __future__ import annotations

import json
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
    "plan": ["plan", "STUDY"],
    "status": ["status", "STUDY"],
    "run, nothing to do": ["run", "STUDY", "--local", "--no-report"],
    "query, count of trials": ["query", "SELECT count(*) FROM trials"],
    "query, count of steps": ["query", "SELECT count(*) FROM steps"],
    "query, mean loss by an axis": ["query", 'SELECT "data.exposure", avg(loss) FROM steps GROUP BY "data.exposure"'],
    "report": ["report", "STUDY"],
    "verify": ["verify"],
    "mlflow sync, first": ["mlflow", "sync", "STUDY"],
    "mlflow sync, nothing new": ["mlflow", "sync", "STUDY"],
}


def measured(runs: int) -> dict[str, float]:
    """Replay a study of so many runs, and give the commands in turn: seconds of processor of each."""
    folder = scratch()
    path, store = folder / "finished.yaml", Store(folder / "root")
    path.write_text(STUDY.format(seeds=max(1, runs // 2)).replace("steps: 1000", f"steps: {STEPS}"))
    study = load_study(path)
    for run in study_state(study, store).runs:
        replay(store, run.config)
        own = RunDir(store, run.run_id)
        own.write("run.json", {**(own.read("run.json") or {}), "started": 1.7e9})  # MLflow shows begun ones
    done = study_state(study, store)
    write_study(store, study, done.trials, done.ledger)
    tracker = Tracker(f"sqlite:///{store.path('mlflow.db')}", "other", None)
    assert tracker.experiment  # MLflow's own set-up, once per data base
    seconds = {}
    for name, words in COMMANDS.items():
        before, begun = os.times(), time.perf_counter()
        given = [str(path) if word == "STUDY" else word for word in words]
        command = [sys.executable, "-m", "grokstudy", *given, "--root", store.uri]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        processor = after.children_user + after.children_system - before.children_user - before.children_system
        figure(name, [time.perf_counter() - begun], "seconds", cpu_seconds=round(processor, 2), runs=runs, steps=STEPS)
        seconds[name] = processor
    return seconds


def main(sizes: list[int]) -> None:
    """Measure each size, the smallest first, and how the commands grow from one to the next."""
    alone = measured(2) if len(sizes) > 1 else {}
    known = {runs: measured(runs) for runs in sorted(sizes)}
    for fewer, more in zip(sorted(sizes), sorted(sizes)[1:], strict=False):
        for name, start in alone.items():
            grown = (known[more][name] - start) / max(known[fewer][name] - start, 0.05) / (more / fewer)
            print(
                json.dumps({"figure": f"growth of {name}", "from": fewer, "to": more, "over linear": round(grown, 2)})
            )


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [100, 1000])
