"""Deaths for real: a process of its own that is killed, at a chosen change of the root or at some moment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

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
