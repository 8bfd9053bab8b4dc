"""The workers of this machine as far as a forecast needs them: processes that measure the same at the same time.

Workers share memory bandwidth, caches and the clock of their cores: one alone is faster than it will be beside others.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, TypeVar

from grokstudy.trainables.plugins import Code

_Result = TypeVar("_Result")
PATIENCE_S = 2.0
"""How long a process may take to end."""


class Crew:
    """So many workers: this process, and others that are started when the first thing is measured."""

    def __init__(self, size: int, code: tuple[Code, ...] = ()) -> None:
        """Nothing is started yet. `code` from outside is what their configurations name."""
        self.size, self._code = size, code
        self.start_s = 0.0
        """What it took until the others had their libraries; 0 before, and where there are none."""
        self._others: dict[Connection, BaseProcess] = {}

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._dismiss()

    def __call__(self, measure: Callable[..., _Result], *arguments: Any) -> list[_Result]:
        """What each of them measures, all at a time. Raises what the measurement raises here.

        Where another process fails, this one measures alone from then on.
        """
        began, are_there = time.monotonic(), len(self._others) == self.size - 1
        while len(self._others) < self.size - 1:
            self._start()
        try:
            for connection in self._others:
                connection.send((measure, arguments))
            self._heard()  # all have read it, for which the first time they import what it needs
            self.start_s = self.start_s if are_there else time.monotonic() - began
            for connection in self._others:
                connection.send(None)
            return [measure(*arguments), *self._heard()]
        except (EOFError, ConnectionError):
            self._dismiss()
            self.size = 1
            return [measure(*arguments)]

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(self._code, theirs), daemon=True)
        process.start()
        theirs.close()
        self._others[ours] = process

    def _heard(self) -> list[Any]:
        """A word of each of the others. Raises EOFError, or ConnectionError, where one is gone."""
        words, left = [], [*self._others]
        while left:
            ready = wait(left)
            words += [connection.recv() for connection in left if connection in ready]
            left = [connection for connection in left if connection not in ready]
        return words

    def _dismiss(self) -> None:
        for connection in self._others:
            connection.close()  # it ends by itself, and puts away what libraries made, such as semaphores
        for process in self._others.values():
            process.join(PATIENCE_S)
            process.kill()  # in the middle of a measurement
            process.join()
        self._others = {}


def _serve(code: tuple[Code, ...], connection: Connection) -> None:
    """What another process does: read, say so, and measure when all have read. It ends with who started it, and
    where a measurement fails, which that process then meets itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's reaches it, too: whoever started it ends it
    with contextlib.suppress(Exception):
        while True:
            measure, arguments = connection.recv()
            connection.send(None)
            connection.recv()
            connection.send(measure(*arguments))
