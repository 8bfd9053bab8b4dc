"""What a group could have shown: the share that none of n runs can exclude, and the lead that n seeds can tell from 0.

Beside an estimate that found nothing, this says whether it could have found anything (docs/science.md#power).
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from grokstudy.analysis.statistics.sign_interval import ENOUGH, rank

POWER = 0.8
SPREAD_OF = 3
"""Fewest leads whose spread is taken for that of their group."""


def could_have_seen(trials: pl.LazyFrame, by: Sequence[str]) -> pl.DataFrame:
    """Per group: n classified trials, the largest share that `0 of n` leaves possible, and the least lead detected.

    `unseen` is the upper end of the 95 % interval of Clopper and Pearson (1934) at none of n; `detectable` the median
    lead, in decades, whose sign the interval over seeds shows in 80 % of studies, at the spread of the leads seen.
    """
    grouped = trials.group_by(*by, pl.lit(1).alias("_all"), maintain_order=True)
    counted = grouped.agg(n=pl.col("kind").count(), observed=pl.col("lead").count(), spread=pl.col("lead").std())
    frame = counted.drop("_all").collect()
    spread = pl.when(pl.col("observed") >= SPREAD_OF).then("spread")
    factor = pl.col("n").replace_strict({n: _factor(n) for n in frame["n"].unique().to_list()}, return_dtype=pl.Float64)
    n = pl.when(pl.col("n") > 0).then(pl.col("n").cast(pl.Float64))
    few = [f"fewer than {ENOUGH} runs: no interval that shows an order", f"fewer than {SPREAD_OF} leads: no spread"]
    tests = (pl.col("n") < ENOUGH, pl.col("observed") < SPREAD_OF)
    reason = pl.coalesce(pl.when(test).then(pl.lit(text)) for test, text in zip(tests, few, strict=True))
    detectable = spread * factor
    return frame.with_columns(unseen=1 - 0.025 ** (1 / n), spread=spread, detectable=detectable, reason=reason)


def _factor(n: int) -> float | None:
    """The least median in standard deviations of normal values whose sign the interval shows with `POWER`.

    The interval is above 0 when all but k - 1 values are; each is with p, which makes that a tail of the binomial.
    """
    from scipy import stats

    if n < ENOUGH:
        return None
    k, _ = rank(n)
    return float(stats.norm.ppf(stats.beta.ppf(POWER, n - k + 1, k)))
