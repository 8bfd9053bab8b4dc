"""The executor without Ray: the packs of a launch, trained in this process or in processes of this machine.

The same bundles and pack queues as under Ray Tune, so the same files, to the bit. One worker trains in this process,
where `breakpoint()` works and nothing has to start; more are processes of their own. One that dies is started again
with its bundle: what it had done is in the root, and its lease counts how often it died at the same step.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from grokstudy.orchestrator.execution.breaker import Breaker, HaltedError
from grokstudy.orchestrator.execution.budget import Budget
from grokstudy.orchestrator.execution.bundle import HEARTBEAT_S, Bundle, have_ended, make_bundles
from grokstudy.orchestrator.execution.executor import More, OnProgress
from grokstudy.orchestrator.execution.pack_queue import PackQueue
from grokstudy.orchestrator.execution.resources import ResourcesError
from grokstudy.orchestrator.execution.stopping import Stopping
from grokstudy.orchestrator.execution.watchdog import LIMIT_S, Watchdog
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.bench.speed import remembered_pack_size
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.machine import cores
from grokstudy.trainables.storage.store import Store

STILLBORN = 3
"""Processes in a row that end before they say a word, after which the launch is given up."""
STOP_WAIT_S = 60.0
"""How long processes may take to write a checkpoint before they are killed."""


def launch(
    study: Study, runs: list[Run], store: Store, on_progress: OnProgress, workers: int, measured: bool = True,
    more: More = lambda _: None, budget: Budget | None = None,
) -> bool:  # fmt: skip
    """Train these runs to their length, each with its retries, by so many workers; whether paused ones go on now.

    Unless `measured`, runs of a pack of size `auto` train alone. Where a worker has nothing to do, `more` is asked.
    Once the `budget` is gone no pack is begun.

    A run that fails for good ends up as FAILED.json, not as an exception. On Ctrl-C every pack leaves a checkpoint at
    its next whole chunk of steps, then KeyboardInterrupt is raised; a second one ends at once. Raises HaltedError when
    it is pointless to go on, ResourcesError where the study asks for more GPUs than there are.
    """
    resources = local_resources(study)

    def size(config: RunConfig, most: int) -> int:
        if not measured:
            return 1
        device, threads = "cuda" if resources["gpu"] else "cpu", max(1, int(resources["cpu"]))
        return remembered_pack_size(config, most, device, threads, min(resources["gpu"], 1.0))

    stopping = Stopping(study, runs, store)

    def bundled(runs: list[Run]) -> list[Bundle]:
        return make_bundles(study, runs, store, resources, workers, size, executor="local") if runs else []

    def refill(at_work: Set[str]) -> list[Bundle] | None:
        new = more(at_work)
        stopping.begin(new or [])
        return None if new is None else bundled(new)

    budget = budget or Budget()
    budget.workers = workers
    bundles = deque(bundled(stopping.admitted(runs)))
    launcher = _Launch(on_progress, Breaker(), stopping, bundles, refill, budget)
    if not launcher.bundles:
        return False
    if workers == 1:
        launcher.here()
    else:
        launcher.in_processes(workers)
    if launcher.breaker.reason is not None:
        raise HaltedError(launcher.breaker.reason)
    return stopping.conclude()


def local_resources(study: Study) -> dict[str, float]:
    """CPUs and GPUs of one worker on this machine; `auto` is one core, and one whole GPU where torch sees any."""
    cpu, gpu = study.resources.cpu, study.resources.gpu
    gpus = _gpus() if gpu else 0
    if isinstance(gpu, float | int) and gpu > gpus:
        raise ResourcesError(f"resources.gpu: {gpu:g} asked per worker, torch sees {gpus} here; use --gpu 0")
    return {"cpu": 1.0 if cpu == "auto" else float(cpu), "gpu": float(bool(gpus)) if gpu == "auto" else float(gpu)}


def local_workers(study: Study) -> int:
    """Workers that this machine has room for, or that were asked for."""
    requested, resources = study.resources.workers, local_resources(study)
    room = cores() / resources["cpu"]
    if resources["gpu"]:
        room = min(room, _gpus() / resources["gpu"])
    return requested if isinstance(requested, int) else max(1, int(room))


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


@dataclass
class _Worker:
    """A process, what it works on, and the way to talk to it."""

    process: BaseProcess
    connection: Connection
    bundle: Bundle | None = None
    spoke: bool = False

    def give(self, bundle: Bundle) -> None:
        """Send it a bundle. One that has died in between ends its connection, and is replaced for it."""
        self.bundle = bundle
        with contextlib.suppress(OSError):
            self.connection.send(bundle)


class _Launch:
    """Bundles on their way through the workers of this machine."""

    def __init__(
        self, on_progress: OnProgress, breaker: Breaker, stopping: Stopping, bundles: deque[Bundle],
        refill: Callable[[Set[str]], list[Bundle] | None], budget: Budget,
    ) -> None:  # fmt: skip
        self.on_progress, self.breaker, self.stopping, self.budget = on_progress, breaker, stopping, budget
        self.bundles, self._refill = bundles, refill
        self._at_work = set().union(*(bundle.run_ids for bundle in bundles))
        """Runs of bundles that wait or have a worker, less those that were heard to end."""
        self._has_settled = True
        """Whether a run has ended since `refill` was asked."""
        self._is_last = False
        self._stillborn = 0

    def here(self) -> None:
        """Train in this process."""
        while bundle := self._next():
            queue = bundle.open()
            with _interrupts_stop(queue.stop):
                while not queue.finished and not queue.stopping and self.breaker.reason is None:
                    if frozen := self._hear(queue.advance(HEARTBEAT_S), queue.halt):
                        queue.freeze(frozen)
                        self._hear(queue.advance(0.0), queue.halt)
                queue.checkpoint_now()
            self._settle(bundle.run_ids)
            if queue.stopping:
                raise KeyboardInterrupt
            if self.breaker.reason is not None:
                return

    def _next(self) -> Bundle | None:
        """The next bundle; None when there is none now, or nothing to pay for it."""
        if self.budget.gone:
            return None
        if not self.bundles:
            self._ask()
        return self.bundles.popleft() if self.bundles else None

    def _ask(self) -> None:
        if self._is_last or not self._has_settled:
            return
        new = self._refill(self._at_work)
        self._has_settled, self._is_last = False, new is None
        self._at_work.update(*(bundle.run_ids for bundle in new or []))
        self.bundles.extend(new or [])

    def _settle(self, run_ids: set[str]) -> None:
        self._has_settled = True
        self._at_work -= run_ids

    def in_processes(self, count: int) -> None:
        """Train in processes, each given the next bundle when it has ended one, or when others have ended theirs."""
        if len(self.bundles) < count:
            self._ask()
        first = self.bundles[0]
        count = min(count, len(self.bundles))
        workers: dict[str, _Worker] = {}
        limit = float(os.environ.get("GROKSTUDY_SILENCE_S", LIMIT_S))
        watchdog = Watchdog(limit, lambda name: workers[name].process.kill())
        try:
            for number in range(count):
                workers[str(number)] = _start(number, first.gpu)
            with watchdog:
                while workers and self.breaker.reason is None:
                    for name, worker in workers.items():
                        if worker.bundle is None:
                            watchdog.forget(name)
                            if (bundle := self._next()) is not None:
                                worker.give(bundle)
                                watchdog.beat(name)
                    is_over = self.budget.gone or self._is_last or not any(worker.bundle for worker in workers.values())
                    for name, worker in list(workers.items()):
                        if worker.bundle is None and is_over:
                            self._end(workers.pop(name))
                    ready = wait([worker.connection for worker in workers.values()], timeout=1.0)
                    for name, worker in workers.items():
                        if worker.connection in ready:
                            watchdog.beat(name)
                            if not self._listen(worker):
                                workers[name] = self._replace(int(name), worker)
        finally:
            try:
                for worker in workers.values():
                    worker.process.terminate()  # it leaves a checkpoint, and goes
                for worker in workers.values():
                    self._end(worker)
            except KeyboardInterrupt:  # the second: at once
                for worker in workers.values():
                    worker.process.kill()
                raise

    def _listen(self, worker: _Worker) -> bool:
        """Take in what a worker says; False when it is gone."""
        try:
            while worker.connection.poll():
                lines, halt, done = worker.connection.recv()
                worker.spoke, self._stillborn = True, 0
                if (frozen := self._hear(lines, halt)) and not done:
                    worker.connection.send(frozen)
                if done and worker.bundle is not None:
                    self._settle(worker.bundle.run_ids)
                    worker.bundle = None
        except (EOFError, OSError):
            return False
        return True

    def _replace(self, number: int, gone: _Worker) -> _Worker:
        """Another process for the bundle of one that died."""
        gone.process.join()
        self._stillborn += not gone.spoke
        if self._stillborn >= STILLBORN:
            code = gone.process.exitcode
            raise HaltedError(f"{STILLBORN} worker processes in a row ended at their start (exit code {code})")
        worker = _start(number, gone.bundle.gpu if gone.bundle else 0.0)
        if gone.bundle is not None:
            worker.give(gone.bundle)
        return worker

    @staticmethod
    def _end(worker: _Worker) -> None:
        worker.connection.close()
        worker.process.join(STOP_WAIT_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()

    def _hear(self, lines: list[dict[str, Any]], halt: str | None) -> list[str]:
        """Take in where runs stand; returns those that the scheduler ends here."""
        if halt is not None:
            self.breaker.reason = halt
        for line in lines:
            self.breaker.hear(line)
        if settled := have_ended(lines) & self._at_work:
            self._settle(settled)
        self.on_progress(lines)
        return self.stopping.hear(lines)


@contextlib.contextmanager
def _interrupts_stop(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C asks to stop, the second ends at once."""

    def on_interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Ctrl-C comes afterwards, so that no process is left half told what to do. One that is started meanwhile is born
    with it blocked: a terminal's reaches it, too, and would end its imports in a traceback.
    """
    noted: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    for number in noted[:1]:
        signal.raise_signal(number)


def _start(number: int, gpu: float) -> _Worker:
    """A fresh process; where workers share GPUs, each sees the one that it works on."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    visible = {}
    if gpu:
        known = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = known.split(",") if known else [str(index) for index in range(_gpus())]
        visible["CUDA_VISIBLE_DEVICES"] = names[int(number * gpu) % len(names)]
    process = context.Process(target=_work, args=(theirs, visible), daemon=True, name=f"grokstudy-{number}")
    resource_tracker.ensure_running()  # which unblocks Ctrl-C when it starts
    with _interrupts_wait():
        process.start()
    theirs.close()
    return _Worker(process, ours)


def _work(connection: Connection, environment: Mapping[str, str]) -> None:
    """What a process does: open the bundles that it is sent, one after the other, and say where they stand."""
    os.environ.update(environment)
    for number in (signal.SIGINT, signal.SIGHUP):  # they reach every process of a terminal: the driver decides
        signal.signal(number, signal.SIG_IGN)
    ended = threading.Event()
    queue: PackQueue | None = None

    def end(*_: object) -> None:
        ended.set()
        if queue is not None:
            queue.stop()

    signal.signal(signal.SIGTERM, end)
    with contextlib.suppress(EOFError, OSError):  # the driver has no more, or is gone
        while not ended.is_set():
            if not connection.poll(0.2):
                continue
            message = connection.recv()
            if not isinstance(message, Bundle):  # runs to freeze that have ended meanwhile
                continue
            queue = message.open()
            try:
                while not queue.finished and not queue.stopping:
                    if connection.poll():
                        queue.freeze(connection.recv())
                    lines = queue.advance(HEARTBEAT_S)
                    connection.send((lines, queue.halt, queue.finished))
            finally:
                queue.checkpoint_now()  # also when the driver does not listen any more
            if queue.unusable:
                os._exit(1)  # its GPU context is broken: another process goes on
