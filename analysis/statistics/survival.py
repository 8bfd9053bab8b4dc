"""Times that may not have come yet: Kaplan-Meier curves, medians, log-rank tests and restricted means.

A run in which an event has not happened is right-censored at the last step at which it surely had not;
leaving it out would make slow regimes look fast. Every estimate carries n and n_censored; what cannot be
estimated is null with a reason, never an exception.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from grokstudy.analysis.labels import labels
from grokstudy.analysis.statistics.permutation import Permuted, permutation, risk_table, scores

Array = np.ndarray[Any, np.dtype[Any]]
CURVE = pl.Schema(
    {
        "time": pl.Float64,
        "survival": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "at_risk": pl.Int64,
        "happened": pl.Int64,
    }
)
_SIZES = {
    "a": pl.String,
    "b": pl.String,
    "n_a": pl.Int64,
    "n_b": pl.Int64,
    "censored_a": pl.Int64,
    "censored_b": pl.Int64,
}
TESTS = pl.Schema(
    {
        **_SIZES,
        "statistic": pl.Float64,
        "test": pl.String,
        "p": pl.Float64,
        "p_least": pl.Float64,
        "p_error": pl.Float64,
        "p_unclustered": pl.Float64,
        "reason": pl.String,
    }
)
SMALL = 10
"""Groups of at most so many are tested by permutation: the normal approximation is too bold there."""
CONTRASTS = pl.Schema(
    {
        **_SIZES,
        "paired": pl.Boolean,
        "limit": pl.Float64,
        "difference": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "reason": pl.String,
    }
)


@dataclass(frozen=True)
class Sample:
    """Durations of one group: `time` is the event's where `observed`, else the censoring time."""

    group: dict[str, Any]
    time: Array
    observed: Array
    seed: Array
    words: str = "all"

    @property
    def n(self) -> int:
        """Trials with data."""
        return len(self.time)

    @property
    def n_censored(self) -> int:
        """Trials in which the event has not happened."""
        return int((~self.observed).sum())


def samples(events: pl.LazyFrame, event: str, by: Sequence[str]) -> list[Sample]:
    """The durations of one event in each group, in order of appearance; without trials that have no data."""
    rows = events.filter((pl.col("event") == event) & (pl.col("state") != "no_data"))
    duration = pl.coalesce("time", pl.col("lower").cast(pl.Float64), pl.lit(0.0))
    frame = rows.select(*by, "seed", duration=duration, observed=pl.col("state") == "observed").collect()
    parts = frame.partition_by(by, maintain_order=True) if by else [frame] if len(frame) else []
    groups = [{name: part[name][0] for name in by} for part in parts]
    words = labels(pl.DataFrame(groups, infer_schema_length=None), by) if groups else ()
    return [
        Sample(group, part["duration"].to_numpy(), part["observed"].to_numpy(), part["seed"].to_numpy(), name)
        for group, part, name in zip(groups, parts, words, strict=True)
    ]


def kaplan_meier(sample: Sample) -> pl.DataFrame:
    """Share in which the event has not happened yet, with log-log 95 % limits (null where undefined)."""
    from scipy import stats

    if sample.n == 0:
        return pl.DataFrame(schema=CURVE)
    data = stats.CensoredData.right_censored(sample.time, ~sample.observed)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        curve = stats.ecdf(data).sf
        limits = curve.confidence_interval(method="log-log")
    happened = [int((sample.observed & (sample.time == t)).sum()) for t in curve.quantiles]
    at_risk = [int((sample.time >= t).sum()) for t in curve.quantiles]
    columns = (curve.quantiles, curve.probabilities, limits.low.probabilities, limits.high.probabilities)
    rows = dict(zip(CURVE, (*columns, at_risk, happened), strict=True))
    return pl.DataFrame(rows, schema=CURVE).with_columns(pl.col("low", "high").fill_nan(None))


def median(curve: pl.DataFrame) -> tuple[float | None, float | None, float | None]:
    """Median time with its 95 % limits (Brookmeyer and Crowley 1982); null for what is not reached."""
    value, low, high = (_first_below(curve, column) for column in ("survival", "low", "high"))
    return value, low, high


def _first_below(curve: pl.DataFrame, column: str) -> float | None:
    times = curve.filter(pl.col(column) <= 0.5 + 1e-9)["time"]
    return None if times.is_empty() else float(times[0])


def log_rank(events: pl.LazyFrame, event: str, by: Sequence[str]) -> pl.DataFrame:
    """Log-rank test of every pair of groups, p also after Holm's correction for the number of pairs.

    `test` says how p was found: `exact` or `drawn` permutations, or `normal`. Permutations exchange names within the
    seeds that both groups have; `p_unclustered` is what it would be if no runs shared a graph. `p_least` is the
    smallest p that these times could have given, `p_error` the standard error of a p that was drawn.
    """
    pairs = itertools.combinations(samples(events, event, by), 2)
    tests = pl.DataFrame([_log_rank(a, b) for a, b in pairs], schema=TESTS)
    rank = pl.col("p").rank("ordinal")
    factor = pl.col("p").count() - rank + 1
    held = (pl.col("p") * factor).sort_by(rank).cum_max().clip(upper_bound=1)
    ordered = tests.filter(pl.col("p").is_not_null()).sort("p", maintain_order=True).with_columns(p_holm=held)
    return tests.join(ordered.select("a", "b", "p_holm"), on=["a", "b"], how="left", maintain_order="left")


