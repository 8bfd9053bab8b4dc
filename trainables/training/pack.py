"""The loop: a pack of runs, trained in chunks inside which nothing leaves the device.

Order of things at step s: commit rows before s and a checkpoint (when due), then evaluate, then update number s + 1.
The evaluation at s therefore belongs to the part that begins at s: an attempt that restores the checkpoint at s
repeats it and writes it once.
"""

from __future__ import annotations

import contextlib
import functools
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.models import build
from grokstudy.trainables.probes import PROBES
from grokstudy.trainables.probes.base import Scene
from grokstudy.trainables.probes.queries import Queries
from grokstudy.trainables.storage.retention import KEEP, Keep
from grokstudy.trainables.storage.run_dir import LeaseLostError
from grokstudy.trainables.storage.store import StorageError, Store
from grokstudy.trainables.storage.writer import Writer
from grokstudy.trainables.training.batches import TrainingSet
from grokstudy.trainables.training.engine import CHUNK, Engine, precision
from grokstudy.trainables.training.evaluate import evaluate, stack_splits
from grokstudy.trainables.training.member import Member, common_step
from grokstudy.trainables.training.stepper import Mode
from grokstudy.trainables.training.warm_start import starting_weights


@dataclass(frozen=True)
class Progress:
    """Where one member stands, for a heartbeat."""

    run_id: str
    step: int
    horizon: int
    steps_per_second: float
    outcome: str | None
    accuracy: dict[str, float]


