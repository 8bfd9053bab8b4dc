"""Files are written by a thread, in the order in which they were requested, while training continues.

What waits to be written is bounded: slow storage first costs nothing, then holds training up. After an error nothing
later is written, so what is on disk never has a gap; the error itself reaches training, type and traceback as they
were, at its next word with the writer. One thread of training uses a writer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

QUEUE_BYTES = 64 << 20
"""Largest number of bytes that wait or are being written; a single work that is larger does so alone."""


class Writer:
    """Carries out works one after the other, in a thread of its own."""

    def __init__(self, limit: int = QUEUE_BYTES) -> None:
        """Start at once; the thread ends with the writer."""
        self.limit = limit
        self._pool = ThreadPoolExecutor(1, "writer")
        self._waiting: deque[tuple[Future[None], int]] = deque()
        self._error: BaseException | None = None

    def later(self, work: Callable[[], None], size: int) -> None:
        """Have this done, which holds `size` bytes until then. Blocks while too much waits; raises earlier errors."""
        while self._waiting and (self._waiting[0][0].done() or self._held() + size > self.limit):
            self._finish_oldest()
        self._raise()
        self._waiting.append((self._pool.submit(self._carry_out, work), size))

    def flush(self) -> None:
        """Return when everything is done. Raises the error that stopped it."""
        while self._waiting:
            self._finish_oldest()
        self._raise()

    def _held(self) -> int:
        return sum(size for _, size in self._waiting)

    def _carry_out(self, work: Callable[[], None]) -> None:
        if self._error is None:
            try:
                work()
            except BaseException as error:
                self._error = error

    def _finish_oldest(self) -> None:
        self._waiting[0][0].result()
        self._waiting.popleft()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
