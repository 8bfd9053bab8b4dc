"""How a run ends when Ray goes away under it, and where there is none to join. Real processes, killed by their id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from injury import Patient, patient, until

from grokstudy.orchestrator.execution import tuner
from grokstudy.orchestrator.execution.executor import Executor
from grokstudy.orchestrator.execution.ray_cluster import ALIVE, AddressError, check_cluster
from grokstudy.orchestrator.root.verify import verify

TOKEN = "t" * 64


@pytest.fixture
def hurt(tmp_path: Path) -> Iterator[Patient]:
    with patient(tmp_path) as found:
        found.path.write_text(found.path.read_text().replace("steps: 1500", "steps: 20000"))
        yield found


def process(hurt: Patient, name: str) -> int:
    """Process id of one of Ray's own."""
    (found,) = [pid for pid, command in hurt.family().items() if command.split(" ")[0].endswith(f"/{name}")]
    return found


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_run_whose_ray_died_ends_with_a_word(hurt: Patient, name: str) -> None:
    driver = hurt.drive()
    hurt.until_reached(100)
    hurt.family()
    os.kill(process(hurt, name), signal.SIGKILL)
    begun = time.monotonic()
    assert driver.wait(30) == 3, hurt.said()
    said = hurt.said()
    assert f"process {name} of Ray on this machine died while training" in said
    assert "Nothing is lost; resume with" in said
    assert "Traceback" not in said
    assert time.monotonic() - begun < 30
    assert not hurt.store.exists("driver.json")
    until(lambda: not hurt.family(), f"the end of {hurt.family()}", 20)
    assert hurt.run.read("FAILED.json") is None
    assert [fault for fault in verify(hurt.store) if fault.kind not in ("gap", "unfinished")] == []


@pytest.mark.slow
@pytest.mark.faults
def test_workers_leave_a_checkpoint_where_the_gcs_died(hurt: Patient) -> None:
    """None would be due before the end of this study."""
    long = hurt.path.read_text().replace("steps: 20000", "steps: 900000")
    hurt.path.write_text(long.replace("checkpoint_every: 100", "checkpoint_every: 900000"))
    driver = hurt.drive()
    until(lambda: "1 running" in hurt.said(), "a first heartbeat")
    assert hurt.reached() == 0
    os.kill(process(hurt, "gcs_server"), signal.SIGKILL)
    assert driver.wait(30) == 3, hurt.said()
    assert hurt.reached() > 0
    assert hurt.run.read("FAILED.json") is None


@pytest.mark.slow
@pytest.mark.faults
def test_a_terminal_that_goes_away_leaves_a_checkpoint(hurt: Patient) -> None:
    driver = hurt.drive()
    at = hurt.until_reached(100)
    hurt.family()
    os.killpg(driver.pid, signal.SIGHUP)
    assert driver.wait(30) == 3, hurt.said()
    assert "Nothing is lost; resume with" in hurt.said()
    assert hurt.reached() > at
    assert not hurt.store.exists("driver.json")


@pytest.fixture
def head() -> Iterator[Callable[[str | None], str]]:
    """Make heads that answer whether they live: to all, or to who has this token."""
    servers: list[grpc.Server] = []

    def make(token: str | None) -> str:
        from concurrent.futures import ThreadPoolExecutor

        def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
            given = dict(context.invocation_metadata()).get("authorization")
            if token is not None and given != f"Bearer {token}":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "Authentication token is missing or incorrect")
            return b""

        service, _, method = ALIVE.strip("/").partition("/")
        handlers = {method: grpc.unary_unary_rpc_method_handler(answer)}
        server = grpc.server(ThreadPoolExecutor(1))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield make
    for server in servers:
        server.stop(None).wait()


