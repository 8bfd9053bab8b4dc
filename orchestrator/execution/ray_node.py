"""Ray's own processes on this machine: no more than needed, and watched, as without raylet or GCS Ray waits for ever.

One of the few files that know Ray. What is left of a Ray that lost one of them cannot be used again in this process,
nor shut down in time, so the launch ends, every commit is in the root, and the same command starts afresh. It is not
started again by itself: what killed it once (mostly the system, for want of memory) would kill it again, unseen.
Workers leave a last checkpoint where the GCS died; one whose raylet died ends in Ray's own code, before ours can run.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import psutil

from grokstudy.orchestrator.execution.executor import RayLostError

VITAL = ("gcs_server", "raylet")
LOOK_S = 0.2
NUDGE_S = 2.0
GRACE_S = 10.0
"""How long workers may take to leave a checkpoint: their stretch of training, and one commit."""


@contextlib.contextmanager
def fewest_processes() -> Iterator[None]:
    """Start a node without the three processes that a run on one machine has no use for: nobody looks at its dashboard,
    reads its logs on the driver, or could give it more machines. `ray.init` has no option for them.
    """
    from ray._private import node, parameter

    params, serve = parameter.RayParams, node.Node.start_api_server
    parameter.RayParams = functools.partial(params, no_monitor=True, include_log_monitor=False)
    node.Node.start_api_server = lambda *_, **__: None
    try:
        yield
    finally:
        parameter.RayParams, node.Node.start_api_server = params, serve


class NodeWatch:
    """Watches the processes of a node that was started here; none on a cluster that was joined."""

    def __init__(self, node: Any) -> None:
        """Watch this node (of `ray._private`)."""
        self._node = node
        self.lost: str | None = None
        """What has died, None while all live."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="ray-node")

    def __enter__(self) -> NodeWatch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ended.set()
        try:
            self._thread.join()
        except KeyboardInterrupt:  # its last nudge
            if self.lost is None:
                raise
        if self.lost is None and kind is not None and kind is not KeyboardInterrupt:
            self.lost = self._dead()  # its error came before our look
        if self.lost is not None:
            self._bury()
            raise RayLostError(
                f"{self.lost} of Ray on this machine died while training; the system may have killed it for its "
                f"memory (see dmesg; its logs: {self._node.get_logs_dir_path()})"
            ) from None

    def _processes(self, *kinds: str) -> list[Any]:
        infos = self._node.all_processes if self._node is not None else {}
        return [info.process for kind in kinds or tuple(infos) for info in infos.get(kind, [])]

    def _dead(self) -> str | None:
        """The vital process that has ended, if any."""
        for kind in VITAL:
            if any(process.poll() is not None for process in self._processes(kind)):
                return f"process {kind}"
        return None

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_S):
            self.lost = self._dead()
            if self.lost is not None:
                for name in ("ray", "ray.tune"):  # what they say of it now is no help to anybody
                    logging.getLogger(name).setLevel(logging.CRITICAL)
                while not self._ended.is_set():  # Tune takes the first interrupt for a wish to end slowly
                    os.kill(os.getpid(), signal.SIGINT)
                    self._ended.wait(NUDGE_S)
                return

    def _bury(self) -> None:
        """End what is left, without Ray's help: the workers, which leave a checkpoint, then Ray's own processes."""
        living = [process for process in self._processes() if process.poll() is None]
        children = []
        for process in living:
            with contextlib.suppress(psutil.Error):
                children += psutil.Process(process.pid).children()
        _end_workers([child for child in children if _title(child).startswith("ray::")])
        for process in living:
            process.kill()
        for child in children:
            with contextlib.suppress(psutil.Error):
                child.kill()


def _end_workers(workers: list[psutil.Process]) -> None:
    """Give workers notice (`preemption.py`), and wait until they have gone."""
    for worker in workers:
        with contextlib.suppress(psutil.Error):
            worker.terminate()
    deadline = time.monotonic() + GRACE_S
    while any(map(_title, workers)) and time.monotonic() < deadline:
        time.sleep(LOOK_S)


def _title(process: psutil.Process) -> str:
    """What a process calls itself; nothing once it has ended, whether or not its parent has looked."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
