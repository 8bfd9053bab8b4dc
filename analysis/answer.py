"""The one table that answers a study: per group, when each event came, where it ended, the verdict and the order.

Median times are Kaplan-Meier medians over seeds; where a median is not reached the table gives the length it
lies beyond. Ranges are over seeds. Crashed and unfinished trials are counted, and never become a number.
"""

from __future__ import annotations

import json
import math
from typing import Any

import polars as pl

from grokstudy.analysis.labels import FOREMOST, Pair, in_reading_order
from grokstudy.analysis.statistics import survival
from grokstudy.analysis.statistics.decoupling import CLASSES, leads, majority, shares
from grokstudy.analysis.statistics.lead_curve import group_leads, orders, run_leads
from grokstudy.analysis.statistics.sign_interval import sign_interval
from grokstudy.analysis.stops import known_to_the_end
from grokstudy.analysis.tables.study import NO_START, RESULT_STATES, StudyTables
from grokstudy.analysis.tables.thresholds import SCALES
from grokstudy.trainables.schema import SEED_PARTS


def answer(tables: StudyTables) -> pl.DataFrame:
    """One row per group: seeds, event times, final values, counts of each class, lead, verdict and order."""
    by = tables.groups
    frame = _trial_counts(tables).collect()
    for event in in_reading_order(tables.declared):
        frame = _left(frame, _times(tables, event), by)
        frame = _left(frame, _finals(tables, event), by)
    frame = _left(frame, verdicts(tables), by)
    group_orders = orders(group_leads(lead_curve(tables), by), by)
    for scale in SCALES:
        frame = _left(frame, _order(group_orders, scale, by), by)
    return frame


