"""Curves from elsewhere, measured by the same rules: published or exported tables as a study's events see them.

A mapping says what the columns are:
`{"trial": "regime", "step": "step", "values": {"ood_answer_rate": {"metric": "accuracy", "split": "test_oo"}}}`.
The result has the tidy shape `MEASURES`, so events, leads and survival work on it unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from analysis.events import find_events
from analysis.series import MEASURES, parse_events, series_of


def import_curves(csv: str | Path, mapping: Mapping[str, Any]) -> pl.LazyFrame:
    """Read curves with one row per trial and step. Raises ValueError when a mapped column is not there."""
    frame = pl.read_csv(csv, infer_schema_length=None)
    values: Mapping[str, Mapping[str, Any]] = mapping["values"]
    wanted = [mapping["trial"], mapping["step"], *values]
    missing = [column for column in wanted if column not in frame.columns]
    if missing:
        raise ValueError(f"{csv}: there is no column {missing[0]!r}; columns: {', '.join(frame.columns)}")
    return pl.concat([_one(frame.lazy(), mapping, column, about) for column, about in values.items()])


def _one(frame: pl.LazyFrame, mapping: Mapping[str, Any], column: str, about: Mapping[str, Any]) -> pl.LazyFrame:
    site = {name: pl.lit(about.get(name)) for name in ("metric", "split", "layer", "position")}
    named = frame.select(trial_id=pl.col(mapping["trial"]), step=pl.col(mapping["step"]), value=pl.col(column), **site)
    return named.select(pl.col(name).cast(kind) for name, kind in MEASURES.items())


def events_on(tidy: pl.LazyFrame, events: Mapping[str, Mapping[str, Any]]) -> pl.LazyFrame:
    """Events of imported curves, as `find_events` gives them for a study."""
    return find_events(series_of(tidy, parse_events(events), tidy.select("trial_id").unique()), events)
