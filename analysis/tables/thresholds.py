"""When measures cross equal thresholds: .2 to .8 of what they are, and of their own ceiling.

The threshold of an event is a choice, and two events with different ones order by that choice as much as by the runs
(docs/science.md#leads-over-thresholds).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from grokstudy.analysis.events import CROSSINGS, KEYS, crossings
from grokstudy.trainables.events import Event

THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
SCALES = ("absolute", "of_ceiling")
"""Thresholds on the measures as they are, and on their shares of their own ceilings."""
EQUAL = pl.Schema(CROSSINGS | {"scale": pl.String(), "threshold": pl.Float64(), "error": pl.Float64()})
"""`error` is what drawing other queries would change of log10 time, one standard error."""


def equal_thresholds(series: pl.DataFrame, sites: pl.DataFrame, events: Mapping[str, Event]) -> pl.DataFrame:
    """Crossings of each event's metric at each threshold (`EQUAL`), with the event's own `for` and `stable`.

    Falling events have none. Absolute thresholds are taken only of measures between 0 and 1.
    """
    parts = [pl.LazyFrame(schema=EQUAL)]
    for name, event in events.items():
        if not event.rising:
            continue
        own, own_sites = (frame.filter(pl.col("event") == name) for frame in (series, sites))
        ceilings = _ceilings(own, event.for_)
        is_share = own["value"].drop_nulls().drop_nans().is_between(0, 1).all()
        for scale in SCALES if is_share else SCALES[1:]:
            scaled = [_scaled(frame, ceilings, scale) for frame in (own, own_sites)]
            for threshold in THRESHOLDS:
                crossing_rows = crossings(scaled[0], {name: replace(event, at_least=threshold)}, scaled[1])
                parts.append(_with_error(crossing_rows, ceilings, scale, threshold))
    return pl.concat(pl.collect_all(parts))


def _ceilings(series: pl.DataFrame, consecutive: int) -> pl.DataFrame:
    """The largest value that each trial's measure holds for so many evaluations."""
    measured = series.filter(pl.col("value").is_not_nan()).drop_nulls("value").sort(*KEYS, "step")
    held = measured.with_columns(held=pl.col("value").rolling_min(consecutive).over(KEYS))
    return held.group_by(KEYS).agg(ceiling=pl.max("held"))


def _scaled(values: pl.DataFrame, ceilings: pl.DataFrame, scale: str) -> pl.LazyFrame:
    """Shares of the ceiling; 0 where that is below all absolute thresholds: such a measure has not risen."""
    if scale == "absolute":
        return values.lazy()
    risen = pl.col("ceiling") >= pl.lit(THRESHOLDS[0], pl.Float32)
    value = pl.col("value") * pl.when(risen).then(1 / pl.col("ceiling")).otherwise(0.0)
    joined = values.lazy().join(ceilings.lazy(), on=KEYS, how="left")
    return joined.with_columns(value=value.cast(pl.Float32)).drop("ceiling")


def _with_error(crossing_rows: pl.LazyFrame, ceilings: pl.DataFrame, scale: str, threshold: float) -> pl.LazyFrame:
    """The binomial standard error of a share at the threshold over the slope there; null where n is not known."""
    joined = crossing_rows.join(ceilings.lazy(), on=KEYS, how="left")
    ceiling = pl.lit(1.0) if scale == "absolute" else pl.col("ceiling").cast(pl.Float64)
    share, slope = threshold * ceiling, pl.col("slope") * ceiling
    error = pl.when((slope > 0) & (share <= 1)).then((share * (1 - share) / pl.col("n")).sqrt() / slope)
    named = joined.with_columns(scale=pl.lit(scale), threshold=pl.lit(threshold), error=error)
    return named.select(pl.col(name).cast(kind) for name, kind in EQUAL.items())