def _left(frame: pl.DataFrame, other: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    if by:
        return frame.join(other, on=by, how="left", nulls_equal=True, maintain_order="left")
    return pl.concat([frame, other], how="horizontal_extend")


def _keys(by: list[str]) -> list[Any]:
    """Group keys that also work when there are no axes: then all trials are one group."""
    return [*by] or [pl.lit("all").alias("_group")]


def _trial_counts(tables: StudyTables) -> pl.LazyFrame:
    """Trials by how they ended; `stopped` are those that a scheduler ended with events open (`analysis.stops`).

    Where seeds are crossed, `graphs` says how many of the data are among them.
    """
    used, no_start = pl.col("state").is_in(RESULT_STATES), pl.col("state") == NO_START
    open_stop = tables.stops.filter(pl.col("event").is_null())["trial_id"].implode()
    crossed = SEED_PARTS[0] in tables.trials.collect_schema()
    counted = tables.independent.group_by(_keys(tables.groups), maintain_order=True).agg(
        seeds=pl.col("seed").filter(used).n_unique(),
        diverged=(pl.col("state") == "diverged").sum(),
        unfinished=(~used & ~no_start).sum(),
        no_start=no_start.sum(),
        stopped=pl.col("trial_id").is_in(open_stop).sum(),
        length=pl.col("horizon").filter(used).max(),
        **({"graphs": pl.col(SEED_PARTS[0]).filter(used).n_unique()} if crossed else {}),
    )
    return counted.drop("_group", strict=False)


def of_results(frame: pl.LazyFrame, tables: StudyTables) -> pl.LazyFrame:
    """The rows of trials that are results."""
    return frame.join(tables.results.select("trial_id"), on="trial_id", how="semi")


def outcomes(tables: StudyTables, event: str) -> pl.DataFrame:
    """A row per result in which an event was looked for, with its axes: `outcome` is 1 where it came, else 0."""
    looked_for = (pl.col("event") == event) & (pl.col("state") != "no_data")
    outcome = (pl.col("state") == "observed").cast(pl.Float64)
    return of_results(tables.events, tables).filter(looked_for).with_columns(outcome=outcome).collect()


def _times(tables: StudyTables, event: str) -> pl.DataFrame:
    """Median, its interval, range over seeds, and how far the censored trials were followed."""
    samples = survival.samples(of_results(tables.events, tables), event, tables.groups)
    names = ("", "_low", "_high", "_first", "_last", "_beyond", "_followed")
    schema = {f"{event}_at{name}": pl.Float64 for name in names}
    counts = {f"{event}_observed": pl.Int64, f"{event}_censored": pl.Int64}
    kinds = dict(tables.trials.select(tables.groups).collect_schema())
    return pl.DataFrame([_time_row(sample, event) for sample in samples], schema={**kinds, **schema, **counts})


def _time_row(sample: survival.Sample, event: str) -> dict[str, Any]:
    value, low, high = survival.median(survival.kaplan_meier(sample))
    reached = sample.time[sample.observed]
    row = {
        "at": value,
        "at_low": low,
        "at_high": high,
        "at_first": float(reached.min()) if len(reached) else None,
        "at_last": float(reached.max()) if sample.n and not sample.n_censored else None,
        "at_beyond": _surely_beyond(sample),
        "at_followed": float(sample.time[~sample.observed].max()) if sample.n_censored else None,
        "observed": sample.n - sample.n_censored,
        "censored": sample.n_censored,
    }
    return {**sample.group, **{f"{event}_{name}": value for name, value in row.items()}}


def _surely_beyond(sample: survival.Sample) -> float | None:
    """The length that at least half of the trials are known to have passed without the event."""
    if not sample.n_censored:
        return None
    return float(sorted(sample.time, reverse=True)[math.ceil(sample.n / 2) - 1])


def _finals(tables: StudyTables, event: str) -> pl.DataFrame:
    """Median and range over seeds of the last measured value of the event's metric."""
    last = last_values(tables, event)
    value = pl.col("value").cast(pl.Float64)
    parts = {"": value.median(), "_min": value.min(), "_max": value.max(), "_n": value.count()}
    rows = tables.results.join(last, on="trial_id", how="left").group_by(_keys(tables.groups))
    final = rows.agg(part.alias(f"{event}_final{name}") for name, part in parts.items())
    return final.collect().drop("_group", strict=False)


def last_values(tables: StudyTables, event: str) -> pl.LazyFrame:
    """The last measured value of an event's metric, of each result that has one: trial_id, value."""
    series = of_results(tables.series.filter(pl.col("event") == event), tables)
    return series.drop_nulls("value").sort("step").group_by("trial_id").agg(pl.last("value"))


def classed(tables: StudyTables, pair: Pair = FOREMOST) -> pl.LazyFrame:
    """The results: trial_id and group with lead and class (`kind`), null where an event has no data.

    In the order of the results.
    """
    lead = leads(known_to_the_end(of_results(tables.events, tables), tables.trials), *pair)
    results = tables.results.select("trial_id", *tables.groups)
    return results.join(lead, on="trial_id", how="left", maintain_order="left")


def lead_curve(tables: StudyTables) -> pl.DataFrame:
    """The results at equal thresholds: trial_id, group, lead and its bounds (`statistics.lead_curve.RUNS`)."""
    results = tables.results.select("trial_id", *tables.groups).collect()
    return results.join(run_leads(tables), on="trial_id", maintain_order="left")


def verdicts(tables: StudyTables, pair: Pair = FOREMOST) -> pl.DataFrame:
    """Per group the counts of each class, the median lead, and the class of the majority."""
    by, trials = tables.groups, classed(tables, pair)
    counted = shares(trials, by).collect()
    wide = counted.pivot(on="kind", on_columns=list(CLASSES), index=[*by, "n", "unknown"], values="count").drop("n")
    frame = _left(wide, _median_leads(trials.collect(), by), by)
    words = [majority({name: row[name] for name in CLASSES}) for row in frame.iter_rows(named=True)]
    return frame.with_columns(pl.Series("verdict", words, dtype=pl.String))


_LEAD = ("lead", "lead_low", "lead_high", "lead_first", "lead_last", "lead_coverage")


def _median_leads(trials: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """The median lead over classed trials, censored ones as the bounds that they are; else what it is beyond.

    With the ends of its sign interval, null where open, and what that covers.
    """
    rows = []
    for key, part in trials.group_by(_keys(by), maintain_order=True):
        known = part.drop_nulls("kind")
        sides = {"lead_low": -math.inf, "lead_high": math.inf}
        low, high = (known.select(pl.coalesce("lead", name, pl.lit(end))).to_series() for name, end in sides.items())
        interval = sign_interval(low.to_numpy(), high.to_numpy())
        bounds = {"lead": interval.median, "lead_low": interval.median_low, "lead_high": interval.median_high}
        ends = {"lead_first": interval.low, "lead_last": interval.high, "lead_coverage": interval.coverage or None}
        rows.append({**dict(zip(by, key, strict=False)), **bounds, **ends, "lead_n": part["lead"].count()})
    kinds = {name: trials.schema[name] for name in by}
    return pl.DataFrame(rows, schema={**kinds, **dict.fromkeys(_LEAD, pl.Float64), "lead_n": pl.Int64})


def _order(group_orders: pl.DataFrame, scale: str, by: list[str]) -> pl.DataFrame:
    """The order on one scale with the outermost ends of its intervals: `order_absolute`, `order_absolute_low`, ..."""
    names = {"order": f"order_{scale}", "low": f"order_{scale}_low", "high": f"order_{scale}_high"}
    return group_orders.filter(pl.col("scale") == scale).select(*by, *names).rename(names)


def as_json_text(frame: pl.DataFrame) -> str:
    """The table as a JSON list of rows; what is not known is null."""
    return json.dumps(frame.to_dicts(), indent=1, allow_nan=False)
