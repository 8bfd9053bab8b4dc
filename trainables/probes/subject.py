"""A pack at one checkpoint and the splits of its task: what probes see that serve every task.

Axes: M member, S example of a split, T place, A answer, H head, x what inputs have behind their places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grokstudy.trainables.models.network import Network
from grokstudy.trainables.probes.base import Measurement, states_of
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


def with_best(measurements: Sequence[Measurement], among: Sequence[Measurement]) -> Iterator[Measurement]:
    """What was measured at sites, and as a summary the largest among some of it."""
    yield from measurements
    best_M = torch.stack([m.value_M for m in among]).amax(dim=0)
    yield Measurement(measurements[0].probe, measurements[0].split, None, None, best_M, measurements[0].n_M)


def inside(by_depth: Sequence[Measurement]) -> Sequence[Measurement]:
    """Those strictly inside the model, of measurements at every depth from the inputs on; of one block, its input."""
    return by_depth[1:-1] or by_depth[:-1]


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
        for name, split in self.splits.items():
            yield Sample(name, split.batch().first(self.most), split.real_MS[:, : self.most])

    def states(self, inputs_MSx: Tensor) -> list[Tensor]:
        """States (M, S, T, D) at every effective depth."""
        return states_of(self.model, self.weights, inputs_MSx)
