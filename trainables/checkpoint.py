"""Checkpoints of one run: weights and moments of one member, the same file whether it trained alone or packed.

Owns `runs/<run_id>/checkpoints/step-<step>-<sha256, 16 digits>.pt`: a torch archive of tensors and numbers, read
with `weights_only=True`. The name carries the checksum, so one atomic rename makes a file valid, and a torn or
changed one is recognised, named and passed over.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import re
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.rundir import Lease, RunDir

_NAME = re.compile(r"step-(\d{9})-([0-9a-f]{16})\.pt$")
_FIELDS = ("flat_P", "mean_P", "square_P", "average_P")


@dataclass(frozen=True)
class Checkpoint:
    """State after `step` updates: flat parameters, the two moments of AdamW and, with `train.ema`, the average."""

    step: int
    flat_P: Tensor
    mean_P: Tensor
    square_P: Tensor
    average_P: Tensor | None = None


def save(lease: Lease, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, then drop those that the keeping rule no longer wants. Checks the lease first."""
    buffer = io.BytesIO()
    tensors = {name: getattr(checkpoint, name) for name in _FIELDS if getattr(checkpoint, name) is not None}
    torch.save({"step": checkpoint.step, **{k: v.detach().cpu().clone() for k, v in tensors.items()}}, buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()[:16]
    lease.check()
    run = lease.run
    run.store.write(f"{run.checkpoints}/step-{checkpoint.step:09d}-{digest}.pt", content)
    _prune(run)


def newest(run: RunDir, at_most: int | None = None) -> tuple[Checkpoint | None, list[str]]:
    """The newest valid checkpoint (not beyond step `at_most`), and the names of torn ones that were passed over."""
    torn: list[str] = []
    for step, name in reversed(_names(run)):
        if at_most is not None and step > at_most:
            continue
        checkpoint = _load(run, name)
        if checkpoint is not None:
            return checkpoint, torn
        torn.append(name)
        warnings.warn(f"{run.store.path(name)}: torn checkpoint passed over", stacklevel=2)
    return None, torn


def drop_after(run: RunDir, step: int) -> None:
    """Remove checkpoints beyond `step`: an attempt that goes on from there writes them again."""
    for later, name in _names(run):
        if later > step:
            run.store.delete(name)


def steps(run: RunDir) -> list[int]:
    """Steps of which there is a checkpoint file, ascending."""
    return [step for step, _ in _names(run)]


def kept(available: list[int]) -> set[int]:
    """Which steps to keep: the newest two, and the first of each quarter of a decade."""
    first_of_bucket: dict[int, int] = {}
    for step in sorted(available):
        first_of_bucket.setdefault(math.floor(4 * math.log10(max(step, 1))), step)
    return {*first_of_bucket.values(), *sorted(available)[-2:]}


def _names(run: RunDir) -> list[tuple[int, str]]:
    found = ((name, _NAME.search(name)) for name in run.store.list(run.checkpoints))
    return sorted((int(match[1]), name) for name, match in found if match)


def _load(run: RunDir, name: str) -> Checkpoint | None:
    content = run.store.read(name)
    match = _NAME.search(name)
    if match is None or hashlib.sha256(content).hexdigest()[:16] != match[2]:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):
            state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        return Checkpoint(int(state.pop("step")), **state)
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, ValueError, EOFError):
        return None  # whole, but not one of ours


def _prune(run: RunDir) -> None:
    names = _names(run)
    wanted = kept([step for step, _ in names])
    for step, name in names:
        if step not in wanted:
            run.store.delete(name)
