"""MLflow kept up to date while a study trains: by a process of its own, on what the training leaves of the machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

EVERY_S = 60.0
"""Between two syncs, and before the first: a study that takes less is synced at its end alone."""
PATIENCE_S = 30.0
"""How long a sync that is stopped has to end by itself: making MLflow's data base is better not cut short."""


def yield_to_training() -> threading.Event:
    """Let this process run only when nobody else wants the cores, where the system can do that.

    Gives what SIGTERM sets: to end after the sync under way.
    """
    termination = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: termination.set())
    with contextlib.suppress(OSError):
        if hasattr(os, "SCHED_IDLE"):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        else:
            os.nice(19)
    return termination


@contextlib.contextmanager
def followed(
    root: str, study: str, every: float = EVERY_S, shown: bool = True
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Sync again and again meanwhile, if it is to be `shown`.

    Gives the process that does, once there is one: then runs may be left as running until the next sync, which also
    tells what goes wrong here. Where whoever drives is killed, that process lives on to make it.
    """
    words = [sys.executable, "-m", "grokstudy", "mlflow", "sync", study]
    words += ["--root", root, "--every", str(every), "--quiet"]
    syncs: list[subprocess.Popen[bytes]] = []
    over = threading.Event()
    if not shown:
        yield syncs
        return

    def begin() -> None:
        if not over.wait(every):
            nowhere = subprocess.DEVNULL
            syncs.append(subprocess.Popen(words, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True))

    waiting = threading.Thread(target=begin, daemon=True)
    waiting.start()
    try:
        yield syncs
    finally:
        over.set()
        waiting.join()
        for process in syncs:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
