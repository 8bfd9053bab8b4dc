"""Leads, classes and shares."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from synthetic import build

from grokstudy.analysis.contrasts import findings
from grokstudy.analysis.events import EVENTS
from grokstudy.analysis.statistics.decoupling import CLASSES, leads, majority, shares
from grokstudy.analysis.tables.study import load

Row = tuple[str, str, str, float | None, int | None, int | None, int]


def happened(trial: str, event: str, time: float) -> Row:
    return (trial, event, "observed", time, int(time) - 10, int(time) + 10, 3000)


def never(trial: str, event: str) -> Row:
    return (trial, event, "censored", None, 3000, None, 3000)


def missing(trial: str, event: str) -> Row:
    return (trial, event, "no_data", None, None, None, 0)


def lead_of(*rows: Row) -> pl.DataFrame:
    return leads(pl.LazyFrame(list(rows), schema=EVENTS, orient="row")).collect()


@pytest.mark.parametrize(
    ("answer", "circuit", "kind"),
    [
        (1000, 100, "circuit_first"),
        (1000, 900, "simultaneous"),
        (900, 1000, "simultaneous"),
        (100, 1000, "answer_first"),
        (1000, None, "fake"),
        (None, 1000, "latent"),
        (None, None, "neither"),
    ],
)
def test_each_order_has_its_class(answer: float | None, circuit: float | None, kind: str) -> None:
    sides = (("generalised", answer), ("circuit", circuit))
    row = lead_of(*(never("t", e) if at is None else happened("t", e, at) for e, at in sides)).row(0, named=True)
    assert row["kind"] == kind
    if answer and circuit:
        assert row["lead"] == pytest.approx(math.log10(answer / circuit))
        assert row["lead_low"] < row["lead"] < row["lead_high"]


def test_a_censored_lead_is_bounded_on_one_side() -> None:
    latent = lead_of(never("t", "generalised"), happened("t", "circuit", 300)).row(0, named=True)
    assert latent["lead"] is None
    assert latent["lead_low"] == pytest.approx(math.log10(3000 / 310))
    assert latent["lead_high"] is None
    fake = lead_of(happened("t", "generalised", 300), never("t", "circuit")).row(0, named=True)
    assert fake["lead_low"] is None
    assert fake["lead_high"] == pytest.approx(math.log10(310 / 3000))


def test_without_data_there_is_no_class() -> None:
    frame = lead_of(missing("t", "generalised"), happened("t", "circuit", 300), happened("u", "circuit", 300))
    assert frame["kind"].to_list() == [None, None]


@pytest.mark.parametrize(
    ("mediated", "kind"),
    [
        (never("t", "mediated"), "fake"),
        (happened("t", "mediated", 1500), "answer_first"),
        (missing("t", "mediated"), "undecided"),
        (("t", "mediated", "censored", None, 900, None, 3000), "undecided"),  # beyond the threshold since, too briefly
        (("t", "mediated", "censored", None, None, None, 1000), "undecided"),  # last measured before the answer came
    ],
)
def test_an_answer_without_a_circuit_is_fake_only_if_mediation_was_looked_for_and_not_found(
    mediated: Row, kind: str
) -> None:
    row = lead_of(happened("t", "generalised", 1000), never("t", "circuit"), mediated).row(0, named=True)
    assert row["kind"] == kind
    assert row["lead_high"] == pytest.approx(math.log10(1010 / 3000))


def test_a_bound_within_a_tenth_of_a_decade_is_no_order() -> None:
    rows = [happened("t", "generalised", 2700), never("t", "circuit"), happened("t", "mediated", 2800)]
    assert lead_of(*rows)["kind"].to_list() == ["undecided"]


@pytest.mark.parametrize(("answer", "circuit"), [(1000, 100), (100, 1000), (None, 1000), (None, None)])
@pytest.mark.parametrize("mediated", [never("t", "mediated"), happened("t", "mediated", 500), missing("t", "mediated")])
def test_mediation_has_no_say_in_the_other_classes(answer: float | None, circuit: float | None, mediated: Row) -> None:
    sides = (("generalised", answer), ("circuit", circuit))
    rows = [never("t", e) if at is None else happened("t", e, at) for e, at in sides]
    assert_frame_equal(lead_of(*rows, mediated), lead_of(*rows))


def test_shares_count_every_class_with_a_wilson_interval() -> None:
    trials = pl.LazyFrame(
        {"axis": ["a"] * 4 + ["b"], "kind": ["circuit_first", "circuit_first", "circuit_first", None, None]},
        schema={"axis": pl.String, "kind": pl.String},
    )
    result = shares(trials, ["axis"]).collect()
    expected = pl.DataFrame(
        {
            "axis": ["a"] * 7 + ["b"] * 7,
            "kind": list(CLASSES) * 2,
            "count": [3, *[0] * 6] + [0] * 7,
            "n": [3] * 7 + [0] * 7,
            "unknown": [1] * 14,
            "share": [1.0, *[0.0] * 6] + [None] * 7,
            "low": [0.43850, *[0.0] * 6] + [None] * 7,
            "high": [1.0, *[0.56150] * 6] + [None] * 7,
        },
        schema_overrides=dict.fromkeys(("count", "n", "unknown"), pl.get_index_type()),
    )
    assert_frame_equal(result, expected, abs_tol=1e-5)


def test_shares_work_without_axes() -> None:
    trials = pl.LazyFrame({"kind": ["fake", "latent", "fake"]})
    result = shares(trials, []).collect()
    assert dict(zip(result["kind"], result["count"], strict=True)) == {
        **dict.fromkeys(CLASSES, 0), "fake": 2, "latent": 1,
    }  # fmt: skip


def test_a_majority_is_more_than_half() -> None:
    assert majority({"circuit_first": 2, "latent": 1}) == "circuit_first"
    assert majority({"circuit_first": 1, "latent": 1}) == "mixed"
    assert majority({"circuit_first": 2, "undecided": 2}) == "mixed"
    assert majority({"circuit_first": 0}) == "no_data"


def test_the_report_has_the_share_of_each_class_with_its_interval(tmp_path: Path) -> None:
    tables = load(build(tmp_path), "regimes")
    found = {found.title: found.rows for found in findings(tables)}[
        "Share of each class, with its 95 % interval (Wilson)"
    ]
    rows = {row["data.exposure"]: row for row in found.to_dicts()}
    assert {name: row["kind"] for name, row in rows.items()} == {
        "natural": "neither", "first_hop": "latent", "second_hop": "fake", "both_hops": "answer_first"
    }  # fmt: skip
    low = pytest.approx(0.4385, abs=1e-4)  # 3 of 3: n / (n + z^2), z = 1.96
    assert all(
        (row["count"], row["n"], row["share"], row["low"], row["high"]) == (3, 3, 1, low, 1) for row in rows.values()
    )
