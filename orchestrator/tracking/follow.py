"""MLflow kept up to date while a study trains: by a process of its own, on what the training leaves of the machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from grokstudy.trainables.machine import cores

EVERY_S = 60.0
"""Between two syncs, and before the first: a study that takes less is synced at its end alone."""
PATIENCE_S = 30.0
"""How long a sync that is stopped has to end by itself: making MLflow's data base is better not cut short."""


SHARE = 0.01
"""Of the machine's cores, what syncing may take from training."""


def yield_to_training() -> threading.Event:
    """Leave the cores to those who want them.

    A busy core gives this process a hundredth or two of its time, which gets a sync done: at SCHED_IDLE it was not
    through after nine minutes. Gives what SIGTERM sets: to end after the sync under way.
    """
    termination = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: termination.set())
    os.nice(19)
    if os.getsid(0) == os.getpid():  # else it is of the person's shell, and of what else runs there
        # Linux weighs sessions against each other, and processes only within theirs, where this file is.
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text("19")
    return termination


def pause(every: float, spent: float) -> float:
    """Seconds until the next sync, after one that took so many seconds of processor: no more than `SHARE` in all."""
    return max(every, spent / (SHARE * cores()))


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