def _log_rank(a: Sample, b: Sample) -> dict[str, Any]:
    from scipy import stats

    row = _sizes(a, b)
    if a.n_censored == a.n and b.n_censored == b.n:
        return {**row, "reason": "the event happened in neither group"}
    sides = (stats.CensoredData.right_censored(side.time, ~side.observed) for side in (a, b))
    with np.errstate(all="ignore"):
        result = stats.logrank(*sides)
    if not np.isfinite(result.statistic):
        return {**row, "reason": "no event while both groups were at risk"}
    row["statistic"] = float(result.statistic)
    if min(a.n, b.n) > SMALL:
        return {**row, "test": "normal", "p": float(result.pvalue)}
    within, free = _permuted(a, b)
    test = "exact" if within.error is None else "drawn"
    named = {"p": within.p, "p_least": within.least, "p_error": within.error, "p_unclustered": free.p}
    return {**row, "test": test, **named}


def _permuted(a: Sample, b: Sample) -> tuple[Permuted, Permuted]:
    """Permutation within the seeds that both groups have, and of the other runs among themselves; and of all runs."""
    seed = np.concatenate([a.seed, b.seed])
    score = scores(np.concatenate([a.time, b.time]), np.concatenate([a.observed, b.observed]))
    member = np.arange(a.n + b.n) < a.n
    _, number = np.unique(seed, return_inverse=True)
    stratum = np.where(np.isin(seed, a.seed) & np.isin(seed, b.seed), number + 1, 0)
    return permutation(score, member, stratum), permutation(score, member, np.zeros_like(stratum))


def _sizes(a: Sample, b: Sample) -> dict[str, Any]:
    named = {"a": a.words, "b": b.words, "n_a": a.n, "n_b": b.n}
    return {**named, "censored_a": a.n_censored, "censored_b": b.n_censored}


def restricted_mean(time: Array, observed: Array, limit: float) -> float:
    """Mean of log10 time up to log10 `limit`: the area under the Kaplan-Meier curve, in decades from step 1."""
    logs = np.log10(np.maximum(time, 1))
    end = math.log10(max(limit, 1))
    points, at_risk, happened = risk_table(logs, observed & (logs < end))
    survival = np.concatenate([[1.0], np.cumprod(1 - happened / at_risk)])
    return float((survival * np.diff(np.concatenate([[0.0], points, [end]]))).sum())


def contrasts(events: pl.LazyFrame, event: str, by: Sequence[str], resamples: int = 999) -> pl.DataFrame:
    """How much later an event comes in group a than in b, in decades, with a 95 % bootstrap interval over seeds.

    The difference of restricted means up to the shorter follow-up of the two. Seeds are resampled together
    where both groups have the same seeds, because these share their graph and split. With few seeds the
    interval is about their range, and too narrow.
    """
    pairs = itertools.combinations(samples(events, event, by), 2)
    return pl.DataFrame([_contrast(a, b, resamples) for a, b in pairs], schema=CONTRASTS)


def pairwise(events: pl.LazyFrame, event: str, by: Sequence[str]) -> pl.DataFrame:
    """Every pair of groups: their contrast, and their log-rank test without its statistic."""
    later = contrasts(events, event, by).drop("reason")
    columns = ("test", "p", "p_holm", "p_least", "p_error", "p_unclustered", "reason")
    test = log_rank(events, event, by).select("a", "b", *columns)
    return later.join(test, on=["a", "b"], how="left", maintain_order="left")


def _contrast(a: Sample, b: Sample, resamples: int) -> dict[str, Any]:
    from scipy import stats

    a, b, paired = _aligned(a, b)
    limit = min(_followed(a), _followed(b), max(float(a.time.max()), float(b.time.max())))

    def difference(rows_a: Array, rows_b: Array) -> float:
        mean_a = restricted_mean(a.time[rows_a], a.observed[rows_a], limit)
        return mean_a - restricted_mean(b.time[rows_b], b.observed[rows_b], limit)

    data = (np.arange(a.n), np.arange(b.n))
    row = {**_sizes(a, b), "paired": paired, "limit": limit}
    if a.n_censored == a.n and b.n_censored == b.n:
        return {**row, "reason": "the event happened in neither group"}
    row["difference"] = difference(*data)
    if min(a.n, b.n) < 2:
        return {**row, "reason": "one seed: no interval"}
    options = {"vectorized": False, "paired": paired, "method": "percentile", "n_resamples": resamples}
    interval = stats.bootstrap(data, difference, rng=np.random.default_rng(0), **options).confidence_interval
    return {**row, "low": float(interval.low), "high": float(interval.high)}


def _followed(sample: Sample) -> float:
    """How far the group's survival curve is known: for ever, if the event happened in the last one at risk."""
    last = sample.time == sample.time.max()
    return math.inf if sample.observed[last].all() else float(sample.time.max())


def _aligned(a: Sample, b: Sample) -> tuple[Sample, Sample, bool]:
    """Both in order of seed, and whether every seed is in both exactly once."""
    a, b = (_by_seed(side) for side in (a, b))
    unique = len(set(a.seed.tolist())) == a.n
    return a, b, unique and a.n == b.n and bool((a.seed == b.seed).all())


def _by_seed(sample: Sample) -> Sample:
    order = np.argsort(sample.seed, kind="stable")
    return replace(sample, time=sample.time[order], observed=sample.observed[order], seed=sample.seed[order])
