"""Real drivers and workers, killed, stopped and starved in the middle of their work."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from injury import STEPS, Patient, costly, patient, train, unharmed, until

from grokstudy.orchestrator.execution.bundle import HEARTBEAT_S
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store

pytestmark = [pytest.mark.faults, pytest.mark.slow]


@pytest.fixture
def hurt(tmp_path: Path) -> Iterator[Patient]:
    with patient(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """The same run, never interrupted, in this process."""
    folder = tmp_path_factory.mktemp("whole")
    return train(Patient(folder).configs[0], Store(folder / "root"))


def recovered(hurt: Patient, at: int) -> float:
    """Seconds until more is safe than at the fault."""
    begun = time.monotonic()
    until(lambda: hurt.reached() > at or hurt.run.read("DONE.json"), f"more than step {at}")
    return time.monotonic() - begun


def test_a_worker_is_killed(hurt: Patient, whole: RunDir) -> None:
    driver = hurt.drive()
    at = hurt.until_reached(300)
    os.kill(hurt.worker(), signal.SIGKILL)
    seconds = recovered(hurt, at)
    hurt.finish(driver)
    unharmed("SIGKILL of a worker", hurt.run, whole, seconds)


@costly
def test_a_worker_hangs(hurt: Patient, whole: RunDir) -> None:
    driver = hurt.drive(GROKSTUDY_SILENCE_S="12")
    at = hurt.until_reached(300)
    os.kill(hurt.worker(), signal.SIGSTOP)
    seconds = recovered(hurt, at)
    hurt.finish(driver)
    unharmed("SIGSTOP of a worker (watchdog at 12 s)", hurt.run, whole, seconds)


@costly
def test_the_driver_is_killed(hurt: Patient, whole: RunDir) -> None:
    driver = hurt.drive()
    hurt.until_reached(300)
    hurt.family()
    driver.kill()
    begun = time.monotonic()
    driver.wait(10)
    until(lambda: not hurt.workers(), "the end of its workers", 30)
    at = hurt.reached()
    again = hurt.drive()
    recovered(hurt, at)
    seconds = time.monotonic() - begun
    hurt.finish(again)
    unharmed("SIGKILL of the driver, then run again", hurt.run, whole, seconds)


@pytest.mark.parametrize("kind", [pytest.param("SIGTERM", marks=costly), "Ctrl-C"])
def test_the_driver_is_asked_to_stop(hurt: Patient, whole: RunDir, kind: str) -> None:
    driver = hurt.drive()
    at = hurt.until_reached(300)
    family, worker = hurt.family(), hurt.worker()
    os.kill(worker, signal.SIGSTOP)  # or a fast machine would be through before the driver hears of its worker again
    begun = time.monotonic()
    if kind == "SIGTERM":
        driver.terminate()
    else:
        os.killpg(driver.pid, signal.SIGINT)
    until(lambda: time.monotonic() - begun > HEARTBEAT_S, "the worker's next heartbeat", 10)
    os.kill(worker, signal.SIGCONT)
    assert driver.wait(20) == 3, hurt.said()
    stopped = time.monotonic() - begun
    assert stopped < 10, stopped
    assert "resume with" in hurt.said()
    assert "Traceback" not in hurt.said()
    assert hurt.reached() > at, "a checkpoint is written before the worker ends"
    until(lambda: not hurt.family(), f"the end of {family}", 15)
    again = hurt.drive()
    hurt.finish(again)
    unharmed(f"{kind} of the driver, then run again", hurt.run, whole, stopped)


@costly
def test_a_second_driver_is_refused_while_the_first_lives(hurt: Patient, whole: RunDir) -> None:
    first = hurt.drive()
    hurt.until_reached(100)
    second = hurt.drive()
    assert second.wait(60) == 2
    assert f"process {first.pid}" in hurt.said()
    hurt.family()
    begun = time.monotonic()
    first.kill()
    first.wait(10)
    until(lambda: not hurt.workers(), "the end of its workers", 30)
    at = hurt.reached()
    third = hurt.drive()
    recovered(hurt, at)
    seconds = time.monotonic() - begun
    hurt.finish(third)
    unharmed("two drivers on one root; the first killed", hurt.run, whole, seconds)
    assert (hurt.run.read("DONE.json") or {})["step"] == STEPS
