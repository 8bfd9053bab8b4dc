"""Trials that a scheduler stopped before their horizon: what that tells about events that had not come.

Rules look at what a run shows, so their censoring is informative: a run that was stopped because it lags is less likely
to reach an event than those that go on, and Kaplan-Meier, which takes them for alike, finds times that are too early.

- A stop by `futility` names the events that were out of reach, each with the chance that the run was given (below 5 %,
  unless the study says otherwise). For these the run counts as followed to its horizon without the event: it stays at
  risk, which is wrong for at most that share of the runs that were stopped. Kaplan-Meier, log-rank and classes follow.
- Any other event of a stopped run is censored where the run ended, and the run has no class if it needs that event.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import DamagedError, Store

STOPS = pl.Schema(
    {"trial_id": pl.String, "scheduler": pl.String, "step": pl.Int64, "event": pl.String, "chance": pl.Float64}
)
"""A row per stopped trial and event that was out of reach; without any, one row of null."""


def read_stops(store: Store, trials: pl.DataFrame) -> pl.DataFrame:
    """The stops of these trials (`STOPS`), from the markers of their runs. A marker that is damaged tells nothing."""
    rows: list[dict[str, Any]] = []
    for trial_id, run_id in trials.select("trial_id", "run_id").iter_rows():
        try:
            done = RunDir(store, run_id).read("DONE.json") or {}
        except DamagedError:
            done = {}
        about = {"trial_id": trial_id, "scheduler": done.get("scheduler"), "step": done.get("step")}
        futile = done.get("futile") or {None: None}
        rows += [{**about, "event": event, "chance": chance} for event, chance in futile.items()]
    return pl.DataFrame(rows, schema=STOPS)


def carried(events: pl.LazyFrame, trials: pl.LazyFrame, stops: pl.DataFrame) -> pl.LazyFrame:
    """The events (`analysis.events.EVENTS`), those that were out of reach followed to the trial's horizon."""
    if stops.is_empty():
        return events
    horizons = trials.select("trial_id", _asked="horizon")
    futile = stops.lazy().drop_nulls("event").select("trial_id", "event", _futile=True)
    both = events.join(horizons, on="trial_id", how="left").join(futile, on=["trial_id", "event"], how="left")
    is_carried = pl.col("_futile").fill_null(False) & (pl.col("state") == "censored")
    ends = [pl.when(is_carried).then("_asked").otherwise(name).alias(name) for name in ("lower", "horizon")]
    return both.with_columns(ends).drop("_asked", "_futile").sort("trial_id", "event")


def known_to_the_end(events: pl.LazyFrame, trials: pl.LazyFrame) -> pl.LazyFrame:
    """The same, as classes may take them: what had not come to a stopped trial, and might have, is no data."""
    horizons = trials.select("trial_id", _asked="horizon")
    is_open = (pl.col("trial_state") == "stopped") & (pl.col("state") == "censored")
    state = pl.when(is_open & (pl.col("horizon") < pl.col("_asked"))).then(pl.lit("no_data")).otherwise("state")
    return events.join(horizons, on="trial_id", how="left").with_columns(state=state).drop("_asked")
