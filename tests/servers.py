"""Servers that tests start for themselves, on loopback and in folders of their own, and stop again."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

UP_S = 180.0
ACCOUNT = "postgres"


class Address(NamedTuple):
    """Where a server answers."""

    uri: str


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


@contextlib.contextmanager
def mlflow_server(folder: Path, backend: str) -> Iterator[Address]:
    """`mlflow server` with a backend store, artifacts in `folder`."""
    port = free_port()
    options = ["--backend-store-uri", backend, "--artifacts-destination", str(folder / "artifacts")]
    words = [sys.executable, "-m", "mlflow", "server", *options, "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*words, "--workers", "1"], stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True
        )
    try:
        _await(f"http://127.0.0.1:{port}/health", process, folder / "server.log")
        yield Address(f"http://127.0.0.1:{port}")
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the server and its workers to end; those that still serve a connection are not waited for."""
    for signal in (15, 9):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + UP_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.2)
    raise AssertionError(f"no answer from {url}:\n{log.read_text()[-2000:]}")


def postgres_programs() -> Path | None:
    """Folder of initdb and pg_ctl: on Debian they are not on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    known = [*found, *([Path(on_path)] if on_path else [])]
    return known[0].parent if known else None


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[Address]:
    """A PostgreSQL of its own: data in a folder, one port on loopback, no password."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: scripts/system-packages.sh installs it")
    data = _own_folder(folder / "pg")
    port = free_port()
    _run(programs / "initdb", "--pgdata", data, "--auth", "trust", "--username", ACCOUNT, "--no-sync")
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={data} -c fsync=off"
    # Its output goes to a file: a pipe would stay open as long as the server lives.
    _run(programs / "pg_ctl", "--pgdata", data, "--wait", "--log", data / "log", "--options", options, "start")
    try:
        _run(programs / "createdb", "--host", "127.0.0.1", "--port", port, "--username", ACCOUNT, "mlflow")
        yield Address(f"postgresql+psycopg2://{ACCOUNT}@127.0.0.1:{port}/mlflow")
    finally:
        _run(programs / "pg_ctl", "--pgdata", data, "--mode", "immediate", "stop")
        shutil.rmtree(data, ignore_errors=True)


def _run(*words: object) -> None:
    """A program of PostgreSQL, from a folder that its account may enter."""
    subprocess.run([*_as_account(), *map(str, words)], check=True, capture_output=True, cwd="/")


def _as_account() -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--init-groups"]


def _own_folder(path: Path) -> Path:
    """A folder that the account can reach: pytest's own are closed to others."""
    if os.geteuid() != 0:
        path.mkdir()
        return path
    made = Path(tempfile.mkdtemp(prefix="grokstudy-pg-"))
    shutil.chown(made, ACCOUNT, ACCOUNT)
    return made
