"""What one worker does with its packs: trains them, halves one that fails or does not fit, retries a run alone.

Three ends are kept apart. A run that fails alone more often than allowed is failed. Storage that stays away halts the
study: `halt` says why, and no run is to blame. A process that dies without a word says nothing here; its successor
counts in the lease how often that happened in a row at the same step, trains smaller packs, and gives up at last.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import torch

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.run_dir import LeaseLostError, RunDir, last_lease
from grokstudy.trainables.storage.store import DamagedError, StorageError, Store
from grokstudy.trainables.training.adoption import ReplayError
from grokstudy.trainables.training.function import FunctionPack
from grokstudy.trainables.training.pack import Pack, Progress, failure, failures_recorded

DEATHS_PER_HALVING = 3
DEATHS = 10
"""Silent deaths in a row, at the same step, after which a run counts as failed."""

AnyPack = Pack | FunctionPack
OpenPack = Callable[[list[RunConfig]], AnyPack]


class ProcessDiedError(RuntimeError):
    """The process of this run died again and again."""


class PackQueue:
    """The packs of one worker, one after the other."""

    def __init__(
        self, packs: list[list[RunConfig]], store: Store, open_pack: OpenPack, max_failures: int, heard: bool = False
    ) -> None:
        """Take over the runs of these packs; those that have ended already are only reported.

        With `heard`, the lines say what was measured at each evaluation, for a scheduler that stops runs.
        """
        _leave_out_what_is_imported()
        self.heard = heard
        self.store, self.open_pack, self.max_failures = store, open_pack, max_failures
        self.lines: dict[str, dict[str, Any]] = {}
        self.halt: str | None = None
        self.stopping = False
        """Set by `stop`: `advance` returns at the next whole chunk of steps."""
        self.unusable = False
        """Whether this process can train nothing more (its GPU context is broken)."""
        self._failures: Counter[str] = Counter()
        self.pack: AnyPack | None = None
        self._queue: list[list[RunConfig]] = []
        for configs in packs:
            todo = [config for config in configs if not self._has_ended(config)]
            deaths = max((last_lease(RunDir(store, config.run_id))["stuck"] for config in todo), default=0)
            self._queue += _pieces(todo, len(todo) >> (deaths // DEATHS_PER_HALVING))

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do for this worker."""
        return self.halt is not None or not self._queue

    def advance(self, seconds: float) -> list[dict[str, Any]]:
        """Train for about this long; returns where every run of the worker stands."""
        began = time.monotonic()
        while not self.finished and not self.stopping and (left := seconds - (time.monotonic() - began)) > 0:
            self._advance(self._queue[0], left)
        lines = list(self.lines.values())
        self.lines = {line["run_id"]: {**line, "evaluations": []} for line in lines}
        return lines

    def freeze(self, run_ids: Collection[str]) -> None:
        """Train these runs no further: each keeps a checkpoint, and the others of its pack go on."""
        had_pack = self.pack is not None
        try:
            if self.pack is not None:
                self.pack.freeze(run_ids)
                self._report(self.pack.progress())
        except LeaseLostError:
            self._next([])
        except StorageError as error:
            self.halt = str(error)
        waiting = [[config for config in pack if config.run_id not in run_ids] for pack in self._queue[had_pack:]]
        self._queue[had_pack:] = [pack for pack in waiting if pack]
        if self.pack is not None and self.pack.finished:
            self._next([])

    def stop(self) -> None:
        """Have `advance` return soon; may be called from a signal handler."""
        self.stopping = True
        if self.pack is not None:
            self.pack.stopping = True

    def checkpoint_now(self) -> None:
        """Commit what there is, before a pause."""
        if self.pack is not None:
            self.pack.checkpoint_now()

    def _advance(self, configs: list[RunConfig], seconds: float) -> None:
        try:
            if self.pack is None:
                self.pack = self._open(configs)
            with failures_recorded(self.pack):
                self._report(self.pack.advance(seconds))
        except LeaseLostError:
            self._next([])
        except StorageError as error:
            self.halt = str(error)
        except Exception as error:
            self._failed(configs, error)
        else:
            if self.pack.finished:
                self._next([])

    def _open(self, configs: list[RunConfig]) -> AnyPack:
        pack = self.open_pack(configs)
        stuck = max(member.lease.stuck for member in pack.members)
        if len(configs) == 1 and stuck >= DEATHS:
            raise ProcessDiedError(
                f"the worker process died {stuck} times in a row without passing step {pack.step}; "
                "the system may have killed it for its memory (see dmesg), or the node is at fault"
            )
        return pack

    def _failed(self, configs: list[RunConfig], error: Exception) -> None:
        """Go on with halves, or with another attempt, or without the run."""
        left = configs if self.pack is None else [member.config for member in self.pack.members]
        step = 0 if self.pack is None else self.pack.step
        for config in left:
            self._failures[config.run_id] += 1
            record = self._record(config, error, step)
        if isinstance(error, ReplayError):
            for config in left if error.final else ():
                self._report_failed(config, step, record)
            self._next([] if error.final else [left])  # from their beginning: FAILED.json says why
            return
        if len(left) > 1:
            self._next(_pieces(left, len(left) // 2))
            return
        self.unusable = "CUDA error" in str(error) and "out of memory" not in str(error)
        final = self.unusable or isinstance(error, ProcessDiedError)
        if not final and self._failures[left[0].run_id] <= self.max_failures:
            self._next([left])
            return
        self._report_failed(left[0], step, record)
        self._next([])

    def _report_failed(self, config: RunConfig, step: int, record: dict[str, object]) -> None:
        self._report([Progress(config.run_id, step, config.train.steps, 0.0, "failed", {})])
        self.lines[config.run_id]["error"] = record

    def _record(self, config: RunConfig, error: Exception, step: int) -> dict[str, object]:
        """Write FAILED.json; an attempt that goes on removes it."""
        run = RunDir(self.store, config.run_id)
        record = failure(error, last_lease(run)["attempt"], step)
        with contextlib.suppress(StorageError):
            run.write("FAILED.json", record)
        return record

    def _next(self, instead: list[list[RunConfig]]) -> None:
        self._queue[:1] = instead
        self.pack = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _report(self, progress: list[Progress]) -> None:
        for line in progress:
            unsaid = self.lines.get(line.run_id, {}).get("evaluations", [])
            evaluations = [*unsaid, *line.evaluations] if self.heard else []
            self.lines[line.run_id] = {**vars(line), "evaluations": evaluations}

    def _has_ended(self, config: RunConfig) -> bool:
        """Whether an attempt of this launch has ended the run; it is reported then."""
        try:
            done = RunDir(self.store, config.run_id).read("DONE.json")
        except DamagedError:
            return False
        if done is None or (done["step"] < config.train.steps and done["reason"] != "diverged"):
            return False
        self._report([Progress(config.run_id, done["step"], config.train.steps, 0.0, done["reason"], {})])
        return True


@functools.cache
def _leave_out_what_is_imported() -> None:
    """Have the collections after each pack pass over a million objects of libraries: .13 s, as long as a small run."""
    gc.collect()
    gc.freeze()


def _pieces(configs: list[RunConfig], size: int) -> list[list[RunConfig]]:
    size = max(1, size)
    return [configs[start : start + size] for start in range(0, len(configs), size)]
