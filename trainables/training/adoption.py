"""Training that other runs of the root have done already, taken over by a run that measures something else.

A sibling has the same weights at every step (`training_id`) and other measurements. Where one has a checkpoint, a run
jumps to it and takes the rows of `steps` before it; where none has, steps are replayed, and their rows must be those of
the sibling, to the bit: else device, pack, engine or libraries differ, and the two are not mixed.

A sibling is only read, without its lease. It may be trained, merged or removed meanwhile: what cannot be read, or is
torn, is trained instead.

Axes: K step, 4 the metrics of a step (STEP_METRICS).
"""

from __future__ import annotations

import bisect
import contextlib
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from grokstudy.trainables.storage import checkpoint, records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.siblings import Siblings
from grokstudy.trainables.storage.store import DamagedError
from grokstudy.trainables.training.engine import STEP_METRICS

Rows = NDArray[np.float32]
"""Metrics of consecutive steps (4, K)."""


class ReplayError(RuntimeError):
    """Replayed steps are not those of the sibling."""

    def __init__(self, message: str, final: bool) -> None:
        """Final where the run is to be measured only; else the next attempt trains it from its beginning."""
        super().__init__(message)
        self.final = final


def could_not_be_replayed(run: RunDir) -> bool:
    """Whether the last attempt of a run ended so. What it took over is then not gone on with."""
    try:
        failed = run.read("FAILED.json")
    except DamagedError:
        return False
    return failed is not None and str(failed["error"]).startswith(f"{ReplayError.__name__}:")


class _Part(NamedTuple):
    """Rows of `steps`."""

    step_K: NDArray[np.int64]
    metrics_4K: Rows

    def between(self, start: int, stop: int) -> _Part:
        """Those of the updates start .. stop - 1."""
        first, end = np.searchsorted(self.step_K, (start, stop))
        return _Part(self.step_K[first:end], self.metrics_4K[:, first:end])


class Sibling:
    """What another run has of the same training."""

    def __init__(self, run: RunDir) -> None:
        """List its checkpoints, once: what is written later is not waited for."""
        self.run = run
        self._names = checkpoint.named(run)
        self._steps = list(self._names)
        self._starts: list[int] | None = None
        self._part: tuple[int, _Part | None] = (-1, None)

    def steps(self, step: int, limit: int) -> list[int]:
        """Steps of its checkpoints after one and up to another."""
        return self._steps[bisect.bisect_right(self._steps, step) : bisect.bisect_right(self._steps, limit)]

    def state(self, step: int) -> checkpoint.Checkpoint | None:
        """Its checkpoint; one that has gone or is torn is not asked for again."""
        state = None
        with contextlib.suppress(FileNotFoundError):
            state = checkpoint.load(self.run, self._names[step])
        if state is None:
            self._steps.remove(step)
            warnings.warn(f"{self.run.store.path(self._names[step])}: gone or torn, passed over", stacklevel=2)
        return state

    def rows(self, start: int, stop: int) -> Rows | None:
        """Rows of the updates start .. stop - 1; None unless each is there once, in order."""
        if self._starts is None:
            self._starts = records.part_starts(self.run, "steps")
        at = bisect.bisect_right(self._starts, start) - 1
        holding = self._starts[max(at, 0) : bisect.bisect_left(self._starts, stop)]
        pieces = [part.between(start, stop) for first in holding if (part := self._read(first)) is not None]
        step_K = np.concatenate([piece.step_K for piece in pieces]) if pieces else np.empty(0)
        whole = np.array_equal(step_K, np.arange(start, stop))
        return np.concatenate([piece.metrics_4K for piece in pieces], axis=1) if whole else None

    def _read(self, first: int) -> _Part | None:
        """A part, kept until another one is asked for. One that has gone was merged, or its run removed."""
        if self._part[0] != first:
            part = None
            try:
                rows = records.read_part(self.run, "steps", first)
                part = _Part(rows["step"].to_numpy(), np.stack([rows[name].to_numpy() for name in STEP_METRICS]))
            except FileNotFoundError:
                self._starts = None
                return None
            except DamagedError as error:
                warnings.warn(f"{error}; its steps are trained", stacklevel=2)
            self._part = (first, part)
        return self._part[1]


class Adoption:
    """One run that follows its siblings, as long as they have what it would train."""

    def __init__(self, run: RunDir, siblings: Siblings, start: int) -> None:
        """Begin at step `start`, after the run's own rows were cut there."""
        self.only_measure = siblings.only_measure
        self._siblings = [Sibling(RunDir(run.store, run_id)) for run_id in siblings.run_ids]
        self._last_41: Rows | None = None
        if self._siblings and start > 0:
            self._last_41 = Sibling(run).rows(start - 1, start)
        self._adopted = start > 0 and bool(self._followed(start))

    @property
    def possible(self) -> bool:
        """Whether there are siblings left."""
        return bool(self._siblings)

    def steps(self, step: int, limit: int) -> set[int]:
        """Where it can jump to from `step`, `limit` included."""
        return {to for sibling in self._siblings for to in sibling.steps(step, limit)}

    def jump(self, step: int, to: int) -> tuple[checkpoint.Checkpoint, Rows] | None:
        """The state at `to` and the rows before it, of a sibling that is followed at `step`; None where none has both.

        Takes nothing over yet: in a pack all members jump, or none.
        """
        for sibling in self._followed(step):
            has_state = to in sibling.steps(step, to)
            rows_4K = sibling.rows(step, to) if has_state else None
            state = sibling.state(to) if rows_4K is not None else None
            if rows_4K is not None and state is not None:
                return state, rows_4K
        return None

    def jumped(self, rows_4K: Rows) -> None:
        """The run has taken these rows over."""
        self._adopted, self._last_41 = True, rows_4K[:, -1:]

    def replayed(self, step: int, rows_4K: Rows) -> None:
        """The run has trained these rows, from `step`. Raises ReplayError when it followed siblings, and they differ.

        A run that has taken nothing over is trained on alone then, unless it is to be measured only.
        """
        stop = step + rows_4K.shape[1]
        known = [(s, other_4K) for s in self._followed(step) if (other_4K := s.rows(step, stop)) is not None]
        differing = [(s, other_4K) for s, other_4K in known if not np.array_equal(other_4K, rows_4K)]
        self._last_41 = rows_4K[:, -1:]
        for sibling, _ in differing:
            self._siblings.remove(sibling)
        if not differing or len(differing) < len(known):
            return
        sibling, other_4K = differing[0]
        at, folder = (
            step + int(np.argmax((other_4K != rows_4K).any(axis=0))),
            sibling.run.store.path(sibling.run.folder),
        )
        message = (
            f"step {at}, replayed, has other numbers than in {folder}, whose training is the same: "
            "that one was trained on another device, in another pack, or by another engine or torch"
        )
        if self._adopted or self.only_measure:
            remedy = "grokstudy run --retry-failed trains this run from its beginning"
            raise ReplayError(f"{message}; {remedy}", self.only_measure)
        warnings.warn(f"{message}; this run is trained without it", stacklevel=2)

    def _followed(self, step: int) -> list[Sibling]:
        """The siblings whose last row is that of the run, all at the first step. Where it differs, one is dropped."""
        if step == 0 or self._last_41 is None:
            return [] if step else self._siblings
        rows = [(sibling, sibling.rows(step - 1, step)) for sibling in self._siblings]
        same = [s for s, other_41 in rows if other_41 is not None and np.array_equal(other_41, self._last_41)]
        self._siblings = [s for s, other_41 in rows if other_41 is None or s in same]
        return same
