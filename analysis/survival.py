"""Times that may not have come yet: Kaplan-Meier curves, medians, log-rank tests and restricted means.

A run in which an event has not happened is right-censored at the last step at which it surely had not;
leaving it out would make slow regimes look fast. Every estimate carries n and n_censored; what cannot be
estimated is null with a reason, never an exception.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

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


@dataclass(frozen=True)
class Sample:
    """Durations of one group: `time` is the event's where `observed`, else the censoring time."""

    group: dict[str, Any]
    time: Array
    observed: Array
    seed: Array

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
    return [
        Sample(
            {name: part[name][0] for name in by},
            *(part[c].to_numpy() for c in ("duration", "observed", "seed")),
        )
        for part in parts
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


def curves(events: pl.LazyFrame, event: str, by: Sequence[str]) -> pl.DataFrame:
    """Kaplan-Meier curves of one event, per group, with n and n_censored."""
    parts = [
        kaplan_meier(sample).with_columns(
            **{name: pl.lit(value) for name, value in sample.group.items()},
            n=pl.lit(sample.n),
            n_censored=pl.lit(sample.n_censored),
        )
        for sample in samples(events, event, by)
    ]
    return pl.concat(parts).select(*by, *CURVE, "n", "n_censored") if parts else pl.DataFrame(schema=CURVE)
