"""The fixed evaluation splits of a pack on the device: what evaluation and probes look at.

Axes: M member, S example of a split, T place, A answer, x what a target or an input has behind its axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grokstudy.trainables.models.members import stacked
from grokstudy.trainables.tasks.base import NOTHING, Batch, Mechanism, Rows, TaskData


@dataclass(frozen=True)
class SplitBatch:
    """One split of every member, padded to the longest; S counts examples."""

    inputs_MSx: Tensor
    at_MSA: Tensor
    target_MSAx: Tensor
    real_MS: Tensor
    """False where padded."""
    weight_MSA: Tensor | None = None
    mechanism_MS: Mechanism = NOTHING
    """What probes look for."""

    @classmethod
    def stack(cls, members: Sequence[Rows], device: torch.device) -> SplitBatch:
        """Pad and stack one split of several members."""
        weights = [e.weight for e in members if e.weight is not None]
        return cls(
            stacked(e.inputs for e in members).to(device), stacked(e.at for e in members).to(device),
            stacked(e.target for e in members).to(device),
            stacked(torch.ones(len(e), dtype=torch.bool) for e in members).to(device),
            stacked(weights).to(device) if weights else None, _stacked([e.mechanism for e in members], device),
        )  # fmt: skip

    def mean(self, value_MS: Tensor) -> Tensor:
        """Mean over the real examples (M,)."""
        total_M = (value_MS.float() * self.real_MS).sum(dim=1)
        return total_M / self.real_MS.sum(dim=1)

    def batch(self) -> Batch:
        """The examples as they are scored."""
        return Batch(self.inputs_MSx, self.at_MSA, self.target_MSAx, self.weight_MSA, self.mechanism_MS)


def _stacked(members: Sequence[Mechanism], device: torch.device) -> Mechanism:
    """What is looked for in every member, padded to the longest."""
    columns = [
        {name: stacked(getattr(m, kind)[name] for m in members).to(device) for name in arrays}
        for kind, arrays in vars(members[0]).items()
    ]
    return Mechanism(*columns)


def stack_splits(data: Sequence[TaskData], device: torch.device) -> dict[str, SplitBatch]:
    """The splits of a pack."""
    return {name: SplitBatch.stack([d.splits[name] for d in data], device) for name in data[0].splits}
