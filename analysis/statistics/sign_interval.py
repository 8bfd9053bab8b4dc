"""The interval of a median that holds whatever the distribution: from the k-th smallest to the k-th largest value.

It inverts the sign test (Thompson 1936; docs/science.md#leads-over-thresholds): exact for few values, and values of
which only a bound is known keep their place, as no mean or bootstrap can do for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from grokstudy.analysis.statistics.survival import Array

LEVEL = 0.95
ENOUGH = 5
"""Fewest values with an interval worth its name: the range of 5 covers the median in .9375, that of 4 in .875."""


@dataclass(frozen=True)
class SignInterval:
    """The median as far as bounds fix it, and its interval; null for an end that is open. `coverage` is exact."""

    median_low: float | None
    median_high: float | None
    low: float | None
    high: float | None
    coverage: float

    @property
    def median(self) -> float | None:
        """Null where only bounds of it are known."""
        return self.median_low if self.median_low == self.median_high else None


def sign_interval(low: Array, high: Array) -> SignInterval:
    """Of values that lie between `low` and `high` each; they are equal for a known value, -inf and inf for none."""
    n = len(low)
    if not n:
        return SignInterval(None, None, None, None, 0.0)
    k, coverage = rank(n)
    ends = (np.median(low), np.median(high), np.sort(low)[k - 1], np.sort(high)[n - k])
    middle_low, middle_high, first, last = (float(end) if math.isfinite(end) else None for end in ends)
    return SignInterval(middle_low, middle_high, first, last, coverage)


def rank(n: int) -> tuple[int, float]:
    """The largest k whose interval covers the median in 95 %, or 1 if there is none, with the coverage it has."""
    from scipy import stats

    covered = [float(1 - 2 * stats.binom.cdf(k - 1, n, 0.5)) for k in range(1, n // 2 + 1)]
    k = max(1, sum(coverage >= LEVEL for coverage in covered))
    return k, covered[k - 1] if covered else 0.0
