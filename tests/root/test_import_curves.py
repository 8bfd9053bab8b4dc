"""Published curves become a study, and its answer is the published one."""

from __future__ import annotations

from pathlib import Path

import pytest

from grokstudy.analysis import load
from grokstudy.orchestrator.root.curve_file import Curve, External
from grokstudy.orchestrator.root.import_curves import import_external
from grokstudy.trainables.events import Event
from grokstudy.trainables.storage.store import Store

CSV = Path(__file__).parents[1] / "data" / "published_pretraining_curves.csv"
CURVES = (
    Curve("train_accuracy", "accuracy", "train_ii"),
    Curve("ood_bridge_rate", "bridge_hit_any", "test_oo"),
    Curve("ood_answer_rate", "answer_hit_any", "test_oo"),
)
EVENTS = (
    "memorised=accuracy/train_ii>=0.95",
    "generalised=answer_hit_any/test_oo>=0.5",
    "circuit=bridge_hit_any/test_oo>=0.9",
    "kept=bridge_hit_any/test_oo>=0.9:3:stable",
)
SPACING = 7_500


def test_published_curves_are_a_study_with_the_published_answer(store: Store) -> None:
    source = External(CSV, "regime", "step", CURVES)
    assert import_external(store, "published", source, dict(map(Event.parse, EVENTS))) == 4
    assert import_external(store, "published", source, dict(map(Event.parse, EVENTS))) == 4
    tables = load(store.uri, "published")
    assert tables.warnings == []
    found = {(row["curve"], row["event"]): row["time"] for row in tables.events.collect().to_dicts()}
    expected = {
        ("natural", "circuit"): 311_000, ("natural", "generalised"): 396_000,
        ("both_hops", "generalised"): 37_000, ("both_hops", "circuit"): 60_000, ("both_hops", "kept"): 172_000,
        ("first_hop", "circuit"): 73_000, ("first_hop", "generalised"): 744_000,
        ("second_hop", "generalised"): 291_000,
    }  # fmt: skip
    for key, time in expected.items():
        assert found[key] == pytest.approx(time, abs=SPACING), key
    assert found["second_hop", "circuit"] is None
    assert tables.evals.select("n", "loss").collect().null_count().row(0) == (850, 850)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [("a", "is not COLUMN=METRIC/SPLIT"), ("a=accuracy/test_xx", "split 'test_xx' is unknown; known: train_ii")],
)
def test_a_bad_mapping_says_what_is_allowed(text: str, fragment: str) -> None:
    with pytest.raises(ValueError, match=fragment):
        Curve.parse(text)


@pytest.mark.parametrize("text", ["circuit", "circuit=cqsp>=0.5", "circuit=cqsp/test_oo>0.5", "c=cqsp/test_oo>=x"])
def test_a_bad_event_says_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="is not NAME=METRIC/SPLIT>=VALUE"):
        Event.parse(text)


def test_missing_values_leave_no_row_and_bad_columns_are_named(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("run,step,a,b\nx,0,0.1,word\nx,10,,word\n")
    import_external(store, "few", External(path, "run", "step", (Curve("a", "accuracy", "test_oo"),)), {})
    assert load(store.uri, "few").evals.collect()["step"].to_list() == [0]
    with pytest.raises(ValueError, match="there is no column 'c'; columns: run, step, a, b"):
        External(path, "run", "step", (Curve("c", "accuracy", "test_oo"),)).read()
    with pytest.raises(ValueError, match="row 2: column 'b' holds 'word'; allowed: a share"):
        External(path, "run", "step", (Curve("b", "accuracy", "test_oo"),)).read()
