"""A pack at one checkpoint and the splits of its task: what probes see that serve every task.

Axes: M member, S example of a split, T place, A answer, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from grokstudy.trainables.models.network import Network

if TYPE_CHECKING:
    from grokstudy.trainables.training.evaluate import SplitBatch


@dataclass(frozen=True)
class Subject:
    """A model, its weights, and what to look at."""

    model: Network
    weights: dict[str, Tensor]
    splits: Mapping[str, SplitBatch]
    most: int
    """Largest number of examples per split that is looked at."""
