"""Where the spread of runs comes from: graph, initialisation or order of examples, where their seeds are crossed.

A random-effects analysis of variance of a full crossing with one run for each combination (Searle, Casella, McCulloch
1992, ch. 4): the variance of a part is its mean square less that of the rest, over the runs that share a seed.
What parts do only together is the rest. Intervals are Weerahandi's generalised ones (1993), by draws of the mean
squares. With a handful of seeds they are wide; that is what is known (docs/science.md#crossed-seeds).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

REST = "together"
"""The rest: what two or three parts do only together."""
COMPONENTS = pl.Schema(
    {"part": pl.String, "seeds": pl.Int64, "n": pl.Int64, "spread": pl.Float64, "low": pl.Float64, "high": pl.Float64,
     "share": pl.Float64}
)  # fmt: skip
DRAWS = 20_000
FloatArray = NDArray[np.float64]


def components(rows: pl.DataFrame, parts: Sequence[str]) -> pl.DataFrame:
    """The standard deviation that each of the `parts` brings to `value`, with its 95 % interval (`COMPONENTS`).

    A row per part that has several seeds, and one for the rest where it can be told apart, which takes two such parts.
    Empty where none has, where a value is null, or where a combination is absent or there twice: the crossing must be
    full. `share` is that of the variance, of estimates that are not below 0; null where all are 0.
    """
    varied = [part for part in parts if rows[part].n_unique() > 1]
    sizes = [rows[part].n_unique() for part in varied]
    full = rows.height == np.prod(sizes, dtype=int) == rows.unique(varied).height if varied else False
    if not full or rows["value"].null_count():
        return pl.DataFrame(schema=COMPONENTS)
    values = rows.sort(varied)["value"].to_numpy().astype(float).reshape(sizes)
    squares, freedoms = _squares(values)
    estimates = _variances(squares, freedoms, values)
    chance = np.random.default_rng(0)
    chi2 = np.stack([chance.chisquare(freedom, DRAWS) if freedom else np.ones(DRAWS) for freedom in freedoms])
    drawn = _variances(squares[:, None] * freedoms[:, None] / chi2, freedoms, values)
    low, high = np.quantile(np.maximum(drawn, 0), (0.025, 0.975), axis=1)
    known = [*varied, *([REST] if freedoms[-1] else [])]
    total = np.maximum(estimates, 0)[: len(known)].sum()
    found: list[dict[str, Any]] = []
    for place, part in enumerate(known):
        variance = max(0.0, float(estimates[place]))
        found.append(
            {
                "part": part, "seeds": sizes[place] if part != REST else None, "n": rows.height,
                "spread": variance**0.5, "low": low[place] ** 0.5, "high": high[place] ** 0.5,
                "share": variance / total if total else None,
            }
        )  # fmt: skip
    return pl.DataFrame(found, schema=COMPONENTS)


def _squares(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean squares of every axis of `values`, and of the rest at the end, with their degrees of freedom."""
    mean, sums = values.mean(), []
    for axis, size in enumerate(values.shape):
        others = tuple(other for other in range(values.ndim) if other != axis)
        sums.append(values.size / size * ((values.mean(axis=others) - mean) ** 2).sum())
    rest = max(0.0, float(((values - mean) ** 2).sum() - sum(sums)))
    freedoms = np.array([*(size - 1 for size in values.shape), 0.0])
    freedoms[-1] = values.size - 1 - freedoms.sum()
    return np.array([*sums, rest]) / np.maximum(freedoms, 1), freedoms


def _variances(squares: FloatArray, freedoms: FloatArray, values: FloatArray) -> FloatArray:
    """What mean squares (parts and rest, or with a second axis of draws) say of the variance of each."""
    rest = squares[-1] if freedoms[-1] else np.zeros_like(squares[-1])
    shared = [values.size / size for size in values.shape]
    return np.stack([*((square - rest) / runs for square, runs in zip(squares[:-1], shared, strict=True)), rest])
