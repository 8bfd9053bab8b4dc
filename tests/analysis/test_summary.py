"""The answer in sentences: n, interval, horizon and order are in them, and they fit a screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from synthetic import STEPS, Regime, build, build_grid, run_id, trial_row, write_run, write_study

from grokstudy.analysis.answer import answer
from grokstudy.analysis.summary import answer_text, carrying, sentences, used_words
from grokstudy.analysis.tables.study import load

REGIMES_SAID = [
    "Most runs answered: 5 of 5 (95 % 0.57 to 1.00) in second_hop, at step 1731 (1441–2054); 5 of 5 (95 % 0.57 to "
    "1.00) in both_hops, at step 743 (622–873).",
    "The order is open in both_hops, median lead of the circuit -0.31 decades, n=5.",
    "Most runs had not answered within 3000 steps: 0 of 5 (95 % 0.00 to 0.43) in natural; 0 of 5 (95 % 0.00 to 0.43) "
    "in first_hop; the circuit formed all the same in 5 of 5 in first_hop.",
]


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    return answer(load(build(tmp_path_factory.mktemp("summary"), seeds=5), "regimes"))


def test_the_sentences_say_how_many_by_when_and_in_which_order(frame: pl.DataFrame) -> None:
    assert sentences(frame) == REGIMES_SAID


def test_words_of_the_verdicts_are_explained_where_they_occur(frame: pl.DataFrame) -> None:
    assert list(used_words(frame)) == ["answer_first", "fake", "latent", "neither"]
    assert [row["verdict"] for row in carrying(frame)] == ["neither 5/5", "latent 5/5", "fake 5/5", "answer_first 5/5"]


def test_the_parts_of_a_mixed_verdict_are_explained(frame: pl.DataFrame) -> None:
    mixed = frame.head(1).with_columns(verdict=pl.lit("mixed"), neither=0, fake=2, undecided=1, simultaneous=2)
    assert list(used_words(mixed)) == ["simultaneous", "fake", "undecided"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_answer_comes_first_within_the_width(frame: pl.DataFrame, width: int) -> None:
    text = answer_text(frame, width)
    assert text.startswith("Most runs answered: 5 of 5")
    assert max(map(len, text.splitlines())) <= width


def test_a_circuit_that_is_first_by_far_is_said_so(tmp_path: Path) -> None:
    for seed in range(5):
        write_run(tmp_path, run_id(seed), Regime(1.0, 1000, 1.0, 200), seed)
    write_study(tmp_path, "s", [trial_row("s", seed, STEPS, seed) for seed in range(5)], axes=[])
    first, order = sentences(answer(load(tmp_path, "s")))
    assert first.startswith("5 of 5 (95 % 0.57 to 1.00) of the runs answered, at step ")
    assert order.startswith("At every threshold from 0.2 to 0.8 the circuit came first in all runs (by 0.")
    assert order.endswith(" decades of steps).")


def test_many_settings_are_counted_and_not_listed(tmp_path: Path) -> None:
    said = sentences(answer(load(build_grid(tmp_path), "grid")))
    assert said[0].startswith("Most runs answered in 2 of 12 settings: 2 of 2 (95 % 0.34 to 1.00) in ")
    assert said[-1].startswith("Most runs had not answered within 3000 steps in 10 of 12 settings;")


def test_of_many_settings_that_answered_the_first_and_the_last_are_told(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for phi, decay, first in ((1.8, 0.1, 0), (1.8, 1.0, 0), (3.6, 0.1, 900), (3.6, 1.0, 800), (7.2, 0.1, 700),
                              (7.2, 1.0, 600), (9.0, 0.1, 500), (9.0, 1.0, 0)):  # fmt: skip
        run = run_id(len(rows))
        write_run(tmp_path, run, Regime(1.0, first, 0.0, first) if first else Regime(0.1, 500, 0.0, 500), len(rows))
        values: dict[str, Any] = {"data.phi": phi, "optim.weight_decay": decay}
        rows.append(trial_row("many", len(rows), STEPS, len(rows), **values))
    write_study(tmp_path, "many", rows, axes=["data.phi", "optim.weight_decay"])
    said = sentences(answer(load(tmp_path, "many")))[0]
    assert said.startswith("Answered in 5 of 8 settings, all with phi 3.6, 7.2 or 9: first 1 of 1 ")
    assert " in phi=9, weight_decay=0.1, at step " in said
    assert " in phi=3.6, weight_decay=0.1, at step " in said
    assert said.index("phi=9") < said.index("; last 1 of 1") < said.index("phi=3.6, weight_decay=0.1")


def test_the_brief_table_of_many_settings_says_where_the_rest_is(tmp_path: Path) -> None:
    grid = answer(load(build_grid(tmp_path), "grid"))
    many = pl.concat([grid, grid])
    whole, brief = answer_text(many), answer_text(many, brief=True)
    assert "final answer" in whole
    assert "answer.txt" not in whole
    assert "final answer" not in brief
    assert "answer.txt" in brief
    assert "verdict" in brief
    assert answer_text(grid, brief=True) == answer_text(grid)


def test_a_study_of_other_events_and_one_without_runs_have_their_sentence(tmp_path: Path) -> None:
    build(tmp_path, seeds=1, events={"late": {"metric": "accuracy", "split": "test_ii", "at_least": 0.8}})
    (said,) = sentences(answer(load(tmp_path, "regimes")))
    assert said.startswith("Came to late: 1 of 1 (95 % 0.21 to 1.00) in natural, at step ")
    build(tmp_path / "none", seeds=1, events={"so_late": {"metric": "accuracy", "split": "test_ii", "at_least": 1.0}})
    (said,) = sentences(answer(load(tmp_path / "none", "regimes")))
    assert said.startswith("Not come to so late within 3000 steps")
    build(tmp_path / "never", seeds=2, events={"so_late": {"metric": "accuracy", "split": "test_ii", "at_least": 1.0}})
    (said,) = sentences(answer(load(tmp_path / "never", "regimes")))
    assert said.startswith("Most runs had not come to so late within 3000 steps")
    write_study(tmp_path, "waiting", [trial_row("waiting", 0, STEPS, 0, state="missing")], axes=[])
    assert sentences(answer(load(tmp_path, "waiting"))) == ["No run has ended yet."]
    write_study(tmp_path, "none", [], axes=["depth"])
    assert sentences(answer(load(tmp_path, "none"))) == []
