"""One driver per root. Owns `<root>/driver.json`: who drives, and a count that grows while it lives.

No clock is compared between machines: a holder on this host is dead when its process is (the same process id started
at another tick of the kernel is another process); one elsewhere when its count does not grow while we watch. Of two
that take a root at the same moment, the one whose name is in the file a moment later has it; a driver that finds
another's name there stops as on Ctrl-C.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grokstudy.trainables.storage.store import DamagedError, StorageError, Store

NAME = "driver.json"
BEAT_S = 3.0
WATCH_S = 10.0
FULL = (errno.ENOSPC, errno.EDQUOT)
SETTLE_S = 0.3
"""Longer than two drivers can be apart that both found the root free."""


class RootBusyError(RuntimeError):
    """Another driver is at work on this root."""


@contextlib.contextmanager
def driver_lock(store: Store, study: str, freeing: bool = False) -> Iterator[None]:
    """Hold the root while driving. Raises RootBusyError naming the holder if it lives.

    Who is `freeing` space goes on without driver.json on a full disk: nobody else can take the root there, either.
    """
    holder = _holder(store)
    if holder is not None and _alive(store, holder):
        raise RootBusyError(
            f"{store.uri}: study {holder['study']!r} is being driven by process {holder['pid']} on {holder['host']}; "
            "wait for it, stop it, or use another --root"
        )
    own = {"study": study, "host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex}
    own["born"] = _born(os.getpid())
    ended = threading.Event()
    if freeing and not _has_room(store, own):
        yield
        return
    store.write_json(NAME, {**own, "beat": 0})
    time.sleep(SETTLE_S if store.local else 5 * SETTLE_S)
    if (winner := _holder(store) or own)["token"] != own["token"]:
        raise RootBusyError(f"{store.uri}: process {winner['pid']} on {winner['host']} took it at the same moment")
    beating = threading.Thread(target=_beat, args=(store, own, ended), daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        try:
            beating.join()
        finally:  # also on a second Ctrl-C
            if (_holder(store) or {}).get("token") == own["token"]:
                store.delete(NAME)


def _has_room(store: Store, own: dict[str, Any]) -> bool:
    """Whether driver.json can be written, found out by doing so without any patience."""
    hasty = copy.copy(store)
    hasty.patience_s = 0.0
    try:
        hasty.write_json(NAME, {**own, "beat": 0})
    except StorageError as error:
        if getattr(error.__cause__, "errno", None) in FULL:
            return False
    return True


def _holder(store: Store) -> dict[str, Any] | None:
    """Content of driver.json. Raises DamagedError when it is not what a driver wrote."""
    holder = store.read_json(NAME)
    kinds = {"study": str, "host": str, "pid": int, "token": str, "beat": int}
    if holder is not None and any(type(holder.get(key)) is not kind for key, kind in kinds.items()):
        raise DamagedError(f"{store.path(NAME)}: was not written by a driver; delete it if none is at work here")
    return holder


def trained_study(store: Store) -> str | None:
    """The study that somebody trains in the root now, told without waiting."""
    driver = driver_of(store)
    return None if driver is None else str(driver["study"])


def driver_of(store: Store) -> dict[str, Any] | None:
    """Who drives this root now, told without waiting; None when nobody does, as far as this host can see."""
    holder = _holder(store)
    if holder is None or (holder["host"] == socket.gethostname() and not _process_lives(holder)):
        return None
    return holder


def _beat(store: Store, own: dict[str, Any], ended: threading.Event) -> None:
    count = 0
    while not ended.wait(BEAT_S):
        count += 1
        with contextlib.suppress(OSError):
            if (_holder(store) or own)["token"] != own["token"]:
                os.kill(os.getpid(), signal.SIGINT)
                return
            store.write_json(NAME, {**own, "beat": count})


def _alive(store: Store, holder: dict[str, Any]) -> bool:
    if holder["host"] == socket.gethostname():
        return int(holder["pid"]) != os.getpid() and _process_lives(holder)
    deadline = time.monotonic() + WATCH_S
    while time.monotonic() < deadline:
        time.sleep(0.5)
        current = _holder(store)
        if current is None:
            return False
        if current["beat"] != holder["beat"]:
            return True
    return False


def _process_lives(holder: dict[str, Any]) -> bool:
    pid = int(holder["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return holder.get("born") in (None, _born(pid))


def _born(pid: int) -> str | None:
    """When a living process was started, in ticks since the machine was; None where the system does not say.

    One that has ended stays listed until its parent looks: in a container, perhaps for ever.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]
