"""Event times: when did a metric first cross a threshold and hold? Redefining an event needs no training.

An evaluation is a hit when the value is at or beyond the threshold (compared as float32, as it is stored).
- Hysteresis: reached at the first of `for` consecutive hits, T(m, tau, k) of SCIENCE section 5.3.
- `stable`: and never lost again. Lost is two evaluations in a row short of the threshold, or the last one.
  A single miss between two hits is a spike and is forgiven: published curves have such spikes of training
  (arXiv 2601.09049: train accuracy 0.00 at one checkpoint at 802k steps, back to 1 at the next).
- Time: the crossing, interpolated in log step between the last miss and the first hit (linearly from step 0).
  `lower` and `upper` are these two evaluations; a hit at the very first evaluation has no lower.
- Censored: not reached by `horizon`, the last evaluation. `lower` is the last evaluation at which it had
  surely not begun, which is earlier when there are hits at the very end, but still too few to count.
- No data: the metric was never measured (null, NaN and a missing split are not measurements).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from grokstudy.analysis.series import Event, parse_events

KEYS = ("trial_id", "event")
EVENTS = pl.Schema(
    {
        "trial_id": pl.String,
        "event": pl.String,
        "state": pl.String,
        "time": pl.Float64,
        "lower": pl.Int64,
        "upper": pl.Int64,
        "horizon": pl.Int64,
    }
)


def find_events(series: pl.LazyFrame, events: Mapping[str, Mapping[str, Any]]) -> pl.LazyFrame:
    """Find when each event happened: one row per trial and event (`EVENTS`)."""
    rules = _as_frame(parse_events(events))
    pairs = series.select(KEYS).unique().sort(KEYS).join(rules, on="event", maintain_order="left")
    keyed = pairs.with_row_index("key")  # one integer instead of two texts: ten times less to sort
    onsets = _onsets(_runs_of_hits(series, keyed))
    found = keyed.select("key", *KEYS).join(onsets, on="key", how="left")
    unreached = pl.when(pl.col("horizon").is_null()).then(pl.lit("no_data")).otherwise(pl.lit("censored"))
    state = pl.when(pl.col("upper").is_not_null()).then(pl.lit("observed")).otherwise(unreached)
    columns = found.with_columns(state=state, time=_crossing())
    return columns.select(pl.col(name).cast(kind) for name, kind in EVENTS.items()).sort(KEYS)


def _as_frame(events: Sequence[Event]) -> pl.LazyFrame:
    fields = pl.Schema(
        {
            "name": pl.String,
            "threshold": pl.Float32,
            "rising": pl.Boolean,
            "consecutive": pl.Int64,
            "stable": pl.Boolean,
        }
    )
    rows = [[getattr(event, name) for name in fields] for event in events]
    return pl.LazyFrame(rows, schema=fields, orient="row").rename({"name": "event"})


def _runs_of_hits(series: pl.LazyFrame, keyed: pl.LazyFrame) -> pl.LazyFrame:
    """Collapse each series into alternating runs of hits and misses, in order of step."""
    value = pl.col("value").cast(pl.Float32)
    hit = pl.when("rising").then(value >= pl.col("threshold")).otherwise(value <= pl.col("threshold"))
    measured = series.filter(value.is_not_null() & value.is_not_nan()).join(keyed, on=KEYS)
    points = measured.select("key", "step", value, hit.alias("hit")).sort("key", "step")
    begins = (pl.col("key") != pl.col("key").shift()) | (pl.col("hit") != pl.col("hit").shift())
    runs = points.with_columns(run=begins.fill_null(True).cum_sum()).group_by("run", maintain_order=True)
    alike = runs.agg(
        pl.first("key", "hit"),
        length=pl.len(),
        first_step=pl.first("step"),
        first_value=pl.first("value"),
        last_step=pl.last("step"),
        last_value=pl.last("value"),
    )
    return alike.join(keyed.drop(KEYS), on="key", maintain_order="left")


def _onsets(runs: pl.LazyFrame) -> pl.LazyFrame:
    """The run of hits with which each event begins and the miss before it; else the last sure miss."""
    is_last = pl.col("run") == pl.col("run").max().over("key")
    lost = ~pl.col("hit") & ((pl.col("length") >= 2) | is_last)
    marked = runs.with_columns(
        lower=pl.col("last_step").shift().over("key"),
        lower_value=pl.col("last_value").shift().over("key"),
        lost_later=lost.cum_sum(reverse=True).over("key") > 0,
    )
    held = pl.col("hit") & (pl.col("length") >= pl.col("consecutive"))
    begins = held & ~(pl.col("stable") & pl.col("lost_later"))
    fields = ("lower", "lower_value", "first_step", "first_value")
    onset = {name: pl.col(name).filter(begins).first() for name in fields}
    not_yet = pl.when("hit").then("lower").otherwise("last_step").last()
    return marked.group_by("key").agg(
        pl.first("threshold"),
        horizon=pl.last("last_step"),
        lower=pl.when(begins.any()).then(onset["lower"]).otherwise(not_yet),
        lower_value=onset["lower_value"],
        upper=onset["first_step"],
        upper_value=onset["first_value"],
    )


def _crossing() -> pl.Expr:
    """The threshold crossing between the last miss and the first hit, linear in log step."""
    low, high = pl.col("lower").cast(pl.Float64), pl.col("upper").cast(pl.Float64)
    start, end = pl.col("lower_value").cast(pl.Float64), pl.col("upper_value").cast(pl.Float64)
    share = ((pl.col("threshold").cast(pl.Float64) - start) / (end - start)).clip(0, 1)
    logarithmic = (low.log() + share * (high.log() - low.log())).exp()
    between = pl.when(low > 0).then(logarithmic).otherwise(low + share * (high - low))
    return pl.when(low.is_null()).then(high).otherwise(between.clip(low, high))