class Pack:
    """Runs of equal shape at the same step, trained as one model on a leading member axis."""

    def __init__(
        self, configs: list[RunConfig], store: Store, device: str = "auto", threads: int | None = None,
        engine: Mode = "auto", keep: Keep = KEEP,
    ) -> None:  # fmt: skip
        """Open every run. Raises ValueError when they cannot train together, or not with this engine here."""
        if threads is not None:
            torch.set_num_threads(threads)
        if len({config.shape() for config in configs}) != 1:
            raise ValueError("runs of different shape cannot train as one pack")
        self.device = torch.device(_choose(device))
        self.config = configs[0]
        together = common_step(configs, store) if len(configs) > 1 else None
        self.writer = Writer()
        self.members = [Member.open(config, store, self.writer, together, keep, engine) for config in configs]
        self.all_members = list(self.members)
        self.step = self.members[0].start
        self.steps_per_second = 0.0
        self.stopping = False
        """Set from outside (a signal): `advance` returns at the next whole chunk."""
        self._evaluated: int | None = None
        self._build(engine)

    def _build(self, engine: Mode) -> None:
        data = [member.data for member in self.members]
        configs = [member.config for member in self.members]
        seeds = [config.seed for config in configs]
        self.model = build(self.config.model, data[0].vocabulary)
        training = TrainingSet([d.train for d in data], seeds, self.device)
        weights = [self._initial(member) for member in self.members]
        restored = [member.restored for member in self.members]
        self.engine = Engine(self.model, configs, training, weights, restored, self.device, engine)
        self.splits = stack_splits(data, self.device)
        self.queries = Queries.build(data, seeds, self.config.eval.probe_examples, self.device)

    def _initial(self, member: Member) -> Tensor:
        if member.restored is not None:
            return member.restored.flat_P
        if member.config.start is not None:
            return starting_weights(member.config, member.config.start, member.run.store, self.device)
        return self.model.initial(member.config.seed)

    @property
    def finished(self) -> bool:
        """Whether every member has ended."""
        return not self.members

    def advance(self, seconds: float) -> list[Progress]:
        """Train for about this long, or until every member has ended; returns where each member stands."""
        begun, first = time.monotonic(), self.step
        while self.members and not self.stopping and time.monotonic() - begun < seconds:
            self._segment()
        elapsed = max(time.monotonic() - begun, 1e-9)
        self.steps_per_second = (self.step - first) / elapsed
        return self.progress()

    def progress(self) -> list[Progress]:
        """Where each member stands, ended ones included."""
        return [
            Progress(
                m.config.run_id, self.step if m.ended_at is None else m.ended_at, m.horizon,
                self.steps_per_second, m.outcome, dict(m.accuracy),
            )
            for m in self.all_members
        ]  # fmt: skip

    def checkpoint_now(self) -> None:
        """Commit all rows and a checkpoint at the present step (before a pause or a preemption)."""
        for row, member in enumerate(self.members if self._evaluated != self.step else []):
            if self.step > member.start:
                member.commit(self.engine.checkpoint(row, self.step))
        self.writer.flush()

    def _segment(self) -> None:
        """Evaluate if due, train to the next stop, commit what is due there."""
        due = [member for member in self.members if self.step in member.eval_at]
        if due and self.step < min(member.horizon for member in self.members):
            self._evaluate(due)
        stop = self._next_stop()
        if stop > self.step:
            diverged = self._record(self.engine.train(self.step, stop))
            self.step = stop
            self._drop(diverged)
        self._arrive()

    def _next_stop(self) -> int:
        every = self.config.train.checkpoint_every
        stops = [self.step + CHUNK, (self.step // every + 1) * every]
        for member in self.members:
            stops += [member.horizon, min((s for s in member.eval_at if s > self.step), default=member.horizon)]
        return min(stop for stop in stops if stop >= self.step)

    def _record(self, metrics_4KM: NDArray[np.float32]) -> list[Member]:
        """Add the rows of a chunk; returns the members whose numbers became non-finite."""
        diverged = []
        for row, member in enumerate(self.members):
            values = metrics_4KM[:, :, row]
            bad = np.flatnonzero(~np.isfinite(values).all(axis=0))
            count = int(bad[0]) if len(bad) else values.shape[1]
            loss, grad_norm, weight_norm, lr = values[:, :count]
            if count:
                member.recorder.add(
                    "steps",
                    {
                        "step": np.arange(self.step, self.step + count),
                        "loss": loss, "grad_norm": grad_norm, "weight_norm": weight_norm, "lr": lr,
                    },
                )  # fmt: skip
            if len(bad):
                member.finish(self.step + count, "diverged")
                diverged.append(member)
        return diverged

    def _arrive(self) -> None:
        """Commit checkpoints that are due, and end the members that reached their length."""
        ending = [member for member in self.members if member.horizon <= self.step]
        for row, member in enumerate(self.members):
            due = self.step % self.config.train.checkpoint_every == 0 or member in ending
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
            entities = self.members[0].data.entities
            behaviours = evaluate(self.model, weights, self.splits, entities)
            scene = Scene(self.model, weights, self.queries, entities)
            measured = [m for name in self.config.eval.probes for m in PROBES[name](scene)]
            values_XM, n_XM = _gather([m.value_M for m in measured]), _gather([m.n_M for m in measured])
            behaviour_XM = _gather([x for b in behaviours for x in (b.accuracy_M, b.loss_M, b.margin_M)])
        for row, member in enumerate(self.members):
            if member in due:
                splits = [(b.split.name, b.split.n[row]) for b in behaviours]
                evals = self._evals(splits, behaviour_XM[:, row].reshape(-1, 3))
                sites = [(m.probe, m.split, m.layer, m.position) for m in measured]
                probed = {"probes": self._probes(sites, values_XM[:, row], n_XM[:, row])} if sites else {}
                member.accuracy = dict(zip(evals["split"], evals["accuracy"].tolist(), strict=True))
                member.observe({"evals": evals, **probed}, functools.partial(self.engine.checkpoint, row, self.step))

    def _evals(self, splits: list[tuple[str, int]], values: NDArray[np.float32]) -> dict[str, Any]:
        names, counts = zip(*splits, strict=True)
        steps = np.full(len(names), self.step)
        accuracy, loss, margin = values.T
        return {"step": steps, "split": names, "n": counts, "accuracy": accuracy, "loss": loss, "margin": margin}

    def _probes(
        self, sites: list[tuple[str, str, int | None, str | None]], values: NDArray[np.float32],
        n: NDArray[np.float32],
    ) -> dict[str, Any]:  # fmt: skip
        probe, split, layer, position = (list(column) for column in zip(*sites, strict=True))
        value = [float(v) if np.isfinite(v) else None for v in values]
        steps = np.full(len(sites), self.step)
        columns = {"step": steps, "probe": probe, "split": split, "layer": layer, "position": position}
        return {**columns, "value": value, "n": n.astype(np.int32)}

    def _drop(self, ended: list[Member]) -> None:
        """Go on without the members that have ended."""
        if not ended:
            return
        keep = [row for row, member in enumerate(self.members) if member not in ended]
        self.members = [self.members[row] for row in keep]
        if not keep:
            return
        rows = torch.tensor(keep, device=self.device)
        self.engine.keep(rows)
        self.splits = {name: split.keep(rows) for name, split in self.splits.items()}
        self.queries = self.queries.keep(rows)


def _gather(values_M: list[Tensor]) -> NDArray[np.float32]:
    """Bring many (M,) numbers to the host in one copy, as (X, M)."""
    if not values_M:
        return np.empty((0, 0), np.float32)
    return torch.stack(values_M).float().cpu().numpy()


@contextlib.contextmanager
def failures_recorded(pack: Pack) -> Iterator[None]:
    """Write FAILED.json with the traceback for every member that has not ended, then let the error go on.

    What was on its way to the disk before the error is written first: the next attempt goes on behind it.
    """
    try:
        with _all_written(pack):
            yield
    except (LeaseLostError, StorageError, KeyboardInterrupt, SystemExit):
        raise  # interrupted: the run itself did nothing wrong
    except BaseException as error:
        with contextlib.suppress(OSError):
            for member in pack.members:
                member.run.write("FAILED.json", failure(error, member.lease.attempt, pack.step))
        raise


@contextlib.contextmanager
def _all_written(pack: Pack) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):
            pack.writer.flush()
        raise


def failure(error: BaseException, attempt: int, step: int) -> dict[str, object]:
    """Content of FAILED.json."""
    return {
        "error": f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error)),
        "attempt": attempt,
        "step": step,
    }


def _choose(device: str) -> str:
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"
