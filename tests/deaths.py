"""Deaths for real: a process of its own that is killed, at a chosen change of the root or at some moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grokstudy.trainables.storage.store import Store


class DeadlyStore(Store):
    """Kills its process around the n-th change: before it, with the file half written, or right after it."""

    def __init__(self, root: str | Path, change: int, moment: str) -> None:
        super().__init__(root)
        self.left, self.moment = change, moment

    def write(self, relative: str, data: bytes) -> None:
        self.left -= 1
        if self.left == 0 and self.moment == "torn":
            folder = Path(self.path(relative)).parent
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".tmp-0123").write_bytes(data[: len(data) // 2])
        self._die_if("before", "torn")
        super().write(relative, data)
        self._die_if("after")

    def delete(self, relative: str) -> None:
        if not self.exists(relative):
            return
        self.left -= 1
        self._die_if("before", "torn")
        super().delete(relative)
        self._die_if("after")

    def _die_if(self, *moments: str) -> None:
        if self.left == 0 and self.moment in moments:
            os.kill(os.getpid(), signal.SIGKILL)


def live(work: Callable[[], object], kill_after: float | None = None) -> bool:
    """Do it in a process of its own; returns whether it came to its end, or was killed."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    if kill_after is not None:
        time.sleep(kill_after)  # the fault itself: a random moment
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return not os.WIFSIGNALED(status)


CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
FORKING = multiprocessing.get_context("forkserver")
"""From a process that has imported much and done nothing: one in which polars has worked cannot be forked."""
FORKING.set_forkserver_preload(["grokstudy.analysis.report.report", "mlflow", "alembic.command", "altair", "torch"])

LIVES: list[Life] = []
"""The one that this process lives; one whose `change` is set to 0 is spared from then on."""


@dataclass
class Life:
    """Some work in a process of its own, killed before the n-th change of a folder, whoever makes it; at none for 0.

    Python tells of every file that is made, opened for writing, renamed or removed; one that is opened is left empty.
    Of what C does, Arrow's removals and the transactions of a data base count.
    """

    folder: Path
    change: int = 0

    def survived(self, work: Callable[[], object]) -> bool:
        """Whether it came to its end, or was killed."""
        process = FORKING.Process(target=self._live, args=(work,))
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
        return process.exitcode == 0

    def _live(self, work: Callable[[], object]) -> None:
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        delete = Store.delete

        def deleting(store: Store, relative: str) -> None:
            self._count(store.path(relative))
            delete(store, relative)

        Store.delete = deleting  # type: ignore[assignment, method-assign]
        event.listen(Engine, "commit", lambda _: self._count(self.folder))
        LIVES.append(self)
        sys.addaudithook(self._hear)
        work()

    def _hear(self, name: str, details: tuple[Any, ...]) -> None:
        if name in CHANGES and os.path.exists(details[0]) != (name == "os.mkdir"):
            self._count(details[0])
        elif name == "open" and isinstance(details[2], int) and details[2] & WRITING:
            self._count(details[0], opened=True)

    def _count(self, path: Any, opened: bool = False) -> None:
        if isinstance(path, int) or not os.path.abspath(path).startswith(str(self.folder)):
            return
        self.change -= 1
        if self.change == 0:
            if opened:
                Path(path).write_bytes(b"")
            os.kill(os.getpid(), signal.SIGKILL)
