"""Whether this worker is about to lose its place: its node drains, or the process was told to end.

One of the few files that know Ray. A node drains when its cloud or cluster announced to take it away (`ray drain-node`,
`ray start --block` on SIGTERM, Ray's autoscaler); Ray 2.60 then places nothing new there and leaves what runs in peace.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

import ray


class PreemptionNotice:
    """What a worker hears of its end, and how it goes: by `save`, then at once. Tune starts its pack elsewhere."""

    def __init__(self, save: Callable[[], None]) -> None:
        """Listen in this process from now on; SIGTERM is a notice, too."""
        self._save = save
        self._node = ray.get_runtime_context().get_node_id()
        self._busy = self._told = False
        signal.signal(signal.SIGTERM, self._tell)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Go after a stretch of training, not within it. Costs one request to the head each time."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
        if self._told or self._drains():
            self._go()

    def _drains(self) -> bool:
        """A head that does not answer is no reason to go.

        It is asked in a thread: a dead one is waited for a minute, in which this thread would hear no signal.
        """
        answers: list[bool] = []

        def ask() -> None:
            with contextlib.suppress(Exception):
                answers.append(self._node in ray._private.state.state.get_draining_nodes())

        asking = threading.Thread(target=ask, daemon=True, name="draining")
        asking.start()
        asking.join()
        return answers == [True]

    def _tell(self, *_: object) -> None:
        self._told = True
        if not self._busy:
            self._go()

    def _go(self) -> None:
        self._save()
        os._exit(1)
