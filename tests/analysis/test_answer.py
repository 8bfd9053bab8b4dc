"""The answer table: what it says, and what it does not count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from synthetic import EVENTS, REGIMES, build, build_grid, run_id, trial_row, write_run, write_study

from grokstudy.analysis.answer import answer, as_json_text
from grokstudy.analysis.answer_text import as_text, time_cell
from grokstudy.analysis.labels import label, steps_text
from grokstudy.analysis.tables.study import load

EXPECTED = """\
data.exposure  seeds  memorised at   generalised at    circuit at
-------------  -----  -------------  ----------------  ----------------
natural        3      589 (551–634)  >3000             >3000
first_hop      3      589 (551–634)  >3000             1350 (1204–1509)
second_hop     3      589 (551–634)  1582 (1441–1731)  >3000
both_hops      3      589 (551–634)  680 (622–743)     1372 (1245–1507)

data.exposure  final answer      final circuit     lead    verdict
-------------  ----------------  ----------------  ------  ----------------
natural        0.02 (0.02–0.03)  0.68 (0.67–0.69)          neither 3/3
first_hop      0.03 (0.03–0.04)  0.95 (0.94–0.96)  >+0.33  latent 3/3
second_hop     0.76 (0.73–0.79)  0.57 (0.55–0.58)  <-0.27  fake 3/3
both_hops      0.89 (0.86–0.92)  0.99 (0.98–1.00)  -0.30   answer_first 3/3

data.exposure  order at 0.2 to 0.8         of each ceiling
-------------  --------------------------  --------------------------
natural        undecided                   undecided (>+0.22)
first_hop      undecided (>+0.40)          undecided (>+0.44)
second_hop     undecided                   undecided (-0.06 to -0.05)
both_hops      undecided (-0.12 to -0.04)  undecided (-0.13 to -0.12)

