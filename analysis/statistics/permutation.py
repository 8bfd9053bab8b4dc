"""Permutation test of the log-rank statistic: exact where groups are small, and within seeds where they share them.

Runs of one seed share their graph, so that under the null hypothesis only their names may be exchanged
(docs/science.md#log-rank-test). The statistic is observed minus expected events of a group: a sum of scores
that do not depend on who is in it (Peto and Peto 1972), so that every assignment costs one addition.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from grokstudy.analysis.statistics.survival import Array

MOST = 200_000
"""Most assignments that are enumerated: 10 against 10 have 184,756."""
DRAWS = 19_999
"""Assignments drawn where there are more."""
_ALIKE = 1e-9
"""Sums of the same scores in another order differ by less."""


@dataclass(frozen=True)
class Permuted:
    """Two-sided p, the smallest p that these times could have given, and the standard error of a p that was drawn."""

    p: float
    least: float
    error: float | None


def risk_table(time: Array, observed: Array) -> tuple[Array, Array, Array]:
    """The times at which events came, each once, in order; how many runs had been without until then; how many came."""
    points = np.unique(time[observed])
    at_risk = (time[:, None] >= points).sum(axis=0)
    happened = ((time[:, None] == points) & observed[:, None]).sum(axis=0)
    return points, at_risk, happened


def scores(time: Array, observed: Array) -> Array:
    """Observed minus expected events of each run: 1[observed] less the Nelson-Aalen hazard up to its time."""
    points, at_risk, happened = risk_table(time, observed)
    hazard = ((time[:, None] >= points) * (happened / at_risk)).sum(axis=1)
    difference: Array = observed - hazard
    return difference


def permutation(score: Array, member: Array, stratum: Array) -> Permuted:
    """Test of the runs where `member` against the others, names exchanged within strata.

    The statistic is the distance of the members' total score from its mean over all assignments.
    """
    strata = [np.flatnonzero(stratum == name) for name in np.unique(stratum)]
    sizes = [int(member[rows].sum()) for rows in strata]
    mean = sum(score[rows].mean() * size for rows, size in zip(strata, sizes, strict=True))
    statistic = abs(float(score[member].sum()) - mean)
    parts = [(score[rows], size) for rows, size in zip(strata, sizes, strict=True)]
    if math.prod(math.comb(len(values), size) for values, size in parts) > MOST:
        drawn = abs(_drawn(parts) - mean)
        p = (1 + int((drawn >= statistic - _ALIKE).sum())) / (1 + DRAWS)
        return Permuted(p, 1 / (1 + DRAWS), math.sqrt(p * (1 - p) / DRAWS))
    every = abs(_every(parts) - mean)
    p, least = (float((every >= bound - _ALIKE).mean()) for bound in (statistic, every.max()))
    return Permuted(p, least, None)


def _every(parts: list[tuple[Array, int]]) -> Array:
    """Total score of the members in each assignment."""
    totals = np.zeros(1)
    for values, size in parts:
        totals = (totals[:, None] + values[_choices(len(values), size)].sum(axis=1)).ravel()
    return totals


@lru_cache(maxsize=32)
def _choices(n: int, size: int) -> Array:
    return np.array(list(itertools.combinations(range(n), size)), dtype=np.int64).reshape(math.comb(n, size), size)


def _drawn(parts: list[tuple[Array, int]]) -> Array:
    """Total score of the members in assignments drawn at random, always the same."""
    stream = np.random.default_rng(0)
    totals = np.zeros(DRAWS)
    for values, size in parts:
        order = stream.random((DRAWS, len(values))).argsort(axis=1)
        totals += values[order[:, :size]].sum(axis=1)
    return totals
