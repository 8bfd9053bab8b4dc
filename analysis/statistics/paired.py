"""Arms of forks compared seed by seed: runs of one seed share all that was before the fork, so only pairs are compared.

The difference of two arms is the median over seeds with its sign interval (`sign_interval.py`); p is that of exchanging
the two arms within seeds, over all 2^n ways (docs/science.md#forks).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from grokstudy.analysis.statistics.permutation import permutation
from grokstudy.analysis.statistics.sign_interval import sign_interval

PAIRED = pl.Schema(
    {"setting": pl.String, "against": pl.String, "n": pl.Int64, "difference": pl.Float64, "low": pl.Float64,
     "high": pl.Float64, "coverage": pl.Float64, "p": pl.Float64, "p_least": pl.Float64}
)  # fmt: skip


def paired(values: pl.DataFrame) -> pl.DataFrame:
    """Each other `setting` less the first one (`PAIRED`), of rows of `setting`, `seed`, `value`, in their order.

    Seeds of which one of the two has no value are left out; n says how many are left. Null where none is.
    """
    arms = values["setting"].unique(maintain_order=True).to_list()
    wide = values.drop_nulls("value").pivot("setting", index="seed", values="value")
    return pl.DataFrame(list(_rows(wide, arms)), schema=PAIRED)


def _rows(wide: pl.DataFrame, arms: list[str]) -> Iterator[dict[str, Any]]:
    for first, other in itertools.product(arms[:1], arms[1:]):
        both = wide.select("seed", first, other).drop_nulls() if {first, other} <= {*wide.columns} else wide.clear()
        if both.is_empty():
            yield {"setting": other, "against": first, "n": 0}
            continue
        pair = both.select(first, other).to_numpy().astype(float)
        gap = pair[:, 1] - pair[:, 0]
        middle = sign_interval(gap, gap)
        member, stratum = np.tile([False, True], len(both)), np.repeat(np.arange(len(both)), 2)
        tested = permutation(pair.ravel(), member, stratum)
        yield {
            "setting": other, "against": first, "n": len(both), "difference": float(np.median(gap)), "low": middle.low,
            "high": middle.high, "coverage": middle.coverage, "p": tested.p, "p_least": tested.least,
        }  # fmt: skip
