"""Random numbers as pure functions of 64-bit words, on any device: what sources of examples are made of.

`fresh(word, j)` is the j-th further word of a word (splitmix64, Steele et al. 2014); the others make numbers of words.
All are exact integer operations up to the last conversion, of static shapes, and can be captured in a CUDA graph.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit number
_MIX1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX2 = -7723592293110705685  # 0x94D049BB133111EB


def fresh(word: Tensor, number: int | Tensor) -> Tensor:
    """The word of this number behind each word, in the shape of both together."""
    ahead = _signed(number * GOLDEN) if isinstance(number, int) else number * GOLDEN
    return splitmix64(word + ahead)


def several(word_x: Tensor, begin: int, count: int) -> Tensor:
    """The words begin .. begin + count - 1 behind each word (x, count)."""
    word_x1 = word_x[..., None]
    numbers = torch.arange(begin, begin + count, device=word_x.device)
    # Made to depend on the words: what torch.compile knows before it runs, it reckons without wrapping around.
    return fresh(word_x1, numbers + (word_x1 & 0))


def choice(word: Tensor, count: int | Tensor) -> Tensor:
    """A whole number 0 .. count - 1 of each word, count < 2^31, by multiply and shift (bias below 2^-31)."""
    return (_shift(word, 33) * count) >> 31


def uniform(word: Tensor) -> Tensor:
    """A float32 in (0, 1) of each word, of its 24 highest bits."""
    return (_shift(word, 40).float() + 0.5) * 2.0**-24


def normal(word_x: Tensor, begin: int, count: int) -> Tensor:
    """Standard normal float32 (x, count) of the 2 * ceil(count / 2) words from `begin` on, by Box and Muller."""
    half = (count + 1) // 2
    radius = (-2.0 * uniform(several(word_x, begin, half)).log()).sqrt()
    angle = 2.0 * math.pi * uniform(several(word_x, begin + half, half))
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=-1)[..., :count]


def permutation(word_x: Tensor, begin: int, count: int) -> Tensor:
    """A permutation (x, count) of 0 .. count - 1, the order of `count` words."""
    return several(word_x, begin, count).argsort(dim=-1)


def splitmix64(word: Tensor) -> Tensor:
    """Steele et al. 2014 finaliser on int64 tensors (two's complement wrap-around is what it needs)."""
    word = (word ^ _shift(word, 30)) * _MIX1
    word = (word ^ _shift(word, 27)) * _MIX2
    return word ^ _shift(word, 31)


def _signed(number: int) -> int:
    """A whole number as a signed one of 64 bits: tensors wrap around by themselves, and take no larger number."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _shift(word: Tensor, bits: int) -> Tensor:
    """Logical right shift; torch shifts signed integers arithmetically."""
    return (word >> bits) & ((1 << (64 - bits)) - 1)
