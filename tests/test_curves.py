"""Golden: the published pretraining curves of arXiv 2601.09049 (tests/data/README.md) order as the paper says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from analysis.curves import events_on, import_curves
from analysis.decoupling import leads
from analysis.series import MEASURES

CSV = Path(__file__).parent / "data" / "published_pretraining_curves.csv"
MAPPING = {
    "trial": "regime",
    "step": "step",
    "values": {
        "ood_answer_rate": {"metric": "answer_hit_any", "split": "test_oo"},
        "ood_bridge_rate": {"metric": "bridge_hit_any", "split": "test_oo"},
    },
}
SPACING = 7_500
"""Steps between two published evaluations, at most."""


def times(consecutive: int, *, stable: bool = False) -> dict[tuple[str, str], dict[str, Any]]:
    """Bridge at .9 and answer at .5 in each regime."""
    options = {"split": "test_oo", "for": consecutive, "stable": stable}
    events = {
        "generalised": {"metric": "answer_hit_any", "at_least": 0.5, **options},
        "circuit": {"metric": "bridge_hit_any", "at_least": 0.9, **options},
    }
    rows = events_on(import_curves(CSV, MAPPING), events).collect().iter_rows(named=True)
    return {(row["trial_id"], row["event"]): row for row in rows}


@pytest.mark.parametrize(
    ("regime", "event", "published"),
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
def test_first_crossings_are_the_published_ones(regime: str, event: str, published: float) -> None:
    row = times(1)[regime, event]
    assert row["time"] == pytest.approx(published, abs=SPACING)
    assert row["lower"] < row["time"] <= row["upper"]


def test_the_bridge_never_forms_with_second_hop_exposure() -> None:
    row = times(1)["second_hop", "circuit"]
    assert (row["state"], row["horizon"]) == ("censored", 1_600_500)


@pytest.mark.parametrize(("consecutive", "published"), [(1, 157_000), (3, 172_000)])
def test_the_bridge_of_both_hops_is_kept_only_much_later(consecutive: int, published: float) -> None:
    """Below .9 two evaluations in a row until 150k, once more at 165k; later misses are single training spikes."""
    assert times(consecutive, stable=True)["both_hops", "circuit"]["time"] == pytest.approx(published, abs=SPACING)


def test_the_collapse_at_the_end_of_first_hop_is_not_stable() -> None:
    assert times(1, stable=True)["first_hop", "generalised"]["state"] == "censored"


def test_the_four_orders_of_the_paper() -> None:
    rows = [*times(1).values()]
    found = leads(pl.LazyFrame(rows, infer_schema_length=None)).collect()
    kinds = dict(zip(found["trial_id"], found["kind"], strict=True))
    assert kinds == {
        "natural": "circuit_first", "both_hops": "answer_first", "first_hop": "circuit_first", "second_hop": "fake",
    }  # fmt: skip
    lead = dict(zip(found["trial_id"], found["lead"], strict=True))
    assert lead["natural"] == pytest.approx(0.10, abs=0.02)
    assert lead["both_hops"] == pytest.approx(-0.20, abs=0.03)
    assert lead["first_hop"] == pytest.approx(1.0, abs=0.02)


def test_imported_curves_have_the_tidy_shape() -> None:
    frame = import_curves(CSV, MAPPING)
    assert frame.collect_schema() == MEASURES
    assert frame.collect().height == 2 * 850


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="there is no column 'stage'; columns: regime, step"):
        import_curves(CSV, {**MAPPING, "trial": "stage"})
