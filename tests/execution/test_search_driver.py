"""A search on real runs: asked for while workers train, killed, resumed, and the same points as if nothing had been."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grokstudy.orchestrator.execution import local
from grokstudy.orchestrator.execution.bundle import Bundle
from grokstudy.orchestrator.execution.driver import Driver, study_state
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.orchestrator.search.space import Point
from grokstudy.orchestrator.study.load import load_study
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store

pytestmark = pytest.mark.slow

STUDY = """\
hypothesis: it searches
base:
  data: {{entities: 20, relations: 8, out_degree: 5, ood_fraction: 0.2, phi: 2.0}}
  model: {{layers: 1, width: 16, heads: 2}}
  train: {{steps: 20, batch: 32, checkpoint_every: 10}}
  eval: {{every: 10, probes: []}}
space: {{optim.lr: {{log: [1e-4, 1.0]}}, optim.weight_decay: {{uniform: [0, 1]}}}}
seeds: [0, 1]
events: {{memorised: {{metric: loss, split: train_ii, at_most: 2.9, for: 1}}}}
search: {{{search}}}
"""
SEARCHES = {
    "metric": "kind: tpe, trials: 5, batch: 2, mode: min, objective: {metric: loss, split: train_ii}",
    "event": "kind: gp, trials: 4, batch: 2, objective: {event: memorised}",
    "boundary": "kind: boundary, trials: 5, batch: 2, least: 3, width: 0.02, outcome: memorised",
}


@pytest.fixture(params=SEARCHES)
def study(request: pytest.FixtureRequest, tmp_path: Path) -> Study:
    path = tmp_path / "search.yaml"
    path.write_text(STUDY.format(search=SEARCHES[request.param]))
    return load_study(path)


def points(study: Study, store: Store) -> list[tuple[int, int, Point]]:
    state = study_state(study, store)
    assert state.finished()
    return [(trial.number, trial.seed, trial.point) for trial in state.trials]


def train(study: Study, store: Store, deaths: int = 0, workers: int = 1) -> int:
    """Train to the end; the driver dies after that many runs, and another takes over. Returns the launches."""
    launches = 0
    ended: set[str] = set()

    def heard(lines: list[dict[str, Any]]) -> None:
        ended.update(line["run_id"] for line in lines if line["outcome"] is not None)
        if deaths and len(ended) >= deaths:
            raise KeyboardInterrupt

    driver = Driver(study, store)

    def execute(runs: list[Run]) -> bool:
        nonlocal launches
        launches += 1
        return local.launch(study, runs, store, heard, workers, False, driver.more)

    driver.train(execute)
    return launches


def test_a_search_is_one_launch_and_a_killed_driver_comes_to_the_same_points(study: Study, tmp_path: Path) -> None:
    whole, killed = Store(tmp_path / "whole"), Store(tmp_path / "killed")
    assert train(study, whole) == 1
    with pytest.raises(KeyboardInterrupt):
        train(study, killed, deaths=3)
    train(study, killed)
    assert points(study, whole) == points(study, killed)


RAY = """\
import sys
from pathlib import Path

from grokstudy.orchestrator.execution import tuner
from grokstudy.orchestrator.execution.driver import Driver
from grokstudy.orchestrator.study.load import load_study
from grokstudy.trainables.storage.store import Store

study, store = load_study(Path(sys.argv[1])), Store(sys.argv[2])
driver = Driver(study, store)


def execute(runs):
    print("launched with", len(runs))
    return tuner.launch(study, runs, store, lambda _: None, more=driver.more)


driver.train(execute)
"""


def test_ray_tune_takes_the_points_of_one_process_in_one_launch(tmp_path: Path) -> None:
    path, search = tmp_path / "search.yaml", SEARCHES["metric"].replace("trials: 5", "trials: 4")
    path.write_text(STUDY.format(search=search).replace("[0, 1]\n", "[0]\n") + "resources: {pack: 1}\n")
    words = [sys.executable, "-c", RAY, str(path), str(tmp_path / "ray")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stdout) == (0, "launched with 2\n"), done.stderr
    study, alone = load_study(path), Store(tmp_path / "alone")
    train(study, alone)
    assert points(study, Store(tmp_path / "ray")) == points(study, alone)


def test_a_worker_that_waited_for_the_others_goes_on_with_the_next_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One point at a time, with two seeds: each of two workers trains one of them."""
    path = tmp_path / "search.yaml"
    search = SEARCHES["metric"].replace("trials: 5, batch: 2", "trials: 3, batch: 1")
    path.write_text(STUDY.format(search=search) + "resources: {pack: 1}\n")
    study, store, given = load_study(path), Store(tmp_path / "root"), list[str]()
    give = local._Worker.give

    def noted(worker: local._Worker, bundle: Bundle) -> None:
        given.append(worker.process.name)
        give(worker, bundle)

    monkeypatch.setattr(local._Worker, "give", noted)
    assert train(study, store, workers=2) == 1
    assert sorted(given) == ["grokstudy-0"] * 3 + ["grokstudy-1"] * 3


def test_nothing_is_told_of_a_point_with_a_run_at_work(tmp_path: Path) -> None:
    """Between two attempts FAILED.json lies there, and a run that is told as failed is not asked about again."""
    path = tmp_path / "search.yaml"
    path.write_text(STUDY.format(search=SEARCHES["metric"]))
    study, store = load_study(path), Store(tmp_path / "root")
    driver = Driver(study, store)

    def execute(runs: list[Run]) -> bool:
        for run in runs:
            RunDir(store, run.run_id).write("FAILED.json", {"error": "x", "traceback": "x", "attempt": 1, "step": 0})
        first = min(runs, key=lambda run: run.trials[0].number)
        assert driver.more({first.run_id}) == []
        new = driver.more(set())
        assert new is not None
        assert {trial.number for run in new for trial in run.trials} == {2, 3}
        assert driver.more({run.run_id for run in new}) == []
        return False

    driver.train(execute)


def test_a_run_that_failed_is_told_as_failed_and_the_search_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(STUDY.format(search=SEARCHES["metric"]))
    study, store = load_study(path), Store(tmp_path / "root")
    first = study_state(study, store).runs[0]
    RunDir(store, first.run_id).write("FAILED.json", {"error": "x", "traceback": "x", "attempt": 1, "step": 0})
    RunDir(store, first.run_id).write("run.json", {"config": first.config.to_dict()})
    train(study, store)
    state = study_state(study, store)
    assert len(state.trials) == 5 * 2
    assert state.ledger.counts() == {"done": 9, "failed": 1}
