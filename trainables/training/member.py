"""One run inside a pack: its directory, lease, rows, and how it ends."""

from __future__ import annotations

import contextlib
import functools
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from grokstudy.trainables.config import NUMERICS, RunConfig, eval_steps
from grokstudy.trainables.events import Site
from grokstudy.trainables.storage import checkpoint, records
from grokstudy.trainables.storage.retention import KEEP, Keep, Watch, values_by_step
from grokstudy.trainables.storage.run_dir import Lease, RunDir
from grokstudy.trainables.storage.siblings import NO_SIBLINGS, Siblings
from grokstudy.trainables.storage.store import DamagedError, Store
from grokstudy.trainables.storage.writer import Writer
from grokstudy.trainables.tasks import TASKS
from grokstudy.trainables.tasks.base import TaskData
from grokstudy.trainables.training.adoption import Adoption
from grokstudy.trainables.training.stepper import Mode
from grokstudy.trainables.training.warm_start import check_start
from grokstudy.trainables.versions import git_commit, installed


@dataclass
class Member:
    """A run that this process has the lease of."""

    config: RunConfig
    run: RunDir
    lease: Lease
    data: TaskData
    restored: checkpoint.Checkpoint | None
    torn: list[str]
    recorder: records.Recorder
    eval_at: set[int]
    keep: Keep
    watch: Watch
    writer: Writer
    adoption: Adoption
    executor: str | None = None
    """Who runs the worker (ray, local), for run.json; None for one that nobody does."""
    engine: Mode = "auto"
    """How steps are to be carried out; said in run.json, since compiled ones round differently."""
    outcome: str | None = None
    """Why it ended (finished, diverged, frozen), None while it trains."""
    ended_at: int | None = None
    accuracy: dict[str, float] = field(default_factory=dict)
    """Newest accuracy per split."""
    updated: dict[Site, float | None] = field(default_factory=dict)
    """Training loss and weight norm of the newest update, under the split `batch`."""
    evaluations: list[tuple[int, list[tuple[Site, float | None]]]] = field(default_factory=list)
    """What was measured since somebody last asked, as summaries: for the schedulers that stop runs."""
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def open(
        cls, config: RunConfig, store: Store, writer: Writer, at_most: int | None = None, keep: Keep = KEEP,
        engine: Mode = "auto", siblings: Siblings = NO_SIBLINGS, executor: str | None = None,
    ) -> Member:  # fmt: skip
        """Take the lease, restore the newest valid checkpoint (not beyond `at_most`) and clear what lies behind it.

        What the run writes later goes through `writer`. What `siblings` have trained already, it takes over.
        Raises ValueError when the data cannot be built as configured, or the run that it starts from is not there.
        """
        run = RunDir(store, config.run_id)
        if not checkpoint.steps(run):
            check_start(config, store)
        data = TASKS[config.task].build(config.data, config.seed, config.eval.max_examples)
        lease = Lease.take(run, max(checkpoint.steps(run), default=0))
        last = config.train.steps if at_most is None else min(at_most, config.train.steps)
        restored, torn = restorable(run, config, last)
        start = 0 if restored is None else restored.step
        run.clear("FAILED.json")
        run.clear("DONE.json")
        checkpoint.drop_after(run, start)
        records.rewind(run, start)
        grid = set(eval_steps(config.eval, config.train.steps))
        watch = Watch.of(keep.events, run)
        recorder = records.Recorder(lease, start, writer, config.trainable)
        adoption = Adoption(run, siblings, start)
        member = cls(
            config, run, lease, data, restored, torn, recorder, grid, keep, watch, writer, adoption, executor, engine
        )
        run.write("run.json", member.description())
        return member

    @property
    def start(self) -> int:
        """The step from which this attempt resumes."""
        return 0 if self.restored is None else self.restored.step

    @property
    def horizon(self) -> int:
        """Number of steps asked for."""
        return self.config.train.steps

    def description(self) -> dict[str, Any]:
        """Content of run.json: what the run is, on which data, with which versions."""
        return {
            "run_id": self.config.run_id,
            "config": self.config.to_dict(),
            "numerics": NUMERICS,
            "engine": self.engine,
            "data_hash": self.data.hash,
            "data": self.data.sizes,
            "versions": installed("torch", "numpy", "pyarrow"),
            "commit": git_commit(),
            "host": platform.node(),
            **({"executor": self.executor} if self.executor else {}),
            "started": self._started(),
        }

    def _started(self) -> float:
        """When the first attempt started, in seconds since 1970; of a run.json that is damaged, now."""
        with contextlib.suppress(DamagedError):
            started = (self.run.read("run.json") or {}).get("started")
            if isinstance(started, float):
                return started
        return round(time.time(), 3)

    def next_due(self, step: int) -> int:
        """The first step after this one at which it is evaluated, its last included."""
        return min((s for s in self.eval_at if s > step), default=self.horizon)

    def commit(self, state: checkpoint.Checkpoint) -> None:
        """Have all rows before the checkpoint's step committed, then the checkpoint."""
        self.recorder.cut(state.step)
        self._save(state, "step")

    def _save(self, state: checkpoint.Checkpoint, kind: str) -> None:
        copy, keep = state.copied(), self.keep
        self.writer.later(lambda: checkpoint.save(self.lease, copy, keep.budget, kind, keep.every), copy.nbytes)

    def observe(
        self, tables: Mapping[str, Mapping[str, Any]], state: Callable[[], checkpoint.Checkpoint | None]
    ) -> None:
        """Take in the rows of an evaluation, by column; keep the present state where an event begins, if it has one."""
        for step, values in values_by_step(tables).items():
            summaries = {site: value for site, value in values.items() if site[2:] == (None, None)}
            self.evaluations.append((step, list({**summaries, **self.updated}.items())))
            starts, broken = self.watch.look(step, values)
            if broken:
                self.writer.later(functools.partial(checkpoint.forget, self.run, broken), 0)
            if starts and step > 0 and (present := state()) is not None:
                self.recorder.cut(step)
                self._save(present, "event")
        for table, columns in tables.items():
            self.recorder.add(table, columns)

    def freeze(self, state: checkpoint.Checkpoint) -> None:
        """End before its length, with a checkpoint and no marker: whoever decided that says why."""
        self.commit(state)
        self.writer.flush()
        self.outcome, self.ended_at = "frozen", state.step

    def finish(self, step: int, outcome: str) -> None:
        """Commit the last rows and mark the run done, the marker last. Returns when all of it is written."""
        self.recorder.cut(step + 1)
        self.writer.later(functools.partial(self._mark_done, step, outcome), 0)
        self.writer.flush()
        self.outcome, self.ended_at = outcome, step

    def _mark_done(self, step: int, outcome: str) -> None:
        self.lease.check()
        marker = {
            "step": step, "reason": outcome, "attempt": self.lease.attempt, "from_step": self.start,
            "seconds": round(time.monotonic() - self.started, 3), "ended": round(time.time(), 3),
            "torn_checkpoints": self.torn,
        }  # fmt: skip
        self.run.write("DONE.json", marker)


def restorable(run: RunDir, config: RunConfig, at_most: int) -> tuple[checkpoint.Checkpoint | None, list[str]]:
    """The newest valid checkpoint before which every table is complete, and the names of torn ones passed over."""
    newest, torn = checkpoint.newest(run, at_most)
    if newest is not None and (intact := records.intact_until(run, config, newest.step)) < newest.step:
        newest, earlier_torn = checkpoint.newest(run, intact)
        torn += earlier_torn
    return newest, torn


def common_step(configs: list[RunConfig], store: Store) -> int:
    """The newest step from which all these runs can resume: that of a valid checkpoint of each, or 0."""
    limit = min(config.train.steps for config in configs)
    while True:
        restored = [restorable(RunDir(store, config.run_id), config, limit)[0] for config in configs]
        steps = {0 if state is None else state.step for state in restored}
        if len(steps) == 1:
            return steps.pop()
        limit = min(steps)
