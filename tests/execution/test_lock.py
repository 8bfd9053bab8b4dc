"""One driver per root, whoever came first, however the other one ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.execution import lock
from grokstudy.orchestrator.execution.lock import NAME, RootBusyError, driver_lock, driver_of
from grokstudy.trainables.storage.store import DamagedError, Store


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SETTLE_S", 0.05)
    monkeypatch.setattr(lock, "WATCH_S", 0.6)
    monkeypatch.setattr(lock, "BEAT_S", 0.05)


def holder(**changes: object) -> dict[str, object]:
    here = {"study": "s", "host": socket.gethostname(), "pid": os.getppid(), "token": "x", "beat": 3}
    return {**here, "born": lock._born(os.getppid()), **changes}


def test_a_living_process_keeps_others_out(store: Store) -> None:
    store.write_json(NAME, holder())
    with pytest.raises(RootBusyError, match=f"process {os.getppid()}"), driver_lock(store, "mine"):
        pass
    assert driver_of(store) is not None


@pytest.mark.parametrize("command", ["gc", "compact"])
def test_commands_that_tidy_wait_for_a_driver(store: Store, command: str) -> None:
    store.write_json(NAME, holder())
    store.write("runs/x/.tmp-half", b"of the driver's")
    done = CliRunner().invoke(app, [command, "--root", store.uri])
    assert done.exit_code == 2
    assert f"study 's' is being driven by process {os.getppid()}" in done.stderr
    assert Path(store.path("runs/x/.tmp-half")).exists()


@pytest.mark.parametrize("changes", [{"pid": 2**22 + 1}, {"born": "1"}], ids=["dead", "id used again"])
def test_a_dead_process_does_not(store: Store, changes: dict[str, object]) -> None:
    store.write_json(NAME, holder(**changes))
    assert driver_of(store) is None
    with driver_lock(store, "mine"):
        assert (store.read_json(NAME) or {})["study"] == "mine"
    assert store.read_json(NAME) is None


def test_a_dead_process_that_nobody_has_looked_after_does_not(store: Store) -> None:
    dead = subprocess.Popen(["sleep", "60"])
    born = lock._born(dead.pid)
    dead.kill()
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    store.write_json(NAME, holder(pid=dead.pid, born=born))
    assert driver_of(store) is None
    dead.wait()


@pytest.mark.parametrize("content", [{}, {"token": 3}, {**holder(), "pid": "1; rm"}])
def test_a_driver_file_of_a_stranger_is_named(store: Store, content: dict[str, object]) -> None:
    store.write_json(NAME, content)
    with pytest.raises(DamagedError, match=r"driver\.json: was not written by a driver"), driver_lock(store, "mine"):
        pass
    with pytest.raises(DamagedError):
        driver_of(store)


def test_a_driver_elsewhere_is_watched(store: Store) -> None:
    store.write_json(NAME, holder(host="elsewhere"))
    with driver_lock(store, "mine"):
        pass
    beat = threading.Timer(0.2, lambda: store.write_json(NAME, holder(host="elsewhere", beat=4)))
    store.write_json(NAME, holder(host="elsewhere"))
    beat.start()
    with pytest.raises(RootBusyError, match="on elsewhere"), driver_lock(store, "mine"):
        pass
    beat.join()


def test_of_two_at_the_same_moment_one_has_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SETTLE_S", 0.3)
    other = threading.Timer(0.1, lambda: store.write_json(NAME, holder(token="theirs")))
    other.start()
    with pytest.raises(RootBusyError, match="at the same moment"), driver_lock(store, "mine"):
        pass
    other.join()
    assert (store.read_json(NAME) or {})["token"] == "theirs", "the winner's file stays"


@pytest.fixture
def heeding_interrupts() -> Iterator[None]:
    """A shell that starts the tests in the background has them ignore SIGINT; a driver does not (`commands/run.py`)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeding_interrupts")
def test_a_driver_that_lost_the_root_stops(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), driver_lock(store, "mine"):  # noqa: PT012
        store.write_json(NAME, holder(token="theirs"))
        threading.Event().wait(20)