@pytest.mark.parametrize(
    ("theirs", "ours", "told"),
    [
        (TOKEN, None, "asks for a token, and we have none; set RAY_AUTH_TOKEN"),
        (TOKEN, "o" * 64, "asks for a token, and ours is another; set RAY_AUTH_TOKEN"),
        (None, TOKEN, "takes no token, and we use one; set RAY_AUTH_MODE=disabled"),
        (TOKEN, TOKEN, None),
        (None, None, None),
    ],
    ids=["we have none", "ours is another", "none is taken", "the same", "none at all"],
)
def test_a_cluster_of_another_token_says_what_to_set(
    head: Callable[[str | None], str],
    monkeypatch: pytest.MonkeyPatch,
    theirs: str | None,
    ours: str | None,
    told: str | None,
) -> None:
    sent = (("authorization", f"Bearer {ours}"),) if ours else ()
    monkeypatch.setattr("grokstudy.orchestrator.execution.ray_cluster._token", lambda: sent)
    monkeypatch.setenv("RAY_AUTH_MODE", "token" if ours else "disabled")
    address = head(theirs)
    if told is None:
        check_cluster(address)
        return
    with pytest.raises(AddressError, match=told) as error:
        check_cluster(address)
    assert f"RAY_ADDRESS is {address}" in str(error.value)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("ray://127.0.0.1:10001", "the address of a Ray client server; set RAY_ADDRESS to the head's own HOST:PORT"),
        ("http://127.0.0.1:8265", "the address of a dashboard, which submit takes; set RAY_ADDRESS to the head's own"),
        ("https://head", "the address of a dashboard"),
        ("head", "no address of a head; set RAY_ADDRESS to the head's own HOST:PORT"),
        ("head:port", "no address of a head"),
        (":6379", "no address of a head"),
    ],
)
def test_what_is_no_address_of_a_head_is_told_with_what_is(address: str, told: str) -> None:
    with pytest.raises(AddressError, match=f"RAY_ADDRESS is {address}, {told}"):
        check_cluster(address)


@pytest.mark.parametrize("address", ["", " ", "local", None])
def test_a_ray_of_our_own_is_never_somebody_elses(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an address, Ray would join what runs on this machine; and ours has a token, and listens on loopback."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    for name in (*tuner.ON_THIS_MACHINE, "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    asked: list[object] = []
    tuner.set_environment()
    tuner._start_ray(SimpleNamespace(init=lambda *words, **_: asked.append(words)))
    assert asked == [("local",)]
    assert {name: os.environ[name] for name in tuner.ON_THIS_MACHINE} == tuner.ON_THIS_MACHINE
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    for name in (*tuner.ON_THIS_MACHINE, "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, os.environ[name])  # taken away with the test
    assert "starting Ray Tune on this machine" in str(Executor("ray", 0))


def test_auto_is_the_ray_of_this_machine(head: Callable[[str | None], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    found = "ray._private.services.get_ray_address_from_environment"
    monkeypatch.setattr(found, lambda *_: head(None))
    check_cluster("auto")

    def nothing(*_: object) -> str:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(found, nothing)
    with pytest.raises(AddressError, match="RAY_ADDRESS is auto, and no Ray runs on this machine; start one with"):
        check_cluster("auto")


def test_a_stale_address_is_told_before_ray_waits_for_it(hurt: Patient) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        begun = time.monotonic()
        driver = hurt.drive(RAY_ADDRESS=address)
        assert driver.wait(40) == 2, hurt.said()
    assert time.monotonic() - begun < 30
    assert f"RAY_ADDRESS is {address}, where no Ray answers" in hurt.said()
    assert "unset it to train on this machine" in hurt.said()
    assert "Traceback" not in hurt.said()
    assert not hurt.store.exists("driver.json")


def test_a_cluster_that_asks_for_a_token_is_told_where_we_have_none(
    head: Callable[[str | None], str], tmp_path: Path
) -> None:
    """In a process of its own: Ray keeps the first token that a process found."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    asked = f"""
from grokstudy.orchestrator.execution.ray_cluster import AddressError, check_cluster
try:
    check_cluster({head(TOKEN)!r})
except AddressError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", asked],
        env={**ours, "RAY_AUTH_MODE": "token", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "asks for a token, and we have none" in done.stdout, done.stderr
