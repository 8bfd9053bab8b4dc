"""The lead over equal thresholds: constant where curves have one shape, and an order only where all of it agrees."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from synthetic import EVENTS, STEPS, Regime, run_id, trial_row, write_run, write_study

from grokstudy.analysis.answer import answer, lead_curve
from grokstudy.analysis.answer_text import as_text
from grokstudy.analysis.events import SERIES, SITES
from grokstudy.analysis.statistics.lead_curve import CURVE, group_leads, orders
from grokstudy.analysis.tables.study import StudyTables, load
from grokstudy.analysis.tables.thresholds import EQUAL, SCALES, THRESHOLDS, equal_thresholds
from grokstudy.trainables.events import Event


def study(root: Path, regime: Regime, seeds: int = 5, **spec: Any) -> StudyTables:
    """Runs of one regime; the later the seed, the lower both curves end and the later they rise."""
    for seed in range(seeds):
        write_run(root, run_id(seed), regime, seed)
    write_study(root, "s", [trial_row("s", seed, STEPS, seed) for seed in range(seeds)], axes=[], **spec)
    return load(root, "s")


def order_of(tables: StudyTables, scale: str) -> dict[str, Any]:
    found = orders(group_leads(lead_curve(tables), []), []).filter(pl.col("scale") == scale)
    row: dict[str, Any] = found.row(0, named=True)
    return row


def crossed(values: list[float | None], at_least: float | None = 0.5, n: int | None = 100, **rule: Any) -> pl.DataFrame:
    """Crossings of one trial's measure, evaluated at steps 100, 1000, 10000, ..."""
    steps = [10 ** (2 + place) for place in range(len(values))]
    rows = [("t", "e", step, value, n) for step, value in zip(steps, values, strict=True)]
    event = {"e": Event(metric="accuracy", split=("test_oo",), **{"at_least": at_least, "for_": 1, **rule})}
    return equal_thresholds(pl.DataFrame(rows, SERIES, orient="row"), pl.DataFrame(schema=SITES), event)


def at(found: pl.DataFrame, scale: str, threshold: float) -> dict[str, Any]:
    row: dict[str, Any] = found.filter((pl.col("scale") == scale) & (pl.col("threshold") == threshold)).row(
        0, named=True
    )
    return row


def test_the_same_measure_crosses_every_threshold_of_both_scales() -> None:
    found = crossed([0.1, 0.5, 0.9])
    assert found.schema == EQUAL
    assert found.select("scale", "threshold").rows() == [(scale, level) for scale in SCALES for level in THRESHOLDS]
    assert at(found, "absolute", 0.3)["time"] == pytest.approx(100 * math.sqrt(10))
    assert at(found, "of_ceiling", 0.5)["time"] == pytest.approx(100 * 10 ** (0.35 / 0.4))  # 0.45 of 0.9


def test_the_ceiling_is_held_for_as_many_evaluations_as_the_event_asks_for() -> None:
    spike = crossed([0.1, 0.9, 0.2, 0.4, 0.4, 0.4, 0.5], for_=3)
    assert at(spike, "of_ceiling", 0.8)["upper"] == 10**5  # 0.8 of 0.4, first held from the fourth evaluation on
    assert at(spike, "absolute", 0.4)["upper"] == 10**5
    assert at(spike, "absolute", 0.5)["state"] == "censored"


def test_a_measure_that_has_not_risen_has_no_shares_of_its_ceiling() -> None:
    assert crossed([0.0, 0.02, 0.19])["state"].unique().to_list() == ["censored"]
    assert at(crossed([0.0, 0.02, 0.2]), "of_ceiling", 0.8)["state"] == "observed"
    assert crossed([None, None])["state"].unique().to_list() == ["no_data"]


def test_the_sampling_error_is_the_binomial_one_over_the_slope() -> None:
    found = crossed([0.3, 0.7], n=100)
    assert at(found, "absolute", 0.5)["error"] == pytest.approx(math.sqrt(0.25 / 100) / 0.4)
    share = 0.5 * 0.7
    assert at(found, "of_ceiling", 0.5)["error"] == pytest.approx(math.sqrt(share * (1 - share) / 100) / 0.4)
    assert at(crossed([0.3, 0.7], n=None), "absolute", 0.5)["error"] is None
    assert at(found, "absolute", 0.2)["error"] is None, "it was there at the first evaluation: no slope"
    assert at(found, "absolute", 0.8)["error"] is None


