"""A run that a training function from outside trains: `def train(config, run)`, in any library.

    @trainable(uses=("optim.lr", "train.batch"), prefix_stable=True)
    def train(config, run):
        model, optimiser = ...                       # from config, and the tensors of run.restored where there is one
        for step in run.steps(save, evaluate):       # the updates that are left
            batch = run.batch(step)                  # or examples of its own
            loss = ...
            run.log(step, loss=loss.item())

`save()` gives what a checkpoint has to hold, `evaluate(step)` calls `run.evaluate` for every split. Both are called
when they are due: the order of things at a step is that of the built-in loop (`pack.py`), so that a run that is
interrupted has every row once. A loop that is not ours to turn inside out (a Trainer with callbacks) calls
`run.checkpoint`, `run.evaluates` and `run.should_stop` itself, in this order, before each update.

The function runs in a thread of its own which takes turns with the worker's: never both. A worker so stays in charge of
its time, its signals and its ends, and a function needs to know nothing of them.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.functions import TRAINABLES
from grokstudy.trainables.measurements import measured
from grokstudy.trainables.plugins import word_of
from grokstudy.trainables.storage.checkpoint import Checkpoint
from grokstudy.trainables.storage.retention import KEEP, Keep
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.writer import Writer
from grokstudy.trainables.tasks.base import Batch, TaskData
from grokstudy.trainables.training.batches import TrainingSet
from grokstudy.trainables.training.member import Member
from grokstudy.trainables.training.pack import Progress, chosen_device

Save = Callable[[], Any]


class TrainingFunctionError(ValueError):
    """A training function that does not keep to what it was given: in words for whoever wrote it."""


class _End(BaseException):
    """Ends the function where it is, although it was told before that it should stop."""


class RunHandle:
    """What a training function is given of its run."""

    def __init__(self, member: Member, device: torch.device, pause: Callable[[], bool]) -> None:
        """At the step from which the run is resumed."""
        self.config: RunConfig = member.config
        self.data: TaskData = member.data
        """Stored training rows, if the task has them, and the fixed evaluation splits."""
        self.device = device
        """Where to train: what the worker was granted."""
        self.restored: Any = None if member.restored is None else member.restored.own
        """What `save` gave at step `step`; None at the beginning."""
        self.step = member.start
        """Updates that were made."""
        self._member, self._pause = member, pause
        self._evals: dict[str, dict[str, Any]] = {}
        self._measured: dict[tuple[Any, ...], tuple[float | None, int | None]] = {}
        self._kinds: frozenset[tuple[Any, ...]] | None = None
        self._save: tuple[int, Save] | None = None
        self._training: TrainingSet | None = None
        self._own = dict(member.config.trainable.columns) if member.config.trainable is not None else {}
        self._names = {name for kind in measured(str(member.config.function))[:2] for name in kind}

    @property
    def horizon(self) -> int:
        """Updates that were asked for."""
        return self._member.horizon

    def steps(self, save: Save, evaluate: Callable[[int], None] | None = None) -> Iterator[int]:
        """The numbers of the updates that are left, from 0 on; each is to be logged before the next is asked for."""
        for step in range(self.step, self.horizon):
            self._begin(step, save, evaluate)
            if self.should_stop:
                return
            yield step
            if self.step != step + 1:
                raise TrainingFunctionError(f"update {step} was not logged; call run.log({step}, loss=...) for it")
        self._begin(self.horizon, save, evaluate)

    def _begin(self, step: int, save: Save, evaluate: Callable[[int], None] | None) -> None:
        self.checkpoint(step, save)
        if evaluate is not None and self.evaluates(step):
            evaluate(step)

    def batch(self, step: int) -> Batch:
        """The `train.batch` examples of an update, with a first axis of one: those that the built-in loop would take.

        They follow from seed and step, so that nothing has to be kept to go on exactly.
        """
        if self._training is None:
            self._training = TrainingSet.of([self.config], [self.data], self.device)
        return self._training.batch(self._training.words(step, step + 1, self.config.train.batch)[0])

    @property
    def should_stop(self) -> bool:
        """Whether to return now. To be asked once before each update, where a worker may pause the function."""
        return self._pause()

    def log(
        self, step: int, loss: float, grad_norm: float | None = None, weight_norm: float | None = None,
        lr: float | None = None, **columns: float | int | str | None,
    ) -> None:  # fmt: skip
        """The row of update number `step`: loss of its batch, and columns of its own (`trainable(columns=...)`)."""
        self._must_be_next(step, "log")
        self._finish_evaluation()
        for name in columns:
            if name not in self._own:
                remedy = f"declare it in @trainable(columns={{{name!r}: float}}); declared: {_words(self._own)}"
                raise TrainingFunctionError(f"log: {name} is no column; {remedy}")
        if not math.isfinite(loss):
            self._member.finish(step, "diverged")
            raise _End
        values = {"loss": loss, "grad_norm": grad_norm, "weight_norm": weight_norm, "lr": lr, **columns}
        try:
            self._member.recorder.add("steps", {"step": [step], **{name: [value] for name, value in values.items()}})
        except (TypeError, ValueError, OverflowError) as error:
            raise TrainingFunctionError(f"log({step}): {error}; columns of its own: {self._own}") from error
        self._member.updated = {("loss", "batch", None, None): loss, ("weight_norm", "batch", None, None): weight_norm}
        self.step = step + 1

    def evaluates(self, step: int) -> bool:
        """Whether an evaluation is due after so many updates."""
        return step in self._member.eval_at

    def evaluate(
        self, step: int, split: str, accuracy: float, loss: float | None = None, margin: float | None = None,
        n: int | None = None,
    ) -> None:  # fmt: skip
        """What the model achieves on a split after so many updates: the share right, nats, logits, of n examples."""
        self._must_be_due(step, "evaluate")
        if split not in self.data.splits:
            raise TrainingFunctionError(f"evaluate: {split!r} is no split; there are {', '.join(self.data.splits)}")
        if not 0.0 <= accuracy <= 1.0:
            raise TrainingFunctionError(f"evaluate({step}, {split}): accuracy {accuracy} is no share between 0 and 1")
        count = len(self.data.splits[split]) if n is None else n
        self._evals[split] = {"n": count, "accuracy": accuracy, "loss": loss, "margin": margin}

    def measure(
        self, step: int, name: str, value: float | None, split: str, layer: int | None = None,
        position: str | None = None, n: int | None = None,
    ) -> None:  # fmt: skip
        """A measurement at an evaluation: what `trainable(measures=..., sites=...)` names; None where undefined."""
        self._must_be_due(step, "measure")
        if name not in self._names:
            known = f"@trainable(measures=...) declares {_words(self._names)}"
            raise TrainingFunctionError(f"measure: {name!r} is not declared; {known}")
        self._measured[name, split, layer, position] = value, n

    def checkpoint(self, step: int, save: Save) -> bool:
        """Have the state after so many updates kept when that is due: `save` is asked for it. Whether it was."""
        self._must_be_next(step, "checkpoint")
        self._save = step, save
        every = self.config.train.checkpoint_every
        due = step > self._member.start and (step % every == 0 or step == self.horizon)
        if due:
            self._member.commit(Checkpoint(step, own=save()))
        return due

    def state(self) -> Checkpoint | None:
        """The present state, where the function can be asked for it now, while it waits."""
        if self._save is None or self._save[0] != self.step:
            return None
        return Checkpoint(self.step, own=self._save[1]())

    def end(self) -> None:
        """After the function has returned of itself. Raises TrainingFunctionError where it left something out."""
        if self.step < self.horizon:
            raise TrainingFunctionError(f"it returned after {self.step:,} of {self.horizon:,} updates")
        self._finish_evaluation()
        self._member.finish(self.step, "finished")

    def _must_be_next(self, step: int, what: str) -> None:
        if step != self.step or (what == "log" and step >= self.horizon):
            raise TrainingFunctionError(f"{what}({step}): {self.step} of {self.horizon} updates were logged so far")

    def _must_be_due(self, step: int, what: str) -> None:
        self._must_be_next(step, what)
        if not self.evaluates(step):
            raise TrainingFunctionError(f"{what}({step}): no evaluation is due then; ask run.evaluates({step}) first")

    def _finish_evaluation(self) -> None:
        """Hand on what was measured at this step. Raises where a split or a measurement is missing."""
        if not self.evaluates(self.step):
            return
        missing = [split for split in self.data.splits if split not in self._evals]
        if missing:
            raise TrainingFunctionError(f"step {self.step}: run.evaluate was not called for {', '.join(missing)}")
        kinds = frozenset(self._measured)
        if self._kinds is not None and kinds != self._kinds:
            odd = min(str(key) for key in kinds ^ self._kinds)
            fault = f"{odd} is measured at some evaluations only; give None where it is not defined"
            raise TrainingFunctionError(f"step {self.step}: {fault}")
        self._kinds = kinds
        steps = [self.step] * len(self._evals)
        columns = {name: [row[name] for row in self._evals.values()] for name in ("n", "accuracy", "loss", "margin")}
        tables: dict[str, dict[str, Any]] = {"evals": {"step": steps, "split": [*self._evals], **columns}}
        if self._measured:
            probe, split, layer, position = map(list, zip(*self._measured, strict=True))
            value, n = map(list, zip(*self._measured.values(), strict=True))
            tables["probes"] = {"step": [self.step] * len(probe), "probe": probe, "split": split, "layer": layer,
                                "position": position, "value": value, "n": n}  # fmt: skip
        self._member.accuracy = {split: row["accuracy"] for split, row in self._evals.items()}
        self._member.observe(tables, self.state)
        self._evals, self._measured = {}, {}


def _words(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "none"


class FunctionPack:
    """A run of a training function, for a worker: like a pack of one (`pack.Pack`)."""

    def __init__(
        self, config: RunConfig, store: Store, device: str = "auto", threads: int | None = None, keep: Keep = KEEP,
        executor: str | None = None,
    ) -> None:  # fmt: skip
        """Open the run. Raises ValueError as `Member.open`."""
        if threads is not None:
            torch.set_num_threads(threads)
        self.config = config
        self.writer = Writer()
        self.member = Member.open(config, store, self.writer, keep=keep, executor=executor)
        self.stopping = False
        """Set from outside (a signal): `advance` returns before the next update."""
        self.steps_per_second = 0.0
        self.run = RunHandle(self.member, chosen_device(device), self._pause)
        self._until = 0.0
        self._ending = False
        self._error: BaseException | None = None
        self._over = False
        self._to_function, self._to_worker = threading.Semaphore(0), threading.Semaphore(0)
        self._thread: threading.Thread | None = None

    @property
    def members(self) -> list[Member]:
        """The run, while it trains."""
        return [] if self.finished else [self.member]

    @property
    def step(self) -> int:
        """Updates that were made."""
        return self.run.step

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return self.member.outcome is not None

    def advance(self, seconds: float) -> list[Progress]:
        """Let the function train for about this long, or until it ends; raises what it raised."""
        start, first = time.monotonic(), self.step
        if not self.finished and not self.stopping:
            self._until = start + seconds
            self._switch()
        self.steps_per_second = (self.step - first) / max(time.monotonic() - start, 1e-9)
        return self.progress()

    def progress(self) -> list[Progress]:
        """Where the run stands, for a heartbeat."""
        m = self.member
        step = self.step if m.ended_at is None else m.ended_at
        line = Progress(
            self.config.run_id, step, m.horizon, self.steps_per_second, m.outcome, dict(m.accuracy), m.evaluations
        )
        m.evaluations = []
        return [line]

    def freeze(self, run_ids: Collection[str]) -> None:
        """End the run here, with a checkpoint where the function can be asked for one now."""
        if self.config.run_id not in run_ids or self.finished:
            return
        self.checkpoint_now()
        self.member.outcome, self.member.ended_at = "frozen", self.step
        self._ending = True
        if self._thread is not None:
            self._switch()

    def checkpoint_now(self) -> None:
        """Commit all rows and a checkpoint at the present step (before a pause or a preemption)."""
        state = None if self._thread is None or self._over else self.run.state()
        if state is not None and state.step > self.member.start:
            self.member.commit(state)
        self.writer.flush()

    def _switch(self) -> None:
        """Let the function have its turn."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._train, name=word_of(str(self.config.function)), daemon=True)
            self._thread.start()
        self._to_function.release()
        self._to_worker.acquire()
        if self._error is not None:
            raise self._error
        if self._over and not self.finished:
            self.run.end()

    def _train(self) -> None:
        self._to_function.acquire()
        try:
            TRAINABLES[str(self.config.function)](self.config, self.run)
        except _End:
            pass
        except BaseException as error:
            self._error = error
        self._over = True
        self._to_worker.release()

    def _pause(self) -> bool:
        """In the function's thread: give the worker its turn when that is due; whether to end after it."""
        if self._ending:
            raise _End
        if self.stopping or time.monotonic() >= self._until:
            self._to_worker.release()
            self._to_function.acquire()
        return self._ending
