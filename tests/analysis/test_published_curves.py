"""Golden: the published pretraining curves of arXiv 2601.09049 (tests/data/README.md) order as the paper says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from grokstudy.analysis import load
from grokstudy.analysis.statistics.decoupling import leads
from grokstudy.analysis.statistics.lead_curve import group_leads, orders, run_leads
from grokstudy.analysis.tables.study import StudyTables
from grokstudy.orchestrator.root.curve_file import CurveColumn, External
from grokstudy.orchestrator.root.import_curves import import_external
from grokstudy.trainables.events import events_of
from grokstudy.trainables.storage.store import Store

CSV = Path(__file__).parents[1] / "data" / "published_pretraining_curves.csv"
CURVES = (
    CurveColumn("ood_answer_rate", "answer_hit_any", "test_oo"),
    CurveColumn("ood_bridge_rate", "bridge_hit_any", "test_oo"),
)
SPACING = 7_500
"""Steps between two published evaluations, at most."""
Times = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> StudyTables:
    store = Store(tmp_path_factory.mktemp("published"))
    import_external(store, "published", External(CSV, "regime", "step", CURVES), {})
    return load(store.uri, "published")


def found(
    published: StudyTables, consecutive: int, *, stable: bool = False, bridge: float = 0.9, answer: float = 0.5
) -> StudyTables:
    """Bridge at .9 and answer at .5 in each regime, unless other thresholds are asked for."""
    options = {"split": "test_oo", "for": consecutive, "stable": stable}
    events = {
        "generalised": {"metric": "answer_hit_any", "at_least": answer, **options},
        "circuit": {"metric": "bridge_hit_any", "at_least": bridge, **options},
    }
    return dataclasses.replace(published, declared=events_of({"events": events}))


def times(published: StudyTables, consecutive: int, *, stable: bool = False) -> Times:
    rows = found(published, consecutive, stable=stable).events.collect().to_dicts()
    return {(row["curve"], row["event"]): row for row in rows}


@pytest.mark.parametrize(
    ("regime", "event", "step"),
    [
        ("natural", "circuit", 311_000),
        ("natural", "generalised", 396_000),
        ("both_hops", "generalised", 37_000),
        ("both_hops", "circuit", 60_000),
        ("first_hop", "circuit", 73_000),
        ("first_hop", "generalised", 744_000),
        ("second_hop", "generalised", 291_000),
    ],
)
def test_first_crossings_are_the_published_ones(published: StudyTables, regime: str, event: str, step: float) -> None:
    row = times(published, 1)[regime, event]
    assert row["time"] == pytest.approx(step, abs=SPACING)
    assert row["lower"] < row["time"] <= row["upper"]


def test_the_bridge_never_forms_with_second_hop_exposure(published: StudyTables) -> None:
    row = times(published, 1)["second_hop", "circuit"]
    assert (row["state"], row["horizon"]) == ("censored", 1_600_500)


@pytest.mark.parametrize(("consecutive", "step"), [(1, 157_000), (3, 172_000)])
def test_the_bridge_of_both_hops_is_kept_only_much_later(published: StudyTables, consecutive: int, step: float) -> None:
    """Below .9 two evaluations in a row until 150k, once more at 165k; later misses are single training spikes."""
    kept = times(published, consecutive, stable=True)["both_hops", "circuit"]
    assert kept["time"] == pytest.approx(step, abs=SPACING)


def test_the_collapse_at_the_end_of_first_hop_is_not_stable(published: StudyTables) -> None:
    assert times(published, 1, stable=True)["first_hop", "generalised"]["state"] == "censored"


def classes(tables: StudyTables) -> dict[str, dict[str, Any]]:
    """Lead and class of each regime."""
    named = tables.trials.select("trial_id", "curve")
    rows = leads(tables.events).join(named, on="trial_id").collect().to_dicts()
    return {row["curve"]: row for row in rows}


UPDATE = "update it when an event's time or a class is defined otherwise in docs/science.md, and say so in CHANGELOG.md"


def test_the_four_orders_of_the_paper(published: StudyTables) -> None:
    rows = classes(found(published, 1))
    assert {regime: row["kind"] for regime, row in rows.items()} == {
        "natural": "circuit_first", "both_hops": "answer_first", "first_hop": "circuit_first", "second_hop": "fake",
    }, UPDATE  # fmt: skip
    assert rows["natural"]["lead"] == pytest.approx(0.10, abs=0.02)
    assert rows["both_hops"]["lead"] == pytest.approx(-0.20, abs=0.03)
    assert rows["first_hop"]["lead"] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("bridge", "natural", "kind"),
    [(0.5, 0.26, "circuit_first"), (0.9, 0.11, "circuit_first"), (0.99, 0.04, "simultaneous")],
)
def test_the_class_of_the_natural_regime_hangs_on_the_threshold(
    published: StudyTables, bridge: float, natural: float, kind: str
) -> None:
    row = classes(found(published, 1, bridge=bridge))["natural"]
    assert (row["kind"], row["lead"]) == (kind, pytest.approx(natural, abs=0.015)), UPDATE


@pytest.mark.parametrize(("bridge", "kind"), [(0.5, "answer_first"), (0.9, "fake")])
def test_second_hop_exposure_is_fake_only_where_the_bridge_is_asked_for_in_nine_of_ten(
    published: StudyTables, bridge: float, kind: str
) -> None:
    row = classes(found(published, 1, bridge=bridge))["second_hop"]
    assert row["kind"] == kind, UPDATE
    if kind == "answer_first":
        assert row["lead"] == pytest.approx(-0.35, abs=0.02), UPDATE


def test_at_equal_thresholds_both_hops_are_still_answer_first(published: StudyTables) -> None:
    rows = classes(found(published, 1, bridge=0.5))
    assert {regime: rows[regime]["kind"] for regime in ("both_hops", "first_hop")} == {
        "both_hops": "answer_first", "first_hop": "circuit_first",
    }, UPDATE  # fmt: skip


def test_the_sign_of_the_published_leads_over_equal_thresholds(published: StudyTables) -> None:
    """One run each: the curves have signs, and no order, for there is no interval. n is not published, nor an error."""
    runs = run_leads(found(published, 1)).join(published.trials.collect(), on="trial_id")
    signs = {
        regime: {"+" if lead > 0 else "-" for lead in own["lead"].drop_nulls()}
        for (regime,), own in runs.group_by("curve")
    }
    assert signs == {"natural": {"+"}, "first_hop": {"+"}, "second_hop": {"-"}, "both_hops": {"-"}}, UPDATE
    assert runs["error"].null_count() == runs.height
    rows = orders(group_leads(runs, ["curve"]), ["curve"])
    assert set(rows["order"]) == {"undecided"}
    assert set(rows["reason"]) == {"fewer than 5 runs: their range covers the median in 0%"}
