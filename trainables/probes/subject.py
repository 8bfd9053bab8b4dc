"""A pack at one checkpoint and the splits of its task: what probes see that serve every task.

Axes: M member, S example of a split, T place, A answer, H head, x what inputs have behind their places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from grokstudy.trainables.models.network import Network
from grokstudy.trainables.probes.base import Measurement
from grokstudy.trainables.probes.splits import SplitBatch
from grokstudy.trainables.tasks.base import Batch


@dataclass(frozen=True)
class Sample:
    """Examples of one split."""

    split: str
    rows: Batch
    real_MS: Tensor
    """False where padded."""

    def row(
        self, name: str, value_MS: Tensor, used_MS: Tensor, layer: int | None = None, position: str | None = None
    ) -> Measurement:
        """The mean over the used examples (M,), NaN where there is none; at a site or as a summary."""
        used_MS = used_MS & self.real_MS
        n_M = used_MS.sum(dim=1)
        mean_M = torch.where(used_MS, value_MS.float(), 0.0).sum(dim=1) / n_M
        return Measurement(name, self.split, layer, position, mean_M, n_M)


@dataclass(frozen=True)
class Subject:
    """A model, its weights, and what to look at."""

    model: Network
    weights: dict[str, Tensor]
    splits: Mapping[str, SplitBatch]
    most: int
    """Largest number of examples per split that is looked at."""

    @property
    def samples(self) -> Iterator[Sample]:
        """The first examples of each split."""
        most = self.most
        for name, split in self.splits.items():
            rows = split.batch()
            weight_MSA = None if rows.weight_MBA is None else rows.weight_MBA[:, :most]
            cut = Batch(
                rows.inputs_MBx[:, :most], rows.at_MBA[:, :most], rows.target_MBAx[:, :most], weight_MSA,
                rows.mechanism.each(lambda x: x[:, :most]),
            )  # fmt: skip
            yield Sample(name, cut, split.real_MS[:, :most])

    def states(self, inputs_MSx: Tensor) -> list[Tensor]:
        """States (M, S, T, D) at every effective depth."""
        states: list[Tensor] = []

        def record(_: int, resid_MSTD: Tensor) -> Tensor:
            states.append(resid_MSTD)
            return resid_MSTD

        self.model.residual(self.weights, inputs_MSx, record)
        return states

    def said(self, logits_MxV: Tensor) -> Tensor:
        """The arg max over the task's candidates."""
        low, high = self.model.shape.range
        return logits_MxV[..., low:high].argmax(dim=-1) + low
