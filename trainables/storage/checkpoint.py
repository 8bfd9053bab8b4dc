"""Checkpoints of one run: weights and moments of one member, the same file whether it trained alone or packed.

Owns `runs/<run_id>/checkpoints/step-<step>-<sha256, 16 digits>.pt`: a torch archive of tensors and numbers, read
with `weights_only=True`. The name carries the checksum, so one atomic rename makes a file valid, and a torn or
changed one is recognised, named and passed over. `event-<step>-...` is the same, kept because an event began there
(`retention.py`): only the byte budget drops it. A training function from outside says itself what its state is.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grokstudy.trainables.storage.run_dir import CHECKPOINT, Lease, RunDir

_FIELDS = ("flat_P", "mean_P", "square_P", "average_P")


_NONE = torch.empty(0)


@dataclass(frozen=True)
class Checkpoint:
    """State after `step` updates: flat parameters, the two moments of AdamW and, with `train.ema`, the average.

    That of a training function from outside is `own` instead: what its `save` gave, which it is given back.
    """

    step: int
    flat_P: Tensor = _NONE
    mean_P: Tensor = _NONE
    square_P: Tensor = _NONE
    average_P: Tensor | None = None
    own: Any = None
    """Tensors, numbers, words and None, in mappings, lists and tuples."""

    @property
    def tensors(self) -> dict[str, Any]:
        """What there is of it, by name."""
        if self.own is not None:
            return {"own": self.own}
        return {name: getattr(self, name) for name in _FIELDS if getattr(self, name) is not None}

    @property
    def nbytes(self) -> int:
        """Of its tensors."""
        return _nbytes(self.tensors)

    def copied(self) -> Checkpoint:
        """A copy on the host, which does not change while training continues.

        Raises TypeError, naming the place, for what could not be read back.
        """
        return Checkpoint(self.step, **{name: _copied(x, "save()") for name, x in self.tensors.items()})


def _copied(state: Any, place: str) -> Any:
    if isinstance(state, Tensor):
        return state.detach().cpu().clone()
    if isinstance(state, Mapping):
        return {_copied(key, f"a key of {place}"): _copied(x, f"{place}[{key!r}]") for key, x in state.items()}
    if isinstance(state, list | tuple):
        return type(state)([_copied(x, f"{place}[{number}]") for number, x in enumerate(state)])
    if state is None or type(state) in (bool, int, float, str):
        return state
    kinds = "tensors, numbers, words and None, in mappings, lists and tuples"
    raise TypeError(f"{place} is {type(state).__name__}; a checkpoint holds {kinds}")


def _nbytes(state: Any) -> int:
    if isinstance(state, Mapping):
        return sum(map(_nbytes, state.values()))
    if isinstance(state, list | tuple):
        return sum(map(_nbytes, state))
    return state.nbytes if isinstance(state, Tensor) else 0


def save(
    lease: Lease, checkpoint: Checkpoint, budget: int | None = None, kind: str = "step", every: bool = False
) -> None:
    """Write a checkpoint, then drop those that nothing wants any more (`surplus`). Checks the lease first."""
    buffer = io.BytesIO()
    torch.save({"step": checkpoint.step, **checkpoint.copied().tensors}, buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()[:16]
    lease.check()
    run = lease.run
    run.store.write(f"{run.checkpoints}/{kind}-{checkpoint.step:09d}-{digest}.pt", content)
    for name in surplus({name: len(content) for _, name in _names(run)}, budget, every):
        run.store.delete(name)


def newest(run: RunDir, at_most: int | None = None) -> tuple[Checkpoint | None, list[str]]:
    """The newest valid checkpoint (not beyond step `at_most`), and the names of torn ones that were passed over."""
    torn: list[str] = []
    for step, name in reversed(_names(run)):
        if at_most is not None and step > at_most:
            continue
        checkpoint = load(run, name)
        if checkpoint is not None:
            return checkpoint, torn
        torn.append(name)
        warnings.warn(f"{run.store.path(name)}: torn checkpoint passed over", stacklevel=2)
    return None, torn


def drop_after(run: RunDir, step: int) -> None:
    """Remove checkpoints beyond `step`: an attempt that resumes there writes them again."""
    for later, name in _names(run):
        if later > step:
            run.store.delete(name)


def forget(run: RunDir, steps: set[int]) -> None:
    """Remove the checkpoints that were kept because an event seemed to begin at these steps."""
    for step, name in _names(run) if steps else ():
        if step in steps and "/event-" in name:
            run.store.delete(name)


def steps(run: RunDir) -> list[int]:
    """Steps of which there is a checkpoint file, ascending."""
    return [step for step, _ in _names(run)]


def surplus(sizes: Mapping[str, int], budget: int | None = None, every: bool = False) -> list[str]:
    """Which of these files to drop: what is not `kept`, and while the rest exceeds the budget, the oldest of it.

    `sizes` is bytes by name. With `every`, what is not `kept` is dropped for the budget alone, before all else. The
    budget takes log-spaced ones next, then those of events, and never the newest two.
    """
    parsed = sorted((match[1], int(match[2]), name) for name in sizes if (match := CHECKPOINT.search(name)))
    regular = {step: name for kind, step, name in parsed if kind == "step"}
    events = [name for kind, _, name in parsed if kind == "event"]
    kept_steps = sorted(kept(list(regular)))
    others = [name for step, name in regular.items() if step not in kept_steps]
    dropped = [] if every else others
    spare = [*(others if every else []), *(regular[step] for step in kept_steps[:-2]), *events]
    left = sum(sizes.values()) - sum(sizes[name] for name in dropped)
    while spare and budget is not None and left > budget:
        left -= sizes[spare[0]]
        dropped.append(spare.pop(0))
    return dropped


def kept(available: list[int]) -> set[int]:
    """Which steps to keep: the newest two, and the first of each quarter of a decade."""
    first_of_bucket: dict[int, int] = {}
    for step in sorted(available):
        first_of_bucket.setdefault(math.floor(4 * math.log10(max(step, 1))), step)
    return {*first_of_bucket.values(), *sorted(available)[-2:]}


def _names(run: RunDir) -> list[tuple[int, str]]:
    names = run.store.list(run.checkpoints)
    return sorted((int(match[2]), name) for name in names if (match := CHECKPOINT.search(name)))


def named(run: RunDir) -> dict[int, str]:
    """The files by step, ascending; of two of one step either, as both hold the same."""
    return dict(_names(run))


def load(run: RunDir, name: str) -> Checkpoint | None:
    """What a file holds; None when it is torn. Raises FileNotFoundError."""
    content = run.store.read(name)
    match = CHECKPOINT.search(name)
    if match is None or hashlib.sha256(content).hexdigest()[:16] != match[3]:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):
            state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        return Checkpoint(int(state.pop("step")), **state)
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, ValueError, EOFError):
        return None  # whole, but not one of ours
