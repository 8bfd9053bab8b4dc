"""What an event looks at: the worst split, one site, nothing invented."""

from __future__ import annotations

import polars as pl
from polars.testing import assert_frame_equal

from grokstudy.analysis.events import MEASURES, SERIES, series_of
from grokstudy.trainables.events import Event

TRIALS = pl.LazyFrame({"trial_id": ["t", "u"]})


def rows(*values: tuple[str, str, int | None, str | None, int, float | None]) -> pl.LazyFrame:
    return pl.LazyFrame([("t", *value, 90 + place) for place, value in enumerate(values)], MEASURES, orient="row")


def taken(event: Event, *values: tuple[str, str, int | None, str | None, int, float | None]) -> pl.DataFrame:
    return series_of(rows(*values), {"e": event}, TRIALS).collect().sort("trial_id", "step")


def expected(*values: tuple[str, int | None, float | None, int | None]) -> pl.DataFrame:
    full = [(trial, "e", *value) for trial, *value in values]
    return pl.DataFrame(full, schema=SERIES, orient="row")


def test_the_worst_of_several_splits_decides() -> None:
    values = (("accuracy", "a", None, None, 1, 0.9), ("accuracy", "b", None, None, 1, 0.4))
    rising = Event(metric="accuracy", split=("a", "b"), at_least=0.5)
    assert_frame_equal(taken(rising, *values), expected(("t", 1, 0.4, 90), ("u", None, None, None)))
    falling = Event(metric="accuracy", split=("a", "b"), at_most=0.5)
    assert_frame_equal(taken(falling, *values), expected(("t", 1, 0.9, 90), ("u", None, None, None)))


def test_an_evaluation_that_lacks_a_split_is_missing() -> None:
    event = Event(metric="accuracy", split=("a", "b"), at_least=0.5)
    result = taken(event, ("accuracy", "a", None, None, 1, 0.9))
    assert_frame_equal(result, expected(("t", 1, None, 90), ("u", None, None, None)))


def test_a_summary_is_the_row_without_a_site_unless_one_is_named() -> None:
    values = (("lens", "a", None, None, 1, 0.1), ("lens", "a", 2, "r1", 1, 0.2), ("lens", "a", 3, "r1", 1, 0.3))
    assert_frame_equal(
        taken(Event(metric="lens", split=("a",), at_least=0.5), *values),
        expected(("t", 1, 0.1, 90), ("u", None, None, None)),
    )
    sited = Event(metric="lens", split=("a",), at_least=0.5, layer=2, position="r1")
    assert_frame_equal(taken(sited, *values), expected(("t", 1, 0.2, 91), ("u", None, None, None)))


def test_an_event_says_itself_in_words() -> None:
    spec = {
        "metric": "lens",
        "split": ["a", "b"],
        "layer": 2,
        "position": "r1",
        "at_most": 0.5,
        "for": 2,
        "stable": True,
    }
    event = Event.from_json("e", spec)
    assert str(event) == "lens at layer 2 position r1 on a, b <= 0.5 for 2 evaluations, and kept"
    assert Event.from_json("e", event.to_json()) == event
