"""One driver per root. Owns `<root>/driver.json`: who drives, and a count that grows while it lives.

No clock is compared between machines: a holder on this host is dead when its process is; one elsewhere when its count
does not grow while we watch.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from trainables.store import Store

NAME = "driver.json"
BEAT_S = 3.0
WATCH_S = 10.0


class RootBusyError(RuntimeError):
    """Another driver is at work on this root."""


@contextlib.contextmanager
def driver_lock(store: Store, study: str) -> Iterator[None]:
    """Hold the root while driving. Raises RootBusyError naming the holder if it lives."""
    holder = store.read_json(NAME)
    if holder is not None and _alive(store, holder):
        raise RootBusyError(
            f"{store.uri}: study {holder['study']!r} is being driven by process {holder['pid']} on {holder['host']}; "
            "wait for it, stop it, or use another --root"
        )
    mine = {"study": study, "host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex}
    ended = threading.Event()
    store.write_json(NAME, {**mine, "beat": 0})
    beating = threading.Thread(target=_beat, args=(store, mine, ended), daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        store.delete(NAME)


def driver_of(store: Store) -> dict[str, Any] | None:
    """Who drives this root now, told without waiting; None when nobody does, as far as this host can see."""
    holder: dict[str, Any] | None = store.read_json(NAME)
    if holder is None or (holder["host"] == socket.gethostname() and not _process_lives(int(holder["pid"]))):
        return None
    return holder


def _beat(store: Store, mine: dict[str, Any], ended: threading.Event) -> None:
    count = 0
    while not ended.wait(BEAT_S):
        count += 1
        with contextlib.suppress(OSError):
            store.write_json(NAME, {**mine, "beat": count})


def _alive(store: Store, holder: dict[str, Any]) -> bool:
    if holder["host"] == socket.gethostname():
        return int(holder["pid"]) != os.getpid() and _process_lives(int(holder["pid"]))
    deadline = time.monotonic() + WATCH_S
    while time.monotonic() < deadline:
        time.sleep(0.5)
        current = store.read_json(NAME)
        if current is None:
            return False
        if current["beat"] != holder["beat"]:
            return True
    return False


def _process_lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
