"""Events: hysteresis, spikes, stability, interpolation, censoring."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from grokstudy.analysis.events import EVENTS, SERIES, find_events
from grokstudy.trainables.events import Event, events_of


def rule(hold: int = 1, **options: Any) -> dict[str, Event]:
    """One event `e`; `hold` is its `for`, which Python keeps for itself."""
    raw = {"metric": "accuracy", "split": "test_oo", "at_least": 0.5, "for": hold, **options}
    return events_of({"events": {"e": raw}})


def series(values: list[float | None], steps: list[int] | None = None) -> pl.LazyFrame:
    at = steps or [100 * (place + 1) for place in range(len(values))]
    rows = {"trial_id": ["t"] * len(values), "event": ["e"] * len(values), "step": at, "value": values, "n": None}
    return pl.LazyFrame(rows, schema=SERIES)


def found(values: list[float | None], steps: list[int] | None = None, **options: Any) -> dict[str, Any]:
    row: dict[str, Any] = find_events(series(values, steps), rule(**options)).collect().row(0, named=True)
    return row


def test_the_time_is_interpolated_in_log_step() -> None:
    result = find_events(series([0.0, 0.25, 0.75, 1.0], [1, 100, 1000, 2000]), rule()).collect()
    expected = pl.DataFrame(
        [["t", "e", "observed", math.sqrt(100 * 1000), 100, 1000, 2000]], schema=EVENTS, orient="row"
    )
    assert_frame_equal(result, expected)


def test_from_step_zero_it_is_interpolated_linearly() -> None:
    assert found([0.0, 1.0], [0, 100])["time"] == pytest.approx(50)


def test_a_hit_at_the_first_evaluation_has_no_lower() -> None:
    row = found([0.9, 0.9])
    assert (row["state"], row["time"], row["lower"], row["upper"]) == ("observed", 100, None, 100)


def test_never_reached_is_censored_at_the_last_evaluation() -> None:
    row = found([0.1, 0.2, 0.3])
    assert (row["state"], row["time"], row["lower"], row["upper"], row["horizon"]) == ("censored", None, 300, None, 300)


def test_hysteresis_wants_consecutive_hits_and_gives_the_first() -> None:
    row = found([0.1, 0.9, 0.1, 0.6, 0.7, 0.8], hold=3)
    assert (row["lower"], row["upper"]) == (300, 400)


def test_hits_at_the_end_that_are_too_few_censor_before_them() -> None:
    row = found([0.1, 0.2, 0.9, 0.9], hold=3)
    assert (row["state"], row["lower"], row["horizon"]) == ("censored", 200, 400)


@pytest.mark.parametrize(
    ("values", "upper"),
    [
        ([0.1, 0.9, 0.9, 0.9, 0.9], 200),
        ([0.1, 0.9, 0.9, 0.1, 0.9], 200),  # a single miss between hits is a spike
        ([0.1, 0.9, 0.1, 0.1, 0.9], 500),  # two in a row are a loss
        ([0.1, 0.9, 0.9, 0.9, 0.1], None),  # lost at the end
        ([0.9, 0.1, 0.9, 0.1, 0.9], 100),  # one miss at a time is forgiven again and again
    ],
)
def test_stable_forgives_spikes_and_nothing_else(values: list[float | None], upper: int | None) -> None:
    assert found(values, stable=True)["upper"] == upper
    first = next(100 * (place + 1) for place, value in enumerate(values) if value and value >= 0.5)
    assert found(values)["upper"] == first


def test_at_most_is_reached_from_above() -> None:
    row = found([3.0, 2.0, 0.5, 0.1], at_least=None, at_most=1.0)
    assert (row["lower"], row["upper"]) == (200, 300)
    assert row["time"] == pytest.approx(200 * 1.5 ** (2 / 3))


def test_missing_values_are_not_measurements() -> None:
    row = found([0.1, None, math.nan, 0.9])
    assert (row["lower"], row["upper"]) == (100, 400)
    row = found([None, math.nan])
    assert (row["state"], row["time"], row["horizon"]) == ("no_data", None, None)


def test_the_threshold_is_compared_as_it_is_stored() -> None:
    assert found([0.0, 0.9], at_least=0.9)["state"] == "observed"


def test_trials_do_not_mix_and_order_of_rows_does_not_matter() -> None:
    one, two = series([0.9, 0.1, 0.9]), series([0.1, 0.9, 0.9]).with_columns(trial_id=pl.lit("u"))
    both = pl.concat([one, two]).collect().sample(fraction=1, shuffle=True, seed=3).lazy()
    times = find_events(both, rule(hold=2)).collect()
    assert times["upper"].to_list() == [None, 200]
    assert times["lower"].to_list() == [200, 100]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"at_leest": 0.5}, "events.e.at_leest is unknown"),
        ({"at_most": 0.5}, "exactly one of at_least and at_most"),
        ({"at_least": None}, "exactly one of at_least and at_most"),
        ({"split": []}, "metric and split are required"),
    ],
)
def test_a_wrong_event_says_what_is_wrong(event: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rule(**event)


curves = st.lists(st.integers(0, 20).map(lambda share: share / 20), min_size=2, max_size=25)
hysteresis = st.integers(1, 4)


@settings(max_examples=30, deadline=None)
@given(curves, hysteresis, st.booleans(), st.integers(0, 20), st.integers(0, 20))
def test_a_higher_threshold_is_never_reached_sooner(
    values: list[float | None], consecutive: int, stable: bool, one: int, other: int
) -> None:
    low, high = sorted((one / 20, other / 20))
    easy, hard = (found(values, at_least=level, hold=consecutive, stable=stable) for level in (low, high))
    if hard["state"] == "observed":
        assert easy["state"] == "observed"
        assert easy["time"] <= hard["time"] + 1e-9


@settings(max_examples=30, deadline=None)
@given(curves, hysteresis, st.booleans())
def test_the_time_lies_between_its_evaluations(values: list[float | None], consecutive: int, stable: bool) -> None:
    row = found(values, hold=consecutive, stable=stable)
    if row["state"] == "observed":
        assert (row["lower"] or 0) <= row["time"] <= row["upper"] <= row["horizon"]
    else:
        assert row["time"] is None
        assert (row["lower"] or 0) <= row["horizon"]


@settings(max_examples=30, deadline=None)
@given(curves, hysteresis, st.integers(2, 50))
def test_the_time_scales_with_the_steps(values: list[float | None], consecutive: int, factor: int) -> None:
    steps = [100 * (place + 1) for place in range(len(values))]
    row = found(values, steps, hold=consecutive)
    scaled = found(values, [factor * step for step in steps], hold=consecutive)
    assert row["state"] == scaled["state"]
    if row["time"] is not None:
        assert scaled["time"] == pytest.approx(factor * row["time"])


@settings(max_examples=30, deadline=None)
@given(curves, hysteresis)
def test_asking_for_more_can_only_delay(values: list[float | None], consecutive: int) -> None:
    rows = [found(values, hold=consecutive), found(values, hold=consecutive + 1),
            found(values, hold=consecutive, stable=True)]  # fmt: skip
    times = [math.inf if row["time"] is None else row["time"] for row in rows]
    assert times[0] <= times[1]
    assert times[0] <= times[2]
