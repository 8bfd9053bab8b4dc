"""What scheduling costs a run: a study of tiny runs through Ray Tune, against the same work in one process.

    python -m benchmarks.scheduling [RUNS]

`scheduling`: wall time of the launch of RUNS tiny runs, one to a pack, without Ray's own start but with that of the
workers, times the workers, less the seconds that the workers spent on the runs (from lease to last file), divided by
RUNS. Actors are re-used, as in every launch of ours.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from pathlib import Path

from grokstudy.orchestrator.execution.driver import Driver
from grokstudy.orchestrator.execution.resources import workers_at_once
from grokstudy.orchestrator.execution.tuner import launch, ray_session, set_environment
from grokstudy.orchestrator.planning import packing as packer
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.orchestrator.study.load import load_study
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.bench.measure import figure
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store

ROUNDS = 3
STUDY = """\
base:
  data: {{entities: 20, relations: 8, out_degree: 5, ood_fraction: 0.2, phi: 2.0}}
  model: {{layers: 1, width: 16, heads: 2}}
  train: {{steps: 10, batch: 32, checkpoint_every: 10}}
  eval: {{every: 10, probes: []}}
seeds: {runs}
resources: {{pack: 1}}
"""


def tiny(folder: Path, runs: int) -> Study:
    """A study of so many runs that each take a few hundredths of a second."""
    path = folder / "tiny.yaml"
    path.write_text(STUDY.format(runs=runs))
    return load_study(path)


def one_launch(study: Study, store: Store) -> tuple[float, float]:
    """Seconds of the launch, and seconds that its workers spent on runs."""
    spent: list[float] = []

    def execute(runs: list[Run]) -> None:
        begun = time.perf_counter()
        launch(study, runs, store, lambda _: None)
        spent.append(time.perf_counter() - begun)

    reached = Driver(study, store).train(execute)
    done = [RunDir(store, run.run_id).read("DONE.json") or {} for run in reached.runs]
    return sum(spent), sum(float(marker["seconds"]) for marker in done)


def compare(folder: Path, study: Study, few: Study, workers: int) -> None:
    """Measure a few rounds, in turns: packs in bundles, as every launch has them, and one run to a trial of Tune's."""
    runs, bundles = len(study.seeds), packer.BUNDLES_PER_WORKER
    ways = {"bundles": bundles, "one_run_a_trial": runs}
    walls: dict[str, list[float]] = {name: [] for name in ways}
    costs: dict[str, list[float]] = {name: [] for name in ways}
    cpus: dict[str, list[float]] = {name: [] for name in ways}
    starts = []
    for number in range(ROUNDS):
        starts.append(one_launch(few, Store(folder / f"few-{number}"))[0])
        for name, packer.BUNDLES_PER_WORKER in ways.items():
            cpu = time.process_time()
            wall, busy = one_launch(study, Store(folder / f"{name}-{number}"))
            cpus[name].append((time.process_time() - cpu) / runs)
            walls[name].append(wall / runs)
            costs[name].append((wall * workers - busy) / runs)
    packer.BUNDLES_PER_WORKER = bundles
    about = {"runs": runs, "workers": workers}
    figure("launch_of_4", starts, "seconds of a launch of 4 runs: mostly the start of its workers", **about)
    for name in ways:
        figure(f"driver_{name}", cpus[name], "processor seconds of the driver per run", **about)
        figure(f"wall_{name}", walls[name], "seconds per run", **about)
        figure(f"scheduling_{name}", costs[name], "worker seconds per run beside training", **about)


def main(runs: int) -> None:
    """Measure in one Ray session, after a launch that warms up."""
    set_environment()
    with tempfile.TemporaryDirectory(prefix="grokstudy-bench-") as folder, contextlib.ExitStack() as stack:
        study, few = tiny(Path(folder), runs), tiny(Path(folder), 4)
        stack.enter_context(ray_session())
        one_launch(few, Store(Path(folder) / "warm"))
        compare(Path(folder), study, few, workers_at_once(study))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
