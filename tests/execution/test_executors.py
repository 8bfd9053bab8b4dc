"""One study, both executors: the same files, to the bit. And what the local one does when it is hurt or stopped."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grokstudy.orchestrator.execution import local
from grokstudy.orchestrator.execution.driver import Driver, study_state
from grokstudy.orchestrator.execution.executor import Executor
from grokstudy.orchestrator.root.verify import verify
from grokstudy.orchestrator.runs.study_dir import extend
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.orchestrator.study.load import load_study
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import CHECKPOINT, RunDir
from grokstudy.trainables.storage.store import Store

STUDY = """\
hypothesis: it makes no difference who trains it
base:
  data: {entities: 20, relations: 8, out_degree: 5, ood_fraction: 0.2, phi: 2.0}
  model: {layers: 1, width: 16, heads: 2}
  train: {steps: 60, batch: 32, checkpoint_every: 20}
  eval: {every: 10}
space:
  data.exposure: [natural, both_hops]
seeds: [0, 1]
resources: {pack: 2}
"""
BINARY = Path(sys.executable).parent / "grokstudy"


def put(folder: Path, text: str = STUDY) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load_study(put(tmp_path))


def content(store: Store, study: Study) -> dict[str, Any]:
    """All that a run leaves, by run: rows without their attempt, and the checksums of its checkpoints."""
    found: dict[str, Any] = {}
    for run in study_state(study, store).runs:
        folder = RunDir(store, run.run_id)
        rows = {name: records.read(folder, name).drop_columns(["attempt"]).to_pydict() for name in TABLES}
        matches = filter(None, map(CHECKPOINT.search, store.list(folder.checkpoints)))
        # not comparing NaN with itself: values are compared as they are printed
        digest = hashlib.sha256(repr(rows).encode()).hexdigest()
        found[run.run_id] = (digest, sorted(match.group() for match in matches))
    return found


def executors(store: Store, study: Study) -> set[str]:
    """By whom runs say that they were trained."""
    described = (RunDir(store, run.run_id).read("run.json") for run in study_state(study, store).runs)
    return {str((about or {}).get("executor")) for about in described}


def train(study: Study, store: Store, workers: int) -> None:
    def execute(runs: list[Run]) -> None:
        local.launch(study, runs, store, lambda _: None, workers)

    assert Driver(study, store).train(execute).finished()


@pytest.fixture
def alone(study: Study, tmp_path: Path) -> dict[str, Any]:
    """The study as one process leaves it."""
    store = Store(tmp_path / "alone")
    train(study, store, 1)
    return content(store, study)


def test_processes_leave_what_one_process_leaves(study: Study, tmp_path: Path, alone: dict[str, Any]) -> None:
    store = Store(tmp_path / "processes")
    train(study, store, 2)
    assert content(store, study) == alone
    assert executors(store, study) == {"local"}
    assert verify(store) == []


@pytest.mark.slow
def test_ray_tune_leaves_what_one_process_leaves(study: Study, tmp_path: Path, alone: dict[str, Any]) -> None:
    words = [str(BINARY), "run", str(study.path), "--ray", "--no-report", "--root", str(tmp_path / "ray")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert "starting Ray Tune on this machine" in " ".join(done.stdout.split())
    assert content(Store(tmp_path / "ray"), study) == alone
    assert executors(Store(tmp_path / "ray"), study) == {"ray"}


def killing(monkeypatch: pytest.MonkeyPatch, kill: Callable[[Any], None], times: int) -> list[int]:
    """Have processes die, at the first word of each, so many times; returns their process ids."""
    killed: list[int] = []
    listen = local._Launch._listen

    def listen_and_kill(launch: Any, worker: Any) -> bool:
        heard = listen(launch, worker)
        if heard and len(killed) < times:
            killed.append(worker.process.pid)
            kill(worker.process)
        return heard

    monkeypatch.setattr(local._Launch, "_listen", listen_and_kill)
    return killed


def test_a_process_that_is_killed_is_replaced_and_nothing_is_lost(
    tmp_path: Path, alone: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = load_study(put(tmp_path, STUDY.replace("steps: 60", "steps: 1200").replace("[0, 1]", "[0]")))
    store = Store(tmp_path / "killed")
    killed = killing(monkeypatch, lambda process: process.kill(), 2)
    train(longer, store, 2)
    assert len(set(killed)) == 2
    assert verify(store) == []
    # the shorter study is the beginning of what is there
    assert study_state(load_study(put(tmp_path)), store).ledger.counts()["done"] == 2


def test_processes_that_cannot_start_end_the_launch_with_a_word(
    study: Study, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_work", os._exit)
    runs = study_state(study, store).runs
    with pytest.raises(RuntimeError, match="worker processes in a row ended at their start"):
        local.launch(study, runs, store, lambda _: None, 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_leaves_checkpoints_and_the_same_command_resumes(
    tmp_path: Path, workers: int, number: signal.Signals
) -> None:
    path = put(tmp_path, STUDY.replace("steps: 60", "steps: 20000").replace("[0, 1]", "[0]"))
    root, words = tmp_path / "root", ["--local", "--workers", str(workers), "--no-report"]
    process = subprocess.Popen([BINARY, "run", path, "--root", root, *words], stdout=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: any(root.glob("runs/*/checkpoints/*.pt")))
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 3
    assert "Nothing is lost; resume with" in output
    assert not (root / "driver.json").exists()
    study = load_study(path)
    begun = [state for state in study_state(study, Store(root)).ledger.states.values() if state.step]
    assert begun
    assert all(state.state == "interrupted" for state in begun)
    shorter = load_study(put(tmp_path, STUDY.replace("[0, 1]", "[0]")))
    train(shorter, Store(root), workers)
    assert verify(Store(root)) == []


def wait_for(holds: Callable[[], bool]) -> None:
    """Look again until it holds."""
    pause = threading.Event()
    for _ in range(600):
        if holds():
            return
        pause.wait(0.1)
    raise AssertionError("it never came true")


LAGGARDS = STUDY.replace("seeds: [0, 1]", "seeds: [0, 1, 2]").replace("pack: 2", "pack: 3") + (
    "scheduler: {kind: asha, metric: loss, split: train_ii, mode: min, grace_steps: 10, reduction_factor: 3}\n"
)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_member_is_stopped_and_its_pack_goes_on(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """What is stopped keeps what it has; without the scheduler it goes on from there to its end."""
    monkeypatch.setattr(local, "HEARTBEAT_S", 1e-3)
    path = put(tmp_path, LAGGARDS)
    study = load_study(path)
    train(study, store, workers)
    states = study_state(study, store).ledger.states
    stopped = {run_id: state for run_id, state in states.items() if state.state == "stopped"}
    if workers == 1:  # processes are told when they may be through
        assert 2 <= len(stopped) <= 4
        assert all(10 <= state.step < 60 for state in stopped.values())
    for run_id in stopped:
        marker = RunDir(store, run_id).read("DONE.json") or {}
        assert (marker["reason"], marker["scheduler"], marker["horizon"]) == ("stopped", "asha", 60)
    assert verify(store) == []
    path.write_text(LAGGARDS[: LAGGARDS.index("scheduler:")])
    free = load_study(path)
    train(free, store, 1)
    assert {state.step for state in study_state(free, store).ledger.states.values()} == {60}
    assert verify(store) == [], "every row is there once"


def test_hyperband_pauses_runs_and_resumes_the_best(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "HEARTBEAT_S", 1e-3)
    options = "metric: loss, split: train_ii, mode: min, grace_steps: 20, reduction_factor: 2, brackets: 1"
    text = STUDY.replace("pack: 2", "pack: 1") + f"scheduler: {{kind: hyperband, {options}}}\n"
    study, launches = load_study(put(tmp_path, text)), list[int]()

    def execute(runs: list[Run]) -> bool:
        launches.append(len(runs))
        return local.launch(study, runs, store, lambda _: None, 1)

    assert Driver(study, store).train(execute).finished()
    ends = sorted((state.state, state.step >= 60) for state in study_state(study, store).ledger.states.values())
    assert ends == [("done", True)] + [("stopped", False)] * 3
    assert launches[0] == 4
    assert 2 <= len(launches) <= 3


def test_a_stopped_run_is_trained_on_when_more_is_asked_of_it(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "HEARTBEAT_S", 1e-3)
    study = load_study(put(tmp_path, LAGGARDS))
    train(study, store, 1)
    states = study_state(study, store).ledger.states
    stopped = [run_id for run_id, state in states.items() if state.state == "stopped"]
    extend(store, study.name, stopped, 80)
    train(study, store, 1)
    assert {study_state(study, store).ledger.states[run_id].step for run_id in stopped} == {80}


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize(
    ("steps", "asked", "kind"),
    [(60, None, "local"), (10**6, None, "ray"), (10**6, True, "local"), (60, False, "ray")],
)
def test_the_executor_follows_the_work_unless_it_is_named(
    study: Study, steps: int, asked: bool | None, kind: str
) -> None:
    left = [(run.config, steps) for run in study_state(study, Store("/nowhere")).runs]
    assert Executor.choose(study, left, asked).kind == kind


def test_a_cluster_that_is_asked_for_is_used(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert Executor.choose(study, [], None).kind == "ray"
    assert "127.0.0.1:1" in str(Executor.choose(study, [], None))


BLOCKED = """\
import os, sys, time
if any("dashboard/agent.py" in word for word in sys.orig_argv):
    raylet = os.getppid()
    while os.getppid() == raylet:  # as on a machine that is too busy to import it within Ray's 15 s
        time.sleep(0.5)
    os._exit(1)
"""


@pytest.mark.slow
def test_a_study_ends_where_ray_cannot_start(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(BLOCKED)
    path, root = put(tmp_path, STUDY.replace("[0, 1]", "[0]")), tmp_path / "root"
    environment = {**os.environ, "PYTHONPATH": str(blocked)}
    words = [str(BINARY), "run", str(path), "--ray", "--no-report", "--root", str(root)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"Ray did not start: .+ \(its logs: .+\)\n", done.stderr)
    assert "training on this machine without Ray instead" in done.stderr
    assert study_state(load_study(path), Store(root)).finished()
