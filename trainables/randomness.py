"""One seed, many independent named streams of random numbers, the same on every machine and numpy version.

Only the raw 64-bit output of numpy's Philox generator is used: numpy guarantees that stream, while the methods
of `numpy.random.Generator` may change between versions.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


def key(seed: int, name: str) -> int:
    """64-bit key of the stream called `name` under this seed."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "little")


class Stream:
    """A named stream. Drawing twice gives different numbers; the same seed and name give the same sequence."""

    def __init__(self, seed: int, name: str) -> None:
        """Open the stream at its beginning."""
        self._bits = np.random.Philox(key=key(seed, name))

    def raw(self, size: int) -> NDArray[np.uint64]:
        """Uniform 64-bit words."""
        words: NDArray[np.uint64] = self._bits.random_raw(size)
        return words

    def integers(self, high: int, size: int) -> IntArray:
        """Uniform integers in [0, high), high < 2^31; the bias of the multiply-shift method is below 2^-32."""
        return (((self.raw(size) >> np.uint64(32)) * np.uint64(high)) >> np.uint64(32)).astype(np.int64)

    def uniform(self, size: int) -> NDArray[np.float64]:
        """Uniform floats in (0, 1), 53 bits."""
        return ((self.raw(size) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def permutation(self, size: int) -> IntArray:
        """A uniform permutation of range(size)."""
        return np.argsort(self.raw(size), kind="stable").astype(np.int64)

    def normal(self, size: int) -> NDArray[np.float32]:
        """Standard normal floats by the Box-Muller transform."""
        half = (size + 1) // 2
        radius = np.sqrt(-2.0 * np.log(self.uniform(half)))
        angle = 2.0 * np.pi * self.uniform(half)
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size].astype(np.float32)

    def truncated_normal(self, size: int) -> NDArray[np.float32]:
        """Normal floats within two standard deviations, widened to standard deviation 1."""
        drawn = self.normal(size + size // 8 + 64)
        kept = drawn[np.abs(drawn) <= 2.0]
        return (kept[:size] / np.float32(0.87962566)).astype(np.float32)
