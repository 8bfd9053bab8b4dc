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
from grokstudy.analysis.statistics.decoupling import CLASSES, VERDICTS, leads, majority, shares
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
    ("answer", "circuit", "kind", "verdict"),
    [
        (1000, 100, "circuit_first", "coupled"),
        (1000, 900, "simultaneous", "coupled"),
        (900, 1000, "simultaneous", "coupled"),
        (100, 1000, "answer_first", "coupled"),
        (1000, None, "fake", "fake"),
        (None, 1000, "latent", "latent"),
        (None, None, "neither", "neither"),
    ],
)
def test_each_order_has_its_class(answer: float | None, circuit: float | None, kind: str, verdict: str) -> None:
    sides = (("generalised", answer), ("circuit", circuit))
    row = lead_of(*(never("t", e) if at is None else happened("t", e, at) for e, at in sides)).row(0, named=True)
    assert (row["kind"], row["verdict"]) == (kind, verdict)
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
    assert frame["verdict"].to_list() == [None, None]
    assert frame["kind"].to_list() == [None, None]


def test_shares_count_every_verdict_with_a_wilson_interval() -> None:
    trials = pl.LazyFrame(
        {"axis": ["a"] * 4 + ["b"], "verdict": ["coupled", "coupled", "coupled", None, None]},
        schema={"axis": pl.String, "verdict": pl.String},
    )
    result = shares(trials, ["axis"]).collect()
    expected = pl.DataFrame(
        {
            "axis": ["a"] * 4 + ["b"] * 4,
            "verdict": list(VERDICTS) * 2,
            "count": [3, 0, 0, 0] + [0] * 4,
            "n": [3] * 4 + [0] * 4,
            "unknown": [1] * 8,
            "share": [1.0, 0.0, 0.0, 0.0] + [None] * 4,
            "low": [0.43850, 0.0, 0.0, 0.0] + [None] * 4,
            "high": [1.0, 0.56150, 0.56150, 0.56150] + [None] * 4,
        },
        schema_overrides=dict.fromkeys(("count", "n", "unknown"), pl.get_index_type()),
    )
    assert_frame_equal(result, expected, abs_tol=1e-5)


def test_shares_work_without_axes_and_for_classes() -> None:
    trials = pl.LazyFrame({"kind": ["fake", "latent", "fake"]})
    result = shares(trials, [], "kind").collect()
    assert dict(zip(result["kind"], result["count"], strict=True)) == {
        **dict.fromkeys(CLASSES, 0), "fake": 2, "latent": 1,
    }  # fmt: skip


def test_a_majority_is_more_than_half() -> None:
    assert majority({"coupled": 2, "latent": 1}) == "coupled"
    assert majority({"coupled": 1, "latent": 1}) == "mixed"
    assert majority({"coupled": 0}) == "no_data"


def test_the_report_has_the_share_of_each_class_with_its_interval(tmp_path: Path) -> None:
    tables = load(build(tmp_path), "regimes")
    found = dict(findings(tables))["Share of each class, with its 95 % interval (Wilson)"]
    rows = {row["data.exposure"]: row for row in found.to_dicts()}
    assert {name: row["kind"] for name, row in rows.items()} == {
        "natural": "neither", "first_hop": "latent", "second_hop": "fake", "both_hops": "answer_first"
    }  # fmt: skip
    low = pytest.approx(0.4385, abs=1e-4)  # 3 of 3: n / (n + z^2), z = 1.96
    assert all(
        (row["count"], row["n"], row["share"], row["low"], row["high"]) == (3, 3, 1, low, 1) for row in rows.values()
    )