Times are steps: median (range over seeds); >N is not reached by step N. Leads
are decades: median; >X and <X are bounds. An order holds at every threshold
from 0.2 to 0.8 (of each measure's ceiling), and takes 5 seeds.
"""


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    return answer(load(build(tmp_path_factory.mktemp("answer")), "regimes"))


def test_the_table_reads_as_stored(frame: pl.DataFrame) -> None:
    assert as_text(frame) == EXPECTED, "update it when a column, its words or a definition in docs/science.md changes"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_asked(frame: pl.DataFrame, width: int) -> None:
    assert max(map(len, as_text(frame, width).splitlines())) <= width


@pytest.mark.parametrize("width", [60, 80])
def test_groups_of_several_axes_can_be_told_apart(tmp_path: Path, width: int) -> None:
    found = answer(load(build_grid(tmp_path), "grid"))
    table, *others = as_text(found, width).split("\n\n")
    heading, _, *lines = table.splitlines()
    assert heading.startswith("phi  weight_decay  depth   ")
    ends = heading.index("depth") + len("shared")
    assert [line[:ends].split() for line in lines] == [
        [phi, decay, depth]
        for phi in ("1.8", "3.6", "7.2")
        for decay in ("0.03", "0.3")
        for depth in ("shared", "untied")
    ]
    assert all(other.startswith(heading[:ends]) for other in others[:-1])
    assert max(map(len, table.splitlines())) <= width


def test_json_has_null_for_what_is_not_known(frame: pl.DataFrame) -> None:
    rows = json.loads(as_json_text(frame))
    natural = rows[0]
    assert natural["data.exposure"] == "natural"
    assert natural["generalised_at"] is None
    assert natural["generalised_at_beyond"] == 3000
    assert (natural["generalised_observed"], natural["generalised_censored"]) == (0, 3)
    assert [row["verdict"] for row in rows] == ["neither", "latent", "fake", "answer_first"]


def study(root: Path, *trials: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """The answer of one group of runs, of the regime both_hops unless a trial says otherwise."""
    for number, trial in enumerate(trials):
        write_run(root, run_id(number), REGIMES[trial.pop("regime", "both_hops")], seed=number)
    rows = [trial_row("s", number, **{"horizon": 3000, "seed": number, **trial}) for number, trial in enumerate(trials)]
    write_study(root, "s", rows, axes=[], **spec)
    row: dict[str, Any] = answer(load(root, "s")).row(0, named=True)
    return row


def test_crashed_and_unfinished_trials_are_counted_but_not_used(tmp_path: Path) -> None:
    row = study(tmp_path, {}, {"state": "failed"}, {"state": "running"}, {"state": "diverged"})
    assert (row["seeds"], row["unfinished"], row["diverged"], row["answer_first"]) == (2, 2, 1, 2)
    assert row["generalised_final_n"] == 2
    text = as_text(answer(load(tmp_path, "s")))
    assert "2 trials unfinished or failed." in text
    assert text.startswith("study")


def test_a_median_needs_half_of_the_seeds_not_only_the_finished_ones(tmp_path: Path) -> None:
    row = study(tmp_path, {}, {"regime": "natural"}, {"regime": "natural", "horizon": 2000})
    assert row["generalised_at"] is None
    assert row["generalised_at_beyond"] == 2000
    assert (row["generalised_observed"], row["generalised_censored"]) == (1, 2)
    assert ">2000 (1 of 3)" in as_text(answer(load(tmp_path, "s")))


def test_a_split_vote_is_mixed(tmp_path: Path) -> None:
    row = study(tmp_path, {}, {"horizon": 600})
    assert row["verdict"] == "mixed"
    assert "mixed (answer_first 1, neither 1)" in as_text(answer(load(tmp_path, "s")))


def test_runs_that_cannot_be_called_fake_are_counted_beside_the_verdict(tmp_path: Path) -> None:
    """Mediation that was never measured leaves an answer without a circuit undecided."""
    mediated = {"mediated": {"metric": "iia", "split": "test_oo", "at_least": 0.5}}
    row = study(tmp_path, {}, {}, {"regime": "second_hop"}, events={**EVENTS, **mediated})
    assert (row["verdict"], row["answer_first"], row["undecided"], row["fake"]) == ("answer_first", 2, 1, 0)
    assert "answer_first 2/3 (undecided 1)" in as_text(answer(load(tmp_path, "s")))


def test_a_study_without_the_events_has_no_verdict(tmp_path: Path) -> None:
    events = {"late": {"metric": "accuracy", "split": "test_ii", "at_least": 0.8}}
    row = study(tmp_path, {}, {}, events=events)
    assert row["verdict"] == "no_data"
    assert row["late_observed"] == 2
    text = as_text(answer(load(tmp_path, "s")))
    assert "late at" in text
    assert "final late" in text
    assert "verdict" not in text.split("Times are")[0]
    assert "not applicable, they need events named generalised and circuit" in text


def test_a_trial_whose_source_never_came_there_is_a_result_of_its_own(tmp_path: Path) -> None:
    row = study(tmp_path, {}, {"state": "no_start", "run_id": None}, {"state": "waiting", "run_id": None})
    assert (row["seeds"], row["no_start"], row["unfinished"], row["answer_first"]) == (1, 1, 1, 1)
    assert "1 trials without a start" in as_text(answer(load(tmp_path, "s")))


def test_a_study_of_which_nothing_has_ended_has_an_answer_without_numbers(tmp_path: Path) -> None:
    row = study(tmp_path, {"state": "waiting", "run_id": None})
    assert (row["seeds"], row["verdict"], row["generalised_at"]) == (0, "no_data", None)
    assert "no data" in as_text(answer(load(tmp_path, "s")))


def test_a_metric_that_was_never_measured_is_said_so(tmp_path: Path) -> None:
    events = {"circuit": {"metric": "cqsp_oi", "split": "test_oo", "at_least": 0.8}}
    row = study(tmp_path, {}, events=events)
    assert (row["circuit_observed"], row["circuit_final"]) in ((0, None), (None, None))
    assert "not measured" in as_text(answer(load(tmp_path, "s")))


def test_a_study_without_trials_has_no_rows(tmp_path: Path) -> None:
    write_study(tmp_path, "s", [], axes=["depth"])
    assert as_text(answer(load(tmp_path, "s"))) == "no trials yet\n"


def test_steps_and_labels_read_well() -> None:
    assert [steps_text(x) for x in (None, 7.4, 9999, 37490, 743580, 1.34e6)] == [
        "?",
        "7",
        "9999",
        "37.5k",
        "744k",
        "1.34M",
    ]
    assert label({"data.phi": 7.5}) == "7.5"
    assert label({"data.phi": 7.5, "depth": "shared"}) == "phi=7.5, shared"
    assert label({}) == "all"


@pytest.mark.parametrize(
    ("observed", "censored", "followed", "cell"),
    [
        (1, 4, 0.0, ">0 (1 of 5)"),
        (1, 1, 999.0, ">0 (1 of 2)"),
        (1, 1, 1000.0, "1000 (1000–>1000)"),
        (2, 0, None, "1000 (1000–1200)"),
    ],
)
def test_a_median_of_those_alone_that_came_to_the_event_is_not_shown(
    observed: int, censored: int, followed: float | None, cell: str
) -> None:
    row = {"e_observed": observed, "e_censored": censored, "e_at": 1000.0, "e_at_first": 1000.0, "e_at_last": 1200.0,
           "e_at_beyond": 0.0, "e_at_followed": followed}  # fmt: skip
    assert time_cell(row, "e") == cell
