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
- Site: a summary is the value at l*, which is chosen anew at every evaluation. A jump of l* from a depth short of the
  threshold to one that was beyond it long before would look like an event, so a crossing is read in the series of the
  depth that l* has at the onset (docs/science.md#events).
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from grokstudy.trainables.events import Event
from grokstudy.trainables.schema import METRICS
from grokstudy.trainables.tasks.graph import BRIDGE_PLACES

MEASURES = pl.Schema(
    {
        "trial_id": pl.String,
        "metric": pl.String,
        "split": pl.String,
        "layer": pl.Int16,
        "position": pl.String,
        "step": pl.Int64,
        "value": pl.Float32,
        "n": pl.Int32,
    }
)
SERIES = pl.Schema({"trial_id": pl.String, "event": pl.String, "step": pl.Int64, "value": pl.Float32, "n": pl.Int32})
SITES = pl.Schema(SERIES | {"layer": pl.Int16(), "chosen": pl.Boolean()})
"""A series for every depth that l* can be; `chosen` where it was, and the summary is the value there."""
DEPTHS = ("capacity_depth", "mediation_depth", "site_depth")
"""Measurements that record l*."""
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
CROSSINGS = pl.Schema(EVENTS | {"slope": pl.Float64(), "n": pl.Int32()})
"""With the metric's change per decade of step at the crossing, and the examples that it was measured on."""


def find_events(series: pl.LazyFrame, events: Mapping[str, Event], sites: pl.LazyFrame | None = None) -> pl.LazyFrame:
    """Find when each event happened: one row per trial and event (`EVENTS`)."""
    return crossings(series, events, sites).select(list(EVENTS))


def crossings(series: pl.LazyFrame, events: Mapping[str, Event], sites: pl.LazyFrame | None = None) -> pl.LazyFrame:
    """The same with `slope` and `n` (`CROSSINGS`). `sites` are the depths that summaries were read at (`SITES`)."""
    rows = _crossings(series, events)
    return rows if sites is None else _at_the_depth_of_the_onset(rows, sites, events)


def _at_the_depth_of_the_onset(rows: pl.LazyFrame, sites: pl.LazyFrame, events: Mapping[str, Event]) -> pl.LazyFrame:
    """When the depth that l* has at the onset crossed, where that was no later."""
    onsets = rows.select(*KEYS, step="upper").drop_nulls()
    chosen = sites.filter("chosen").join(onsets, on=[*KEYS, "step"]).group_by(KEYS).agg(pl.min("layer"))
    of_depth = sites.join(chosen, on=[*KEYS, "layer"], how="semi")
    read = ("time", "lower", "upper", "slope", "n")
    both = rows.join(_crossings(of_depth, events).select(*KEYS, *read), on=KEYS, how="left", suffix="_there")
    sooner = pl.col("upper_there") <= pl.col("upper")
    taken = [pl.when(sooner).then(f"{name}_there").otherwise(name).alias(name) for name in read]
    return both.with_columns(taken).select(list(CROSSINGS)).sort(KEYS)


def _crossings(series: pl.LazyFrame, events: Mapping[str, Event]) -> pl.LazyFrame:
    rows = [[name, event.threshold, event.for_, event.stable] for name, event in events.items()]
    rules = pl.LazyFrame(rows, schema=RULES, orient="row")
    pairs = series.select(KEYS).unique().sort(KEYS).join(rules, on="event", maintain_order="left")
    keyed = pairs.with_row_index("key")  # one integer instead of two texts: ten times less to sort
    onsets = _onsets(_runs_of_hits(series, keyed, events))
    crossed = keyed.select("key", *KEYS).join(onsets, on="key", how="left")
    unreached = pl.when(pl.col("horizon").is_null()).then(pl.lit("no_data")).otherwise(pl.lit("censored"))
    state = pl.when(pl.col("upper").is_not_null()).then(pl.lit("observed")).otherwise(unreached)
    columns = crossed.with_columns(state=state, time=_crossing(), slope=_slope())
    return columns.select(pl.col(name).cast(kind) for name, kind in CROSSINGS.items()).sort(KEYS)


def _runs_of_hits(series: pl.LazyFrame, keyed: pl.LazyFrame, events: Mapping[str, Event]) -> pl.LazyFrame:
    """Collapse each series into alternating runs of hits and misses, in order of step."""
    value = pl.col("value").cast(pl.Float32)
    hit = pl.coalesce(
        pl.lit(None, pl.Boolean),
        *(pl.when(pl.col("event") == name).then(event.beyond(value)) for name, event in events.items()),
    )
    measured = series.filter(value.is_not_null() & value.is_not_nan()).join(keyed, on=KEYS)
    points = measured.select("key", "step", value, "n", hit.alias("hit")).sort("key", "step")
    begins = (pl.col("key") != pl.col("key").shift()) | (pl.col("hit") != pl.col("hit").shift())
    runs = points.with_columns(run=begins.fill_null(True).cum_sum()).group_by("run", maintain_order=True)
    alike = runs.agg(
        pl.first("key", "hit"),
        length=pl.len(),
        first_step=pl.first("step"),
        first_value=pl.first("value"),
        first_n=pl.first("n"),
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
    fields = ("lower", "lower_value", "first_step", "first_value", "first_n")
    onset = {name: pl.col(name).filter(begins).first() for name in fields}
    not_yet = pl.when("hit").then("lower").otherwise("last_step").last()
    return marked.group_by("key").agg(
        pl.first("threshold"),
        horizon=pl.last("last_step"),
        lower=pl.when(begins.any()).then(onset["lower"]).otherwise(not_yet),
        lower_value=onset["lower_value"],
        upper=onset["first_step"],
        upper_value=onset["first_value"],
        n=onset["first_n"],
    )


def _crossing() -> pl.Expr:
    """The threshold crossing between the last miss and the first hit, linear in log step."""
    low, high = pl.col("lower").cast(pl.Float64), pl.col("upper").cast(pl.Float64)
    start, end = pl.col("lower_value").cast(pl.Float64), pl.col("upper_value").cast(pl.Float64)
    share = ((pl.col("threshold").cast(pl.Float64) - start) / (end - start)).clip(0, 1)
    logarithmic = (low.log() + share * (high.log() - low.log())).exp()
    between = pl.when(low > 0).then(logarithmic).otherwise(low + share * (high - low))
    return pl.when(low.is_null()).then(high).otherwise(between.clip(low, high))


def _slope() -> pl.Expr:
    """Change of the metric per decade of step between the two evaluations around the crossing; null without both."""
    low, high = (pl.col(side).cast(pl.Float64).clip(lower_bound=1).log10() for side in ("lower", "upper"))
    rise = (pl.col("upper_value").cast(pl.Float64) - pl.col("lower_value").cast(pl.Float64)).abs()
    return pl.when(high > low).then(rise / (high - low))


def measures(evals: pl.LazyFrame, probes: pl.LazyFrame, metrics: set[str]) -> pl.LazyFrame:
    """The named metrics of both tables, and l*, in one tidy shape (`MEASURES`)."""
    requested = [name for name in METRICS if name in metrics]
    site = {"layer": pl.lit(None), "position": pl.lit(None)}
    tidy = [evals.with_columns(metric=pl.lit(name), value=pl.col(name), **site) for name in requested]
    named = probes.filter(pl.col("probe").is_in(sorted({*metrics, *DEPTHS} - set(METRICS))))
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
    site = pl.col("layer").eq_missing(event.layer) & pl.col("position").eq_missing(event.position)
    return _worst(tidy.filter(site), event, ["trial_id", "step"])


def _worst(tidy: pl.LazyFrame, event: Event, keys: list[str]) -> pl.LazyFrame:
    """The smallest value over the splits (largest for a falling event), null unless all are there; the smallest n."""
    rows = tidy.filter((pl.col("metric") == event.metric) & pl.col("split").is_in(event.split))
    value = pl.col("value").fill_nan(None)
    worst = value.min() if event.rising else value.max()
    complete = pl.col("split").filter(value.is_not_null()).n_unique() == len(set(event.split))
    return rows.group_by(keys).agg(pl.when(complete).then(worst).alias("value"), pl.min("n"))


def sites_of(tidy: pl.LazyFrame, events: Mapping[str, Event], series: pl.LazyFrame) -> pl.LazyFrame:
    """The metric of every event that looks at a summary, by depth at its place (`SITES`); none where there is no l*."""
    depths = tidy.filter(pl.col("metric").is_in(DEPTHS) & pl.col("layer").is_null() & pl.col("value").is_not_nan())
    chosen = depths.select("trial_id", "step", pl.col("value").cast(pl.Int16).alias("layer"), chosen=True).unique()
    site_rows = tidy.filter(pl.col("layer").is_not_null() & pl.col("position").is_in(BRIDGE_PLACES))
    parts = [
        _worst(site_rows, event, ["trial_id", "step", "layer"]).with_columns(event=pl.lit(name))
        for name, event in events.items()
        if not event.sited
    ]
    shape = [pl.col(name).cast(kind) for name, kind in SITES.items()]
    values = pl.concat([pl.LazyFrame(schema=SITES).drop("chosen"), *parts], how="diagonal_relaxed")
    marked = values.join(chosen, on=["trial_id", "step", "layer"], how="left")
    summary = series.select(*KEYS, "step", summary="value")
    is_read = pl.col("chosen").fill_null(False) & (pl.col("value") == pl.col("summary")).fill_null(False)
    return marked.join(summary, on=[*KEYS, "step"], how="left").with_columns(chosen=is_read).select(shape)
