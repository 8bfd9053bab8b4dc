"""A summary is read at l*, which moves: an event is when the depth crossed that is read, not when l* came to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from synthetic import run_id, trial_row, write_study

from grokstudy.analysis.events import MEASURES, find_events, series_of, sites_of
from grokstudy.analysis.tables.study import load
from grokstudy.orchestrator.runs.warm_start import Seen, seen_events
from grokstudy.trainables.events import Event
from grokstudy.trainables.storage.records import SCHEMAS, encode
from grokstudy.trainables.storage.store import Store

HALF = Event(metric="capacity", split=("test_oo",), at_least=0.5, for_=2)
DEPTHS = {1: [0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.3, 0.3], 2: [0.0, 0.1, 0.6, 0.7, 0.8, 0.8, 0.9, 0.9]}
"""Capacity at both depths, at steps 100, 200, ...: depth 2 crosses between 200 and 300."""
MOVES = [1, 1, 1, 1, 1, 2, 2, 2]
"""l*, which comes to depth 2 at step 600."""


def measured(
    chosen: Sequence[int], depths: Mapping[int, Sequence[float]] = DEPTHS, name: str = "mediation_depth", **other: Any
) -> list[tuple[Any, ...]]:
    """Rows (probe, split, layer, position, step, value): a capacity at l* and at each depth, and l*."""
    rows: list[tuple[Any, ...]] = []
    for place, depth in enumerate(chosen):
        step = 100 * (place + 1)
        summary = other.get("summary", depths[depth])[place]
        rows += [("capacity", "test_oo", None, None, step, summary), (name, "train_ii", None, None, step, float(depth))]
        rows += [("capacity", "test_oo", layer, "r1", step, depths[layer][place]) for layer in depths]
    return rows


def found(rows: list[tuple[Any, ...]], event: Event = HALF) -> dict[str, Any]:
    tidy = pl.LazyFrame([("t", *row, 50) for row in rows], MEASURES, orient="row")
    series = series_of(tidy, {"e": event}, pl.LazyFrame({"trial_id": ["t"]}))
    sites = sites_of(tidy, {"e": event}, series)
    row: dict[str, Any] = find_events(series, {"e": event}, sites).collect().row(0, named=True)
    return row


@pytest.mark.parametrize("name", ["mediation_depth", "site_depth"])
def test_a_jump_of_the_site_to_a_depth_that_crossed_before_is_no_event(name: str) -> None:
    row = found(measured(MOVES, name=name))
    assert (row["state"], row["lower"], row["upper"], row["horizon"]) == ("observed", 200, 300, 800)
    assert row["time"] == pytest.approx(200 * 1.5**0.8)


def test_a_site_that_stays_crosses_when_it_does() -> None:
    stays = found(measured([2] * 8))
    assert (stays["lower"], stays["upper"]) == (200, 300)
    alone = found(measured([1] * 8, {1: DEPTHS[2]}))
    assert alone == stays


def test_a_site_that_moves_as_its_new_depth_crosses_has_its_time_then() -> None:
    late = {1: DEPTHS[1], 2: [0.0, 0.1, 0.2, 0.2, 0.2, 0.8, 0.9, 0.9]}
    row = found(measured(MOVES, late))
    assert (row["lower"], row["upper"]) == (500, 600)


def test_a_depth_that_was_never_chosen_is_no_event() -> None:
    row = found(measured([1] * 8))
    assert (row["state"], row["time"], row["lower"]) == ("censored", None, 800)


def test_a_site_that_moves_on_at_once_keeps_the_time_of_the_summary() -> None:
    """Depth 2 is beyond the threshold for one evaluation only, depth 3 from there on: neither lasted before."""
    depths = {1: [0.1] * 4, 2: [0.0, 0.6, 0.0, 0.0], 3: [0.0, 0.0, 0.7, 0.7]}
    row = found(measured([1, 2, 3, 3], depths))
    assert (row["state"], row["lower"], row["upper"]) == ("observed", 100, 200)


@pytest.mark.parametrize(
    "rows",
    [
        [row for row in measured(MOVES) if row[0] != "mediation_depth"],
        [row for row in measured(MOVES) if row[2] is None],
        measured(MOVES, summary=[0.1, 0.2, 0.3, 0.4, 0.4, 0.7, 0.8, 0.8]),
    ],
    ids=["no l*", "no depths", "the summary is not the value at l*"],
)
def test_without_the_depth_that_was_read_the_summary_counts(rows: list[tuple[Any, ...]]) -> None:
    row = found(rows)
    assert (row["lower"], row["upper"]) == (500, 600)


def test_an_event_at_a_site_of_its_own_follows_no_other() -> None:
    sited = Event(metric="capacity", split=("test_oo",), layer=1, position="r1", at_least=0.35, for_=2)
    row = found(measured(MOVES), sited)
    assert (row["lower"], row["upper"]) == (300, 400)


def test_the_table_of_events_reads_the_depth_of_the_onset_and_a_start_does_not(tmp_path: Path) -> None:
    names = ("probe", "split", "layer", "position", "step", "value")
    columns = dict(zip(names, (list(column) for column in zip(*measured(MOVES), strict=True)), strict=True))
    rows = {**columns, "n": [50] * len(columns["step"]), "attempt": [1] * len(columns["step"])}
    store = Store(tmp_path)
    part = f"metrics/probes/run_id={run_id(0)}/part-000000000.parquet"
    store.write(part, encode(pa.Table.from_pydict(rows, schema=SCHEMAS["probes"])))
    events = {"circuit": {**HALF.to_json(), "for": 2}}
    write_study(tmp_path, "s", [trial_row("s", 0, 800, 0)], axes=[], events=events)
    tables = load(tmp_path, "s")
    row = tables.events.collect().row(0, named=True)
    assert (row["event"], row["lower"], row["upper"]) == ("circuit", 200, 300)
    onset = tables.onsets.collect().row(0, named=True)
    assert (onset["event"], onset["lower"], onset["upper"]) == ("circuit", 500, 600)
    assert seen_events(store, "s") == {"circuit": {run_id(0): Seen(600, 800)}}, "its checkpoint was kept there"