def test_only_rising_measures_and_only_shares_have_absolute_thresholds() -> None:
    assert crossed([3.0, 1.0], at_least=None, at_most=2.0).is_empty()
    assert crossed([-3.0, 4.0])["scale"].unique().to_list() == ["of_ceiling"]


def test_curves_of_one_shape_have_one_lead(tmp_path: Path) -> None:
    tables = study(tmp_path, Regime(answer=1.0, answer_at=1300, bridge=1.0, bridge_at=650))
    runs = lead_curve(tables)
    assert runs.group_by("trial_id").len()["len"].unique().to_list() == [2 * len(THRESHOLDS)]
    relative = runs.filter(pl.col("scale") == "of_ceiling")
    assert relative["lead"].to_list() == pytest.approx(
        [math.log10(2)] * relative.height, abs=0.04
    )  # the latest end below it
    for scale in SCALES:
        row = order_of(tables, scale)
        assert (row["order"], row["n"], row["reason"]) == ("circuit_first", 5, None)
        assert 0.1 < row["low"] < row["high"] < 0.5


def test_an_order_that_hangs_on_the_threshold_is_none(tmp_path: Path) -> None:
    """The answer rises first and ends at .6, so that it is ahead at .2 and never comes to .7."""
    tables = study(tmp_path, Regime(answer=0.6, answer_at=600, bridge=1.0, bridge_at=1000))
    absolute = order_of(tables, "absolute")
    assert (absolute["order"], absolute["low"] < 0, absolute["high"]) == ("undecided", True, None)
    assert absolute["reason"] == "the interval holds 0 at 0.5"
    assert order_of(tables, "of_ceiling")["order"] == "answer_first"


def test_together_within_a_tenth_of_a_decade_is_simultaneous(tmp_path: Path) -> None:
    tables = study(tmp_path, Regime(answer=1.0, answer_at=800, bridge=0.98, bridge_at=800))
    assert [order_of(tables, scale)["order"] for scale in SCALES] == ["simultaneous"] * 2


def test_four_seeds_show_no_order(tmp_path: Path) -> None:
    row = order_of(study(tmp_path, Regime(1.0, 1300, 1.0, 650), seeds=4), "absolute")
    assert (row["order"], row["reason"]) == ("undecided", "fewer than 5 runs: their range covers the median in 88%")


def test_censored_leads_are_bounds_and_are_counted(tmp_path: Path) -> None:
    tables = study(tmp_path, Regime(answer=0.05, answer_at=1300, bridge=1.0, bridge_at=650))
    curve = group_leads(lead_curve(tables), [])
    assert curve.schema == CURVE
    counts = curve.select("n", "observed", "above", "below", "neither").unique().rows()
    assert counts == [(5, 0, 5, 0, 0)]
    assert curve["lead"].null_count() == curve["high"].null_count() == curve.height
    assert curve["low"].min() > 0.1  # type: ignore[operator]
    row = answer(tables).row(0, named=True)
    assert (row["verdict"], row["order_absolute"], row["order_absolute_high"]) == ("latent", "circuit_first", None)
    assert (row["lead"], row["lead_high"], row["lead_n"]) == (None, None, 0)
    assert row["lead_low"] > 0.1
    assert f"circuit_first (>+{row['order_absolute_low']:.2f})" in as_text(answer(tables))


def test_one_run_has_a_curve_and_no_interval(tmp_path: Path) -> None:
    tables = study(tmp_path, Regime(1.0, 1300, 1.0, 650), seeds=1)
    curve = group_leads(lead_curve(tables), [])
    assert curve["lead"].null_count() == 0
    assert curve["low"].null_count() == curve["high"].null_count() == curve.height


def test_a_study_without_the_two_events_has_no_curve(tmp_path: Path) -> None:
    events = {"late": {"metric": "accuracy", "split": "test_ii", "at_least": 0.8}, "circuit": EVENTS["circuit"]}
    tables = study(tmp_path, Regime(1.0, 1300, 1.0, 650), events=events)
    assert group_leads(lead_curve(tables).drop_nulls("scale"), []).is_empty()
    assert answer(tables).row(0, named=True)["order_absolute"] is None
