"""A way to the dashboard of a launched cluster, which listens on the head's own 127.0.0.1 only.

Ray's launcher knows the head and how to log in; `ray dashboard` keeps the tunnel, here for the time of one command.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from grokstudy.orchestrator.cluster.jobs import ClusterError

WAIT_S = 60.0


@contextlib.contextmanager
def tunnel(cluster: Path) -> Iterator[str]:
    """The dashboard of the cluster that `ray up <cluster>` launched, as a URL on this machine. Raises ClusterError."""
    if not cluster.is_file():
        raise ClusterError(f"{cluster}: no such file; give the file that `ray up` was given")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", "ray.scripts.scripts", "dashboard", "--port", str(port), str(cluster)]
        environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        try:
            if not _opens(port, process):
                log.seek(0)
                lines = [line.strip() for line in log.read().splitlines() if line.strip()]
                reason = lines[-1] if lines else f"no tunnel to the head within {WAIT_S:.0f} s"
                raise ClusterError(f"{cluster}: {reason} (is the cluster up? `ray up` starts it)")
            yield f"http://127.0.0.1:{port}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _opens(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether the tunnel opens before its process ends or the time is up."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        time.sleep(0.2)
    return False
