"""Notices workers that have fallen silent, and has them killed; Ray Tune then starts them again.

A worker is silent when no heartbeat came for `limit_s` seconds of this process's own monotonic clock. The limit is far
above the patience with failing storage, so that a worker that waits for its storage is left in peace.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LIMIT_S = 600.0
"""Unless GROKSTUDY_SILENCE_S says otherwise."""


class Watchdog:
    """Watches workers by name from `beat` until `forget`."""

    def __init__(self, limit_s: float, kill: Callable[[str], None]) -> None:
        """Call `kill(name)` for a worker that is silent for longer than `limit_s`; once per silence."""
        self.limit_s, self._kill = limit_s, kill
        self._heard: dict[str, float] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def beat(self, name: str) -> None:
        """A sign of life."""
        with self._lock:
            self._heard[name] = time.monotonic()

    def forget(self, name: str) -> None:
        """It is not expected to give signs any more."""
        with self._lock:
            self._heard.pop(name, None)

    def silent(self) -> list[str]:
        """Who has been silent for too long; they are forgotten."""
        with self._lock:
            now = time.monotonic()
            names = [name for name, at in self._heard.items() if now - at > self.limit_s]
            for name in names:
                del self._heard[name]
        return names

    def _watch(self) -> None:
        while not self._ended.wait(min(1.0, self.limit_s / 4)):
            for name in self.silent():
                self._kill(name)
