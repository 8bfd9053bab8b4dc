"""What the fault tests share: studies to hurt, processes to kill, and the judgement afterwards.

Every test kills by process id, and only processes of its own: those that carry its token in their environment, and
their children. With GROKSTUDY_FAULTS_LOG set, every injected fault is written there as a line of JSON; the table in
docs/reliability.md is made from those lines by benchmarks/faults.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
import torch

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage import checkpoint, records
from grokstudy.trainables.storage.retention import KEEP, Keep
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.pack import Pack

BINARY = Path(sys.executable).parent / "grokstudy"
STEPS = 1500
STUDY = """\
hypothesis: it survives
base:
  data: {entities: 20, relations: 8, out_degree: 5, ood_fraction: 0.2, phi: 2.0}
  model: {layers: 1, width: 16, heads: 2}
  train: {steps: STEPS, batch: 32, checkpoint_every: 100}
  eval: {every: 50, probes: []}
space:
  data.exposure: [natural]
seeds: [0]
resources: {cpu: 1, pack: 1}
"""

costly = pytest.mark.skipif("GROKSTUDY_FAULTS" not in os.environ, reason="takes half a minute: make test-faults")


def until(condition: Callable[[], Any], what: str, seconds: float = 90.0) -> Any:
    """Look again and again until the condition holds; fails when it does not come true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")


@dataclass
class Patient:
    """A study in a root of its own, and the processes that work on it."""

    folder: Path
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    known: dict[int, str] = field(default_factory=dict)
    drivers: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.path = self.folder / "patient.yaml"
        self.path.write_text(STUDY.replace("STEPS", str(STEPS)))
        self.store = Store(self.folder / "root")

    @property
    def configs(self) -> list[RunConfig]:
        """The runs of the study."""
        from grokstudy.orchestrator.runs.trials import all_trials, runs_of
        from grokstudy.orchestrator.study.load import load_study

        return [run.config for run in runs_of(all_trials(load_study(self.path)))]

    @property
    def run(self) -> RunDir:
        """Its only run."""
        return RunDir(self.store, self.configs[0].run_id)

    def drive(self, *options: str, **environment: str) -> subprocess.Popen[str]:
        """Start `grokstudy run` in a process group of its own."""
        words = [str(BINARY), "run", str(self.path), "--root", self.store.uri, "--no-report", "--ray", *options]
        into = (self.folder / f"driver-{len(self.drivers)}.log").open("w")
        given = {**os.environ, "FAULTS_TOKEN": self.token, "GROKSTUDY_PATIENCE_S": "60", **environment}
        driver = subprocess.Popen(words, stdout=into, stderr=into, text=True, env=given, start_new_session=True)
        into.close()
        self.drivers.append(driver)
        return driver

    def said(self) -> str:
        """What the newest driver has printed."""
        return (self.folder / f"driver-{len(self.drivers) - 1}.log").read_text()

    def reached(self) -> int:
        """Newest step that is safe."""
        return max(checkpoint.steps(self.run), default=0)

    def until_reached(self, step: int) -> int:
        """Wait for a checkpoint at `step` or later; returns the newest."""
        until(lambda: self.reached() >= step or self._all_dead(), f"step {step}")
        assert self.reached() >= step, self.said()
        return self.reached()

    def _all_dead(self) -> bool:
        return all(driver.poll() is not None for driver in self.drivers)

    def finish(self, driver: subprocess.Popen[str], seconds: float = 150.0) -> None:
        """Wait for a driver to end well."""
        code = driver.wait(seconds)
        assert code == 0, self.said()

    def family(self) -> dict[int, str]:
        """All living processes of this patient, with their command lines."""
        seen = processes()
        ours = {pid for pid, (_, _, token) in seen.items() if token == self.token} | (self.known.keys() & seen.keys())
        while more := {pid for pid, (parent, _, _) in seen.items() if parent in ours} - ours:
            ours |= more
        self.known.update({pid: seen[pid][1] for pid in ours})
        return {pid: seen[pid][1] for pid in ours}

    def workers(self) -> list[int]:
        """Process ids of what trains."""
        return [pid for pid, command in self.family().items() if "Trainable" in command[:40]]

    def worker(self) -> int:
        """Process id of the one worker."""
        (found,) = self.workers()
        return found

    def bury(self) -> None:
        """Kill what is left of it."""
        for pid in self.family():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for driver in self.drivers:
            driver.wait(30)


@contextmanager
def patient(folder: Path) -> Iterator[Patient]:
    """A study to hurt; nothing of it lives on afterwards."""
    hurt = Patient(folder)
    try:
        yield hurt
    finally:
        hurt.bury()


def processes() -> dict[int, tuple[int, str, str]]:
    """Every process: its parent, its command line, and its token."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
                if state == "Z":
                    continue
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:120]
                found[int(entry.name)] = (int(parent), command, _token((entry / "environ").read_bytes()))
    return found


def _token(environment: bytes) -> str:
    for line in environment.split(b"\0"):
        if line.startswith(b"FAULTS_TOKEN="):
            return line.partition(b"=")[2].decode()
    return ""


def train(config: RunConfig, store: Store, keep: Keep = KEEP) -> RunDir:
    """Train a run to its end in this process."""
    pack = Pack([config], store, keep=keep)
    while not pack.finished:
        pack.advance(60.0)
    return RunDir(store, config.run_id)


@dataclass(frozen=True)
class Judgement:
    """What a fault did to the rows of a run."""

    lost: int
    doubled: int
    identical: bool


def judge(found: RunDir, whole: RunDir, until: int | None = None) -> Judgement:
    """Compare a run that was hurt with one that was not: rows (before a step), their order, and the newest weights."""
    lost = doubled = 0
    identical = True
    for name in TABLES:
        here, there = (records.read(run, name).drop_columns(["attempt"]) for run in (found, whole))
        if until is not None:
            here, there = (table.filter(pc.field("step") < until) for table in (here, there))
        keys = [key for key in ("step", "split", "probe", "layer", "position") if key in here.column_names]
        rows, expected = ([tuple(row.values()) for row in table.select(keys).to_pylist()] for table in (here, there))
        lost += len(set(expected) - set(rows))
        doubled += len(rows) - len(set(rows))
        identical = identical and here.equals(there)
    return Judgement(lost, doubled, identical and _same_weights(found, whole))


def _same_weights(first: RunDir, second: RunDir) -> bool:
    one, other = (checkpoint.newest(run)[0] for run in (first, second))
    assert one is not None
    assert other is not None
    fields = ("flat_P", "mean_P", "square_P")
    return one.step == other.step and all(torch.equal(getattr(one, name), getattr(other, name)) for name in fields)


def unharmed(
    fault: str, found: RunDir, whole: RunDir, seconds: float | None = None, injected: int = 1, until: int | None = None
) -> None:
    """Assert that nothing (before a step) was lost, doubled or changed, and note it down."""
    verdict = judge(found, whole, until)
    log = os.environ.get("GROKSTUDY_FAULTS_LOG")
    if log:
        line = {"fault": fault, "injected": injected, "seconds": seconds, **vars(verdict)}
        with Path(log).open("a") as out:
            out.write(json.dumps(line) + "\n")
    assert verdict == Judgement(0, 0, True), fault
