"""What must stay small however many and long the runs are: plan, status, the event table, the driver's memory.

    python -m benchmarks.limits root [RUNS]             plan and status of 10,000 runs, as commands
    python -m benchmarks.limits events [RUNS STEPS]     100 runs of 300,000 steps, unless told otherwise
    python -m benchmarks.limits driver [STEPS ...]      the driver of 8 runs, for each length; trains them

Each is measured in a process of its own, which does nothing else. One JSON line per figure.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.scale import figure, replay_all
from grokstudy.orchestrator.execution.driver import study_state
from grokstudy.orchestrator.runs.state import Ledger
from grokstudy.orchestrator.runs.study_dir import write_study
from grokstudy.orchestrator.study.load import load_study
from grokstudy.trainables.storage.store import Store

LONG = """\
base:
  data: {{entities: 20, relations: 8, out_degree: 5, ood_fraction: 0.2, phi: 2.0}}
  model: {{layers: 1, width: 16, heads: 2}}
  train: {{steps: {steps}, batch: 32, checkpoint_every: {every}}}
  eval: {{every: {every}, probes: []}}
seeds: {seeds}
"""
EVENTS = """
import resource, sys, time
from grokstudy.analysis.tables.study import load
begun = time.perf_counter()
found = load(sys.argv[1], "long").events.collect()
seconds = time.perf_counter() - begun
print(len(found), seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
DRIVER = """
import resource, sys
from grokstudy.orchestrator.cli import app
try:
    app(["run", *sys.argv[1:], "--no-report", "--quiet"])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def study_file(folder: Path, seeds: int, steps: int, every: int) -> Path:
    """A study of so many runs of so many steps."""
    path = folder / "long.yaml"
    path.write_text(LONG.format(steps=steps, every=every, seeds=seeds))
    return path


def alone(code: str, *words: str) -> list[float]:
    """The numbers that a program says last, run in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, text=True)
    return [float(word) for word in done.stdout.splitlines()[-1].split()]


def events(runs: int, steps: int) -> None:
    """The event table of many long runs, from records that the product's own writer left."""
    with tempfile.TemporaryDirectory(prefix="grokstudy-limits-") as folder:
        store, study = Store(Path(folder) / "root"), load_study(study_file(Path(folder), runs, steps, 1000))
        before = study_state(study, store)
        begun = time.perf_counter()
        replay_all(store, [run.config for run in before.runs])
        figure("replay", [time.perf_counter() - begun], "seconds to write the records", runs=runs, steps=steps)
        after = study_state(study, store)
        write_study(store, study, after.trials, after.ledger)
        found = [alone(EVENTS, store.uri) for _ in range(3)]
        figure("event table", [seconds for _, seconds, _ in found], "seconds", runs=runs, steps=steps, rows=found[0][0])
        figure("event table, memory", [peak for _, _, peak in found], "MiB at most", runs=runs, steps=steps)


def root(runs: int) -> None:
    """`plan` of a study that nothing is there of, and `status` of the same when every run is done."""
    with tempfile.TemporaryDirectory(prefix="grokstudy-limits-") as folder:
        path, store = study_file(Path(folder), runs, 1000, 100), Store(Path(folder) / "root")
        words = [str(Path(sys.executable).with_name("grokstudy"))]
        command("plan", [*words, "plan", str(path), "--root", store.uri], runs)
        study = load_study(path)
        before = study_state(study, store)
        for run in before.runs:
            folder_of_run = Path(store.uri) / "runs" / run.run_id
            folder_of_run.mkdir(parents=True)
            (folder_of_run / "run.json").write_text(json.dumps({"config": run.config.to_dict()}))
            (folder_of_run / "DONE.json").write_text('{"step": 1000, "reason": "finished"}')
        write_study(store, study, before.trials, Ledger(store, before.runs, False))
        command("status", [*words, "status", str(path), "--root", store.uri], runs)


def command(name: str, words: list[str], runs: int) -> None:
    """Three rounds of a command, from its start to its end."""
    taken = []
    for _ in range(3):
        begun = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        taken.append(time.perf_counter() - begun)
    figure(name, taken, "seconds", runs=runs)


def driver(steps: int) -> None:
    """The driver's memory while 8 runs are trained."""
    with tempfile.TemporaryDirectory(prefix="grokstudy-limits-") as folder:
        path = study_file(Path(folder), 8, steps, max(100, steps // 20))
        (peak,) = alone(DRIVER, str(path), "--root", f"{folder}/root")
        figure("driver, memory", [peak], "MiB at most", runs=8, steps=steps)


if __name__ == "__main__":
    what, *numbers = sys.argv[1:] or ["events"]
    asked = [int(number) for number in numbers]
    if what == "root":
        root(*(asked or [10_000]))
    elif what == "events":
        events(*(asked or [100, 300_000]))
    else:
        for length in asked or [500, 5000]:
            driver(length)
    print(json.dumps({"note": "one machine; three rounds each, one for the driver"}))
