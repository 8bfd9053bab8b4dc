"""Numbers in labels are short, and never so short that two settings have one name."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokstudy.analysis.labels import labels, number, plain, setting
from grokstudy.analysis.statistics.survival import pairwise


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0965489384605629, "0.0965"), (0.310723, "0.311"), (7.0, "7"), (1234.5, "1234"), (1e-5, "1e-05"),
     (12345.0, "12345"), (250, "250"), (None, "none"), (True, "True"), (float("inf"), "inf")],
)  # fmt: skip
def test_a_fraction_has_three_digits_and_a_whole_number_all(value: float | None, text: str) -> None:
    assert plain(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0965489, "0.0965"), (12_500, "12.5k"), (12_345, "12345"), (2e6, "2M")])
def test_a_number_on_an_axis_is_short(value: float, text: str) -> None:
    assert number(value) == text


@given(
    st.lists(st.tuples(st.floats(1e-9, 1e9), st.integers(0, 3), st.sampled_from(["a", "b"])), min_size=1, max_size=8)
)
def test_places_have_the_same_label_exactly_where_they_are_the_same(rows: list[tuple[float, int, str]]) -> None:
    frame = pl.DataFrame(rows, schema=["optim.weight_decay", "model.layers", "depth"], orient="row")
    for axes in (["optim.weight_decay"], frame.columns):
        named = frame.select(axes).with_columns(labels=labels(frame, axes, setting))
        assert named["labels"].n_unique() == frame.select(axes).n_unique() == named.n_unique()


def test_groups_that_are_near_are_tested_as_groups_of_their_own() -> None:
    near = (0.1, 0.100001, 0.5)
    rows = [(value, "late", "observed", 100.0 * (place + 1) + seed, 0, seed)
            for place, value in enumerate(near) for seed in range(3)]  # fmt: skip
    events = pl.LazyFrame(rows, schema=["decay", "event", "state", "time", "lower", "seed"], orient="row")
    found = pairwise(events, "late", ["decay"])
    assert found.height == 3
    assert found["a"].to_list() == ["0.1", "0.1", "0.100001"]
