"""Training data of a pack on the device, and which examples make up the batch of a step.

The batch is a pure function of (seed, step): splitmix64 of a counter, drawn with replacement. Nothing has to be
stored to resume exactly, and no index is computed on the host.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from grokstudy.trainables.models.members import stacked
from grokstudy.trainables.randomness import key
from grokstudy.trainables.tasks.graph import Examples

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit number
_MIX1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX2 = -7723592293110705685  # 0x94D049BB133111EB


@dataclass(frozen=True)
class Batch:
    """Examples on the device: tokens (M, B, T), place of the answer (M, B), answer token (M, B)."""

    tokens_MBT: Tensor
    answer_at_MB: Tensor
    answer_MB: Tensor


class TrainingSet:
    """The training sets of a pack, padded to the longest."""

    def __init__(self, sets: list[Examples], seeds: list[int], device: torch.device) -> None:
        """Copy the examples to the device once."""
        self.size_M = torch.tensor([len(examples) for examples in sets]).to(device)
        self.tokens_MNT = stacked(examples.tokens for examples in sets).to(device)
        self.answer_at_MN = stacked(examples.answer_at for examples in sets).to(device)
        self.answer_MN = stacked(examples.answer for examples in sets).to(device)
        keys = [key(seed, "batch") for seed in seeds]
        self.key_M = torch.tensor([k - (1 << 64) if k >= 1 << 63 else k for k in keys]).to(device)

    def indices(self, start: int, stop: int, batch: int) -> Tensor:
        """Rows (K, M, B) of the batches of steps start .. stop - 1."""
        counter = torch.arange(start * batch, stop * batch, device=self.key_M.device).view(-1, 1, batch)
        word = splitmix64(self.key_M[None, :, None] + counter * _GOLDEN)
        return (_shift(word, 33) * self.size_M[None, :, None]) >> 31

    def batch(self, index_MB: Tensor) -> Batch:
        """Gather the examples of one step."""
        member = torch.arange(index_MB.shape[0], device=index_MB.device)[:, None]
        return Batch(
            self.tokens_MNT[member, index_MB], self.answer_at_MN[member, index_MB], self.answer_MN[member, index_MB]
        )

    def keep(self, rows: Tensor) -> None:
        """Drop all members but these."""
        for name in ("size_M", "tokens_MNT", "answer_at_MN", "answer_MN", "key_M"):
            setattr(self, name, getattr(self, name)[rows].contiguous())


def splitmix64(word: Tensor) -> Tensor:
    """Steele et al. 2014 finaliser on int64 tensors (two's complement wrap-around is what it needs)."""
    word = (word ^ _shift(word, 30)) * _MIX1
    word = (word ^ _shift(word, 27)) * _MIX2
    return word ^ _shift(word, 31)


def _shift(word: Tensor, bits: int) -> Tensor:
    """Logical right shift; torch shifts signed integers arithmetically."""
    return (word >> bits) & ((1 << (64 - bits)) - 1)
