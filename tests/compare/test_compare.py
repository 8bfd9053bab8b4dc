"""Comparing: only what differs is shown, times have intervals, and what cannot be tested has a reason."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from synthetic import STEPS, build_tracked, run_id, write_markers, write_study
from typer.testing import CliRunner

from grokstudy.analysis.compare.compare import Comparison, compare, settings
from grokstudy.analysis.compare.select import Side, side
from grokstudy.analysis.compare.select import sides as sides_of
from grokstudy.analysis.compare.text import compare_page, event_rows, overlaid, test_rows
from grokstudy.orchestrator.cli import app

WORDS = ("regimes:data.exposure=natural", "regimes:data.exposure=both_hops")
test_rows.__test__ = False  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tracked(tmp_path_factory.mktemp("compare"), seeds=3)


@pytest.fixture(scope="module")
def sides(root: Path) -> list[Side]:
    return [side(str(root), word) for word in WORDS]


@pytest.fixture(scope="module")
def compared(sides: list[Side]) -> Comparison:
    return compare(sides)


def test_only_settings_that_differ_are_listed(compared: Comparison) -> None:
    natural, both = WORDS
    assert compared.settings.to_dicts() == [{"setting": "data.exposure", natural: "natural", both: "both_hops"}]


def test_settings_that_differ_by_little_differ(sides: list[Side]) -> None:
    decays = (0.1, 0.1000001)
    near = [dataclasses.replace(one, config=({"optim.weight_decay": decay, "model.width": 64},) * 2)
            for one, decay in zip(sides, decays, strict=True)]  # fmt: skip
    assert settings(near).to_dicts() == [
        dict(zip(("setting", *WORDS), ("optim.weight_decay", "0.1", "0.1000001"), strict=True))
    ]


def test_events_have_counts_medians_and_finals(compared: Comparison) -> None:
    rows = {(row["event"], row["side"]): row for row in compared.events.to_dicts()}
    never, often = (rows["generalised", word] for word in WORDS)
    assert (never["observed"], never["n"], never["median"], never["followed"]) == (0, 3, None, 3000)
    assert (often["observed"], often["n"]) == (3, 3)
    assert often["low"] <= often["median"]
    assert never["final"] < 0.1 < 0.8 < often["final"]
    assert next(row["at step"] for row in event_rows(compared) if row["event"] == "generalised") == ">3000"


def test_no_median_is_drawn_over_runs_of_several_settings(root: Path) -> None:
    both = sides_of(str(root), ["regimes", WORDS[1]])
    assert [one.groups for one in both] == [4, 1]
    assert "runs of several settings: regimes has 4; a median over them is of none of them" in compare(both).notes
    for figure in overlaid(both):
        medians = figure.chart.layer[1].data
        assert medians.is_empty() or set(medians["side"]) == {WORDS[1]}
        assert "of sides of one setting" in figure.caption


def test_pairs_are_tested_and_few_seeds_are_told(compared: Comparison) -> None:
    rows = {row["event"]: row for row in compared.tests.to_dicts()}
    found = rows["generalised"]
    assert (found["test"], found["p"], found["p_least"], found["p_unclustered"]) == ("exact", 2 / 8, 2 / 8, 2 / 20)
    assert 0 < rows["generalised"]["low"] <= rows["generalised"]["difference"] <= rows["generalised"]["high"]
    assert rows["memorised"]["difference"] == 0
    assert any("fewer than 6 seeds" in note for note in compared.notes)
    assert len(test_rows(compared)) == 3
    shown = next(row for row in test_rows(compared) if row["event"] == "generalised")
    assert [shown[name] for name in ("p", "least p", "p unclustered", "test")] == ["0.25", "0.25", "0.1", "exact"]


def test_a_side_is_a_study_a_place_in_it_or_a_run(root: Path) -> None:
    assert side(str(root), "regimes").trials.height == 12
    assert side(str(root), "regimes:data.exposure=natural,seed=1").trials.height == 1
    assert side(str(root), run_id(4)).trials["run_id"].to_list() == [run_id(4)]
    for word, said in {
        "absent": "neither a study",
        "regimes:seed": "write axis=value; axes here: data.exposure, seed",
        "regimes:data.exposure=sideways": "is never sideways; it is both_hops",
    }.items():
        with pytest.raises(ValueError, match=said):
            side(str(root), word)


def test_one_side_alone_is_described_without_tests(root: Path) -> None:
    alone = compare([side(str(root), run_id(0))])
    assert alone.tests.is_empty()
    assert alone.settings.is_empty()


def test_events_of_one_name_but_two_meanings_are_pointed_out(root: Path, tmp_path: Path) -> None:
    other = build_tracked(tmp_path, seeds=1)
    events = {"generalised": {"metric": "accuracy", "split": "test_ii", "at_least": 0.9}}
    write_study(other, "other", side(str(other), "regimes").trials.to_dicts(), ["data.exposure"], events=events)
    notes = compare([side(str(other), "regimes"), side(str(other), "other")]).notes
    assert "generalised is not the same event" in notes[1]


def test_the_page_is_whole_and_overlays_the_curves(sides: list[Side], compared: Comparison) -> None:
    page = compare_page(sides, compared)
    assert page.count("<figure ") == 3
    assert page.count("window.vegaEmbed=") == 1
    assert "spec-curves_generalised" in page
    assert len(page) < 3e6


def test_the_command_prints_text_json_and_page(root: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["compare", *WORDS, "--root", str(root), "--html", str(page)])
    assert done.exit_code == 0
    assert "Settings that differ" in done.stdout
    assert page.exists()
    found = json.loads(CliRunner().invoke(app, ["compare", *WORDS, "--root", str(root), "--json"]).stdout)
    assert set(found) == {"settings", "events", "tests", "notes"}
    wrong = CliRunner().invoke(app, ["compare", "absent", "--root", str(root)])
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "studies here: regimes" in wrong.stderr


def test_a_run_that_went_on_for_another_study_has_the_length_that_this_one_asks_for(tmp_path: Path) -> None:
    root = build_tracked(tmp_path, seeds=1)
    write_markers(root, run_id(0), 0, steps=2 * STEPS)
    regimes = [side(str(root), f"regimes:data.exposure={regime}") for regime in ("natural", "both_hops")]
    assert settings(regimes)["setting"].to_list() == ["data.exposure"]


def test_studies_of_different_tasks_are_compared_by_the_events_they_have_in_common(tmp_path: Path) -> None:
    root = build_tracked(tmp_path, seeds=3, base={"task": "two_hop"})
    of_length = {
        "circuit": {"metric": "bridge_hit", "split": "test_oo", "at_least": 0.9},
        "generalised": {"metric": "accuracy", "split": "test_oo", "at_least": 0.5},
        "generalised_ii": {"metric": "accuracy", "split": "x1", "at_least": 0.9},
        "occurrence": {"metric": "bridge_hit", "split": "test_oo", "at_least": 0.1},
    }
    trials = side(str(root), "regimes").trials.to_dicts()
    write_study(
        root, "length_generalisation", trials, ["data.exposure"], events=of_length, base={"task": "copy_retrieve"}
    )
    words = ["regimes:data.exposure=both_hops", "length_generalisation:data.exposure=both_hops"]
    found = compare(sides_of(str(root), words))
    rows = {(row["event"], row["side"]): row for row in found.events.to_dicts()}
    assert {event for event, _ in rows} == {"circuit", "generalised", "generalised_ii"}
    for event in ("circuit", "generalised"):
        assert [rows[event, word]["observed"] for word in words] == [3, 3]
    read = rows["generalised_ii", words[1]]
    assert (read["n"], read["observed"]) == (0, 0), "accuracy on x1, which these curves do not have"
    assert found.notes[0].startswith("different tasks: circuit is the component")
    page = tmp_path / "page.html"
    told = CliRunner().invoke(app, ["compare", *words, "--root", str(root), "--html", str(page)])
    assert told.exit_code == 0, told.stderr
    assert "occurrence" not in told.stdout + page.read_text()


def test_studies_of_different_tasks_without_common_events_are_compared_by_what_they_have(tmp_path: Path) -> None:
    root = build_tracked(tmp_path, seeds=1, base={"task": "two_hop"})
    trials = side(str(root), "regimes").trials.to_dicts()
    learnt = {"learnt": {"metric": "accuracy", "split": "train_ii", "at_least": 0.9}}
    write_study(root, "transfer", trials, ["data.exposure"], events=learnt, base={"task": "two_hop_transfer"})
    found = compare(sides_of(str(root), ["regimes", "transfer"]))
    assert set(found.events["event"]) == {"memorised", "generalised", "circuit", "learnt"}
