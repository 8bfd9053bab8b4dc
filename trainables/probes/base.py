"""What a probe is: a pure function of a scene, returning measurements per member.

A probe never changes weights or random state; it runs without gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainables.evaluate import SplitBatch
from trainables.model import Transformer

TWO_HOP_SPLITS = ("train_ii", "test_ii", "test_io", "test_oi", "test_oo")


@dataclass(frozen=True)
class Measurement:
    """One number per member: `value_M` (NaN where it is not defined) at a site, or a summary without site."""

    probe: str
    split: str
    layer: int | None
    position: str | None
    value_M: Tensor
    n: tuple[int, ...]


@dataclass
class Scene:
    """A pack at one checkpoint, and the examples to look at."""

    model: Transformer
    weights: dict[str, Tensor]
    splits: dict[str, SplitBatch]
    entities: int
    positions: tuple[str, ...]
    _states: dict[str, Tensor] = field(default_factory=dict)

    def two_hop(self) -> Iterable[SplitBatch]:
        """The splits whose examples have a bridge."""
        return (self.splits[name] for name in TWO_HOP_SPLITS if name in self.splits)

    def states(self, split: SplitBatch) -> Tensor:
        """Residual stream (L + 1, M, S, T, D) at every effective depth, kept for the next probe."""
        if split.name not in self._states:
            seen: list[Tensor] = []

            def record(_: int, resid_MSTD: Tensor) -> Tensor:
                seen.append(resid_MSTD)
                return resid_MSTD

            self.model.residual(self.weights, split.tokens_MST, record)
            self._states[split.name] = torch.stack(seen)
        return self._states[split.name]


Probe = Callable[[Scene], Iterable[Measurement]]
