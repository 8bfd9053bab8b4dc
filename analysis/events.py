"""Event times: when did a metric first cross a threshold and hold? Redefining an event needs no training.

Owns the tidy shape `MEASURES`, which study tables and imported curves share, and `SERIES`, what an event looks at: one
value per trial, event and evaluation.

An evaluation is a hit when the value is at or beyond the threshold (compared as float32, as it is stored).
- Hysteresis: reached at the first of `for` consecutive hits, T(m, tau, k) of docs/science.md#events.
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

from collections.abc import Mapping

import polars as pl

from grokstudy.trainables.events import Event
from grokstudy.trainables.schema import METRICS

MEASURES = pl.Schema(
    {
        "trial_id": pl.String,
        "metric": pl.String,
        "split": pl.String,
        "layer": pl.Int16,
        "position": pl.String,
        "step": pl.Int64,
        "value": pl.Float32,
    }
)
SERIES = pl.Schema({"trial_id": pl.String, "event": pl.String, "step": pl.Int64, "value": pl.Float32})
RULES = pl.Schema({"event": pl.String, "threshold": pl.Float32, "consecutive": pl.Int64, "stable": pl.Boolean})
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


def find_events(series: pl.LazyFrame, events: Mapping[str, Event]) -> pl.LazyFrame:
    """Find when each event happened: one row per trial and event (`EVENTS`)."""
    rows = [[name, event.threshold, event.for_, event.stable] for name, event in events.items()]
    rules = pl.LazyFrame(rows, schema=RULES, orient="row")
    pairs = series.select(KEYS).unique().sort(KEYS).join(rules, on="event", maintain_order="left")
    keyed = pairs.with_row_index("key")  # one integer instead of two texts: ten times less to sort
    onsets = _onsets(_runs_of_hits(series, keyed, events))
    crossed = keyed.select("key", *KEYS).join(onsets, on="key", how="left")
    unreached = pl.when(pl.col("horizon").is_null()).then(pl.lit("no_data")).otherwise(pl.lit("censored"))
    state = pl.when(pl.col("upper").is_not_null()).then(pl.lit("observed")).otherwise(unreached)
    columns = crossed.with_columns(state=state, time=_crossing())
    return columns.select(pl.col(name).cast(kind) for name, kind in EVENTS.items()).sort(KEYS)


def _runs_of_hits(series: pl.LazyFrame, keyed: pl.LazyFrame, events: Mapping[str, Event]) -> pl.LazyFrame:
    """Collapse each series into alternating runs of hits and misses, in order of step."""
    value = pl.col("value").cast(pl.Float32)
    hit = pl.coalesce(
        pl.lit(None, pl.Boolean),
        *(pl.when(pl.col("event") == name).then(event.beyond(value)) for name, event in events.items()),
    )
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


def measures(evals: pl.LazyFrame, probes: pl.LazyFrame, metrics: set[str]) -> pl.LazyFrame:
    """The named metrics of both tables in one tidy shape (`MEASURES`)."""
    requested = [name for name in METRICS if name in metrics]
    site = {"layer": pl.lit(None), "position": pl.lit(None)}
    tidy = [evals.with_columns(metric=pl.lit(name), value=pl.col(name), **site) for name in requested]
    named = probes.filter(pl.col("probe").is_in(sorted(metrics - set(METRICS))))
    tidy.append(named.with_columns(metric=pl.col("probe")))
    shape = [pl.col(name).cast(kind) for name, kind in MEASURES.items()]
    return pl.concat([frame.select(shape) for frame in tidy])


def series_of(tidy: pl.LazyFrame, events: Mapping[str, Event], trials: pl.LazyFrame) -> pl.LazyFrame:
    """The values each event looks at (`SERIES`). A trial without any keeps one row, of nulls."""
    ids = trials.select("trial_id").unique(maintain_order=True)
    parts = {name: ids.join(_series(tidy, event), on="trial_id", how="left") for name, event in events.items()}
    named = [part.with_columns(event=pl.lit(name)).select(list(SERIES)) for name, part in parts.items()]
    return pl.concat([pl.LazyFrame(schema=SERIES), *named])


def _series(tidy: pl.LazyFrame, event: Event) -> pl.LazyFrame:
    """The smallest value over the splits (largest for a falling event); null unless all are measured."""
    site = pl.col("layer").eq_missing(event.layer) & pl.col("position").eq_missing(event.position)
    rows = tidy.filter((pl.col("metric") == event.metric) & pl.col("split").is_in(event.split) & site)
    value = pl.col("value").fill_nan(None)
    worst = value.min() if event.rising else value.max()
    complete = pl.col("split").filter(value.is_not_null()).n_unique() == len(set(event.split))
    return rows.group_by("trial_id", "step").agg(pl.when(complete).then(worst).alias("value"))
