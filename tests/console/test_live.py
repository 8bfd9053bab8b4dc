"""What the live page is told of a study."""

from __future__ import annotations

from types import SimpleNamespace

import polars as pl

from grokstudy.orchestrator.console.live import _events


def test_an_event_of_a_run_comes_once_whatever_lengths_are_asked_of_it() -> None:
    trials = pl.LazyFrame({"trial_id": ["short", "long", "other"], "run_id": ["a", "a", "b"]})
    events = pl.LazyFrame(
        [
            ("short", "generalised", "observed", 800.4, 1000, 0),
            ("long", "generalised", "observed", 800.4, 3000, 0),
            ("short", "circuit", "censored", None, 1000, 0),
            ("long", "circuit", "observed", 2000.0, 3000, 0),
            ("other", "generalised", "observed", 900.0, 3000, 1),
        ],
        schema=["trial_id", "event", "state", "time", "horizon", "seed"],
        orient="row",
    )
    told = _events(SimpleNamespace(trials=trials, events=events), {"a": "natural"})
    assert [(row["step"], row["event"], row["regime"], row["seed"], row["trial"]) for row in told] == [
        (2000, "circuit", "natural", 0, "long"),
        (900, "generalised", "", 1, "other"),
        (800, "generalised", "natural", 0, "long"),
    ]
