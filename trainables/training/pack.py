"""The loop: a pack of runs, trained in chunks inside which nothing leaves the device.

Where siblings of all its members have a checkpoint that no evaluation lies before, it goes on from there (adoption.py).

Order of things at step s: commit rows before s and a checkpoint (when due), then evaluate, then update number s + 1.
The evaluation at s therefore belongs to the part that begins at s: an attempt that restores the checkpoint at s
repeats it and writes it once.
"""

from __future__ import annotations

import contextlib
import functools
import time
import traceback
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.events import Site
from grokstudy.trainables.models import build
from grokstudy.trainables.models.members import keep_members
from grokstudy.trainables.plugins import at_fault, told
from grokstudy.trainables.probes import PROBES, needs
from grokstudy.trainables.probes.base import Measurement, Scene
from grokstudy.trainables.probes.queries import Queries
from grokstudy.trainables.probes.splits import stack_splits
from grokstudy.trainables.probes.subject import Subject
from grokstudy.trainables.storage.retention import KEEP, Keep
from grokstudy.trainables.storage.run_dir import LeaseLostError, RunDir
from grokstudy.trainables.storage.siblings import NO_SIBLINGS, Siblings
from grokstudy.trainables.storage.store import StorageError, Store
from grokstudy.trainables.storage.writer import Writer
from grokstudy.trainables.tasks import TASKS
from grokstudy.trainables.tasks.graph import GraphData
from grokstudy.trainables.training.adoption import could_not_be_replayed
from grokstudy.trainables.training.batches import TrainingSet
from grokstudy.trainables.training.engine import CHUNK, STEP_METRICS, Engine, precision
from grokstudy.trainables.training.evaluate import Behaviour, evaluate, grouped
from grokstudy.trainables.training.member import Member, common_step
from grokstudy.trainables.training.stepper import Mode
from grokstudy.trainables.training.warm_start import beginning

INTERRUPTIONS = (LeaseLostError, StorageError, KeyboardInterrupt, SystemExit)
"""Errors after which a run can be resumed: the run itself did nothing wrong."""


@dataclass(frozen=True)
class Progress:
    """Where one member stands, for a heartbeat."""

    run_id: str
    step: int
    horizon: int
    steps_per_second: float
    outcome: str | None
    accuracy: dict[str, float]
    evaluations: list[tuple[int, list[tuple[Site, float | None]]]] = field(default_factory=list)
    """Since the last heartbeat: the step, and what was measured there."""


