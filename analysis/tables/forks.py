"""Forks of a study: runs that went on from another run's whole state, with the curve that they have in common.

Steps of a fork count from its own 0; here they count from the beginning of the run that it went on from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from grokstudy.analysis.tables.study import StudyTables, load
from grokstudy.trainables.events import Event
from grokstudy.trainables.storage.run_dir import RunDir

ARMS = pl.Schema(
    {
        "trial_id": pl.String,
        "seed": pl.Int64,
        "event": pl.String,
        "step": pl.Int64,
        "value": pl.Float32,
        "after": pl.Boolean,
    }
)


def forked_from(tables: StudyTables) -> str | None:
    """The study whose runs all arms went on from with their whole state; None where the study is no fork."""
    start: Any = (tables.spec.get("base") or {}).get("start_from")
    is_fork = isinstance(start, dict) and start.get("state") == "all"
    return str(start["study"]) if is_fork else None


def arms_from_their_sources(tables: StudyTables) -> pl.DataFrame:
    """What events look at, in arms and before them (`ARMS`); empty without forks, or where the source is not here.

    Of the source only events that look at the same as an event of that name here.
    """
    study = forked_from(tables)
    if study is None:
        return pl.DataFrame(schema=ARMS)
    begun = _begun(tables)
    arms = tables.series.collect().join(begun, on="trial_id", how="inner").with_columns(pl.col("step") + pl.col("fork"))
    found = [arms.with_columns(after=pl.lit(True))]
    try:
        source = load(tables.store.uri, study)
    except FileNotFoundError:
        source = None
    if source is not None:
        alike = [
            name for name, event in tables.declared.items()
            if name in source.declared and _looks_at(source.declared[name]) == _looks_at(event)
        ]  # fmt: skip
        runs = source.independent.select("run_id", _source="trial_id").collect()
        before = source.series.filter(pl.col("event").is_in(alike)).collect().rename({"trial_id": "_source"})
        joined = begun.join(runs, left_on="origin", right_on="run_id").join(before, on="_source")
        found.append(joined.filter(pl.col("step") <= pl.col("fork")).with_columns(after=pl.lit(False)))
    rows = pl.concat([frame.select(pl.col(name).cast(kind) for name, kind in ARMS.items()) for frame in found])
    return rows.drop_nulls("value").filter(pl.col("value").is_not_nan())


def different(events: Mapping[str, Event]) -> dict[str, Event]:
    """These events in their order, of those that look at the same (whatever their thresholds) only the first."""
    firsts = {_looks_at(event): name for name, event in reversed([*events.items()])}.values()
    return {name: event for name, event in events.items() if name in firsts}


def _looks_at(event: Event) -> tuple[Any, ...]:
    return event.metric, event.split, event.layer, event.position


def _begun(tables: StudyTables) -> pl.DataFrame:
    """Per result: its seed, the run that it went on from, and after how many steps."""
    rows = []
    for trial_id, run_id, seed in tables.results.select("trial_id", "run_id", "seed").collect().iter_rows():
        start = ((RunDir(tables.store, run_id).read("run.json") or {}).get("config") or {}).get("start") or {}
        if start:
            rows.append({"trial_id": trial_id, "seed": seed, "origin": start["run_id"], "fork": start["step"]})
    schema = {"trial_id": pl.String, "seed": pl.Int64, "origin": pl.String, "fork": pl.Int64}
    return pl.DataFrame(rows, schema=schema)