class Pack:
    """Runs of equal shape at the same step, trained as one model on a leading member axis."""

    def __init__(
        self, configs: list[RunConfig], store: Store, device: str = "auto", threads: int | None = None,
        engine: Mode = "auto", keep: Keep = KEEP, siblings: Mapping[str, Siblings] | None = None,
        executor: str | None = None,
    ) -> None:  # fmt: skip
        """Open every run, with its `siblings` by run_id. run.json says the `executor`, as what the worker is run by.

        Raises ValueError when they cannot train together, or not with this engine here.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        if len({config.shape() for config in configs}) != 1:
            raise ValueError("runs of different shape cannot train as one pack")
        self.device = chosen_device(device)
        self.config = configs[0]
        together = common_step(configs, store) if len(configs) > 1 else None
        if any(could_not_be_replayed(RunDir(store, config.run_id)) for config in configs):
            together, siblings = 0, None
        of = siblings or {}
        self.writer = Writer()
        self.members = [
            Member.open(
                config, store, self.writer, together, keep, engine, of.get(config.run_id, NO_SIBLINGS), executor
            )
            for config in configs
        ]
        self.all_members = list(self.members)
        self.step = self.members[0].start
        self.steps_per_second = 0.0
        self.stopping = False
        """Set from outside (a signal): `advance` returns at the next whole chunk."""
        self._evaluated: int | None = None
        data, seeds = [member.data for member in self.members], [config.seed for config in configs]
        self.task = TASKS[self.config.task]
        self.model = build(self.config.model, self.config.example)
        begun = [beginning(m.config, self.model, m.restored, store, self.device) for m in self.members]
        training = TrainingSet.of(configs, data, self.device)
        weights, states = [flat_P for flat_P, _ in begun], [state for _, state in begun]
        self.engine = Engine(self.model, configs, training, weights, states, self.device, engine)
        self.splits = stack_splits(data, self.device)
        self.groups = grouped(self.model, self.splits)
        looked_at, graphs = self.config.eval, [d for d in data if isinstance(d, GraphData)]
        self.queries: Queries | None = None
        if graphs and any(map(needs, looked_at.probes)):
            self.queries = Queries.build(graphs, seeds, looked_at.probe_examples, self.device, looked_at.probes)

    @property
    def finished(self) -> bool:
        """Whether every member has ended."""
        return not self.members

    def advance(self, seconds: float) -> list[Progress]:
        """Train for about this long, or until every member has ended; returns where each member stands."""
        start, first = time.monotonic(), self.step
        while self.members and not self.stopping and time.monotonic() - start < seconds:
            self._segment()
        self.steps_per_second = (self.step - first) / max(time.monotonic() - start, 1e-9)
        return self.progress()

    def progress(self) -> list[Progress]:
        """Where each member stands, ended ones included."""
        lines = [
            Progress(
                m.config.run_id, self.step if m.ended_at is None else m.ended_at, m.horizon,
                self.steps_per_second, m.outcome, dict(m.accuracy), m.evaluations,
            )
            for m in self.all_members
        ]  # fmt: skip
        for member in self.all_members:
            member.evaluations = []
        return lines

    def freeze(self, run_ids: Collection[str]) -> None:
        """End these members here, each with a checkpoint; the others train on."""
        frozen = [member for member in self.members if member.config.run_id in run_ids]
        for row, member in enumerate(self.members):
            if member in frozen:
                member.freeze(self.engine.checkpoint(row, self.step))
        self._drop(frozen)

    def checkpoint_now(self) -> None:
        """Commit all rows and a checkpoint at the present step (before a pause or a preemption)."""
        for row, member in enumerate(self.members if self._evaluated != self.step else []):
            if self.step > member.start:
                member.commit(self.engine.checkpoint(row, self.step))
        self.writer.flush()

    def _segment(self) -> None:
        """Evaluate if due, jump or train to the next stop, commit what is due there."""
        due = [member for member in self.members if self.step in member.eval_at]
        if due and self.step < min(member.horizon for member in self.members):
            self._evaluate(due)
        before, stop = self.step, self._next_stop()
        if stop > self.step and not self._jump():
            diverged = self._record(self.engine.train(self.step, stop))
            self.step = stop
            self._drop(diverged)
        self._arrive(before)

    def _next_stop(self) -> int:
        every = self.config.train.checkpoint_every
        stops = [self.step + CHUNK, (self.step // every + 1) * every]
        for member in self.members:
            stops += [member.horizon, member.next_due(self.step)]
        return min(stop for stop in stops if stop >= self.step)

    def _jump(self) -> bool:
        """Go on from the farthest state that siblings of all members have, before or at the next evaluation.

        Checkpoints that would be due in between are not written: siblings seldom keep those, and no row depends on it.
        """
        if not all(member.adoption.possible for member in self.members):
            return False
        limit = min(member.next_due(self.step) for member in self.members)
        common = set.intersection(*(member.adoption.steps(self.step, limit) for member in self.members))
        for to in sorted(common, reverse=True):
            jumps = []
            for member in self.members:
                if (jump := member.adoption.jump(self.step, to)) is None:
                    break
                jumps.append(jump)
            else:
                self.engine.restore([state for state, _ in jumps])
                for member, (_, rows_4K) in zip(self.members, jumps, strict=True):
                    member.adoption.jumped(rows_4K)
                    self._add_steps(member, rows_4K)
                self.step = to
                return True
        return False

    def _add_steps(self, member: Member, rows_4K: NDArray[np.float32]) -> None:
        metrics = dict(zip(STEP_METRICS, rows_4K, strict=True))
        member.recorder.add("steps", {"step": np.arange(self.step, self.step + rows_4K.shape[1]), **metrics})

    def _record(self, metrics_4KM: NDArray[np.float32]) -> list[Member]:
        """Add the rows of a chunk; returns the members whose numbers became non-finite."""
        diverged = []
        for row, member in enumerate(self.members):
            values = metrics_4KM[:, :, row]
            bad = np.flatnonzero(~np.isfinite(values).all(axis=0))
            count = int(bad[0]) if len(bad) else values.shape[1]
            if count:
                member.adoption.replayed(self.step, values[:, :count])
                self._add_steps(member, values[:, :count])
                member.updated = {("loss", "batch", None, None): float(values[0, count - 1]),
                                  ("weight_norm", "batch", None, None): float(values[2, count - 1])}  # fmt: skip
            if len(bad):
                member.finish(self.step + count, "diverged")
                diverged.append(member)
        return diverged

    def _arrive(self, before: int) -> None:
        """Commit checkpoints that are due since `before`, and end the members that reached their length."""
        ending = [member for member in self.members if member.horizon <= self.step]
        every = self.config.train.checkpoint_every
        for row, member in enumerate(self.members):
            due = self.step // every > before // every or member in ending
            if due and self.step > member.start:
                member.commit(self.engine.checkpoint(row, self.step))
        if ending:
            self._evaluate([member for member in self.members if member in ending or self.step in member.eval_at])
            for member in ending:
                member.finish(self.step, "finished")
            self._drop(ending)

    def _evaluate(self, due: list[Member]) -> None:
        """Evaluate and probe; rows are added for the members that are due."""
        if self._evaluated == self.step or not due:
            return
        self._evaluated = self.step
        with torch.no_grad(), precision(self.config, self.device):
            weights = self.engine.evaluated()
            freely = self.config.eval.generated, self.config.eval.temperature
            behaviours = evaluate(self.model, weights, self.splits, self.task, *freely, self.groups)
            measured = [*self._scores(behaviours), *self._measured(weights)]
            columns = [[x for b in behaviours for x in (b.accuracy_M, b.loss_M, b.margin_M)]]
            columns += [[m.value_M for m in measured], [m.n_M for m in measured]]
            numbers_MX = torch.stack([x.float() for column in columns for x in column], dim=1).cpu().numpy()
        for row, member in enumerate(self.members):
            if member in due:
                behaviour, value, n = np.split(numbers_MX[row], np.cumsum([len(column) for column in columns])[:-1])
                tables = {"evals": self._evals(member, behaviour.reshape(-1, 3))}
                if measured:
                    tables["probes"] = self._probes(measured, value, n)
                member.observe(tables, functools.partial(self.engine.checkpoint, row, self.step))

    def _scores(self, behaviours: list[Behaviour]) -> Iterator[Measurement]:
        """The task's own metrics: summaries of a split, like those of probes."""
        for behaviour in behaviours:
            split = self.splits[behaviour.split]
            for name, value_M in behaviour.scores.items():
                yield Measurement(name, behaviour.split, None, None, value_M, split.real_MS.sum(dim=1))

    def _measured(self, weights: dict[str, Tensor]) -> Iterator[Measurement]:
        """What the probes measure."""
        subject = Subject(self.model, weights, self.splits, self.config.eval.probe_examples)
        scene = self.queries and Scene(self.model, weights, self.queries, self.model.shape.range[1])
        for name in self.config.eval.probes:
            yield from PROBES[name](scene if needs(name) else subject)

    def _evals(self, member: Member, values: NDArray[np.float32]) -> dict[str, Any]:
        """Columns of the table `evals`; keeps the accuracies for the heartbeat."""
        accuracy, loss, margin = values.T
        splits = list(self.splits)
        member.accuracy = dict(zip(splits, accuracy.tolist(), strict=True))
        counts = [len(member.data.splits[name]) for name in splits]
        steps = np.full(len(splits), self.step)
        margin = [float(value) if np.isfinite(value) else None for value in margin]
        return {"step": steps, "split": splits, "n": counts, "accuracy": accuracy, "loss": loss, "margin": margin}

    def _probes(
        self, measured: list[Measurement], values: NDArray[np.float32], n: NDArray[np.float32]
    ) -> dict[str, Any]:
        """Columns of the table `probes`."""
        return {
            "step": np.full(len(measured), self.step), "probe": [m.probe for m in measured],
            "split": [m.split for m in measured], "layer": [m.layer for m in measured],
            "position": [m.position for m in measured],
            "value": [float(v) if np.isfinite(v) else None for v in values], "n": n.astype(np.int32),
        }  # fmt: skip

    def _drop(self, ended: list[Member]) -> None:
        """Train without the members that have ended."""
        if not ended:
            return
        kept = [row for row, member in enumerate(self.members) if member not in ended]
        self.members = [self.members[row] for row in kept]
        if not kept:
            return
        rows = torch.tensor(kept, device=self.device)
        self.engine.keep(rows)
        self.splits = {name: keep_members(split, rows) for name, split in self.splits.items()}
        self.groups = [keep_members(group, rows) for group in self.groups]
        self.queries = self.queries and keep_members(self.queries, rows)


class Failing(Protocol):
    """What trains, when that fails."""

    writer: Writer

    @property
    def members(self) -> list[Member]:
        """Runs that have not ended."""

    @property
    def step(self) -> int:
        """Updates that were made."""


@contextlib.contextmanager
def failures_recorded(pack: Failing) -> Iterator[None]:
    """Write FAILED.json with the traceback for every member that has not ended, and raise the error again.

    What was on its way to the disk before the error is written first: the next attempt resumes behind it.
    """
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(Exception):
            pack.writer.flush()
        if not isinstance(error, INTERRUPTIONS):
            with contextlib.suppress(OSError):
                for member in pack.members:
                    member.run.write("FAILED.json", failure(error, member.lease.attempt, pack.step))
        raise


def failure(error: BaseException, attempt: int, step: int) -> dict[str, object]:
    """Content of FAILED.json."""
    return {
        "error": f"{type(error).__name__}: {error}",
        "traceback": told(error) if at_fault(error) else "".join(traceback.format_exception(error)),
        "attempt": attempt,
        "step": step,
    }


def chosen_device(name: str) -> torch.device:
    """The device of a name; `auto` is the GPU where there is one."""
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(automatic if name == "auto" else name)
