"""SQL over a study: what is asked for comes back, and a wrong name is told with the right ones."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from synthetic import REGIMES, STEPS, build, trial_row, write_run, write_study
from typer.testing import CliRunner

from grokstudy.analysis.query import query
from grokstudy.analysis.tables.study import load
from grokstudy.orchestrator.cli import app


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("query"), seeds=1)


def test_tables_can_be_joined_and_grouped(root: Path) -> None:
    tables = load(root, "regimes")
    sql = (
        'SELECT t."data.exposure" AS regime, count(*) AS n FROM steps s JOIN trials t ON s.trial_id = t.trial_id '
        "WHERE s.step < 100 GROUP BY regime ORDER BY regime"
    )
    expected = pl.DataFrame({"regime": ["both_hops", "first_hop", "natural", "second_hop"], "n": [100] * 4})
    assert_frame_equal(query(tables, sql), expected, check_dtypes=False)
    assert query(tables, "SELECT event FROM events WHERE state = 'observed' AND event = 'circuit'").height == 2


def test_mistakes_are_told_with_the_names_that_there_are(root: Path) -> None:
    tables = load(root, "regimes")
    for sql in ("SELECT nope FROM trials", "SELEC", "SELECT * FROM nowhere"):
        with pytest.raises(ValueError, match=r'seed, state, "data\.exposure"'):
            query(tables, sql)


def test_the_command_prints_text_json_and_csv(root: Path) -> None:
    words = ["query", "SELECT seed, state FROM trials LIMIT 1", "--root", str(root)]
    assert CliRunner().invoke(app, words).stdout == "seed  state\n   0  done\n"
    assert json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout) == [{"seed": 0, "state": "done"}]
    assert CliRunner().invoke(app, [*words, "--csv"]).stdout == "seed,state\n0,done\n"


def test_with_several_studies_one_must_be_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_study(tmp_path, name, [], axes=[])
    done = CliRunner().invoke(app, ["query", "SELECT * FROM trials", "--root", str(tmp_path)])
    assert done.exit_code == 2
    assert done.stderr.strip().endswith("say which study with --study: a, b")
    named = CliRunner().invoke(app, ["query", "SELECT * FROM trials", "--root", str(tmp_path), "--study", "a"])
    assert named.stdout.strip() == "no rows"


def test_several_studies_are_asked_at_once(tmp_path: Path) -> None:
    events = {
        "circuit": {"metric": "bridge_hit", "split": "test_oo", "at_least": 0.9},
        "generalised": {"metric": "accuracy", "split": "test_oo", "at_least": 0.5},
    }
    build(tmp_path, "regimes", seeds=1, base={"task": "two_hop"})
    run, row = "9" * 16, {"data.hops": 3, "data.exposure": 5.0}
    write_run(tmp_path, run, REGIMES["both_hops"], 0)
    rows = [{**trial_row("k_hop", 0, STEPS, 0), **row, "run_id": run}]
    write_study(tmp_path, "k_hop", rows, ["data.hops", "data.exposure"], events=events, base={"task": "k_hop"})
    both = [load(tmp_path, name) for name in ("regimes", "k_hop")]
    counted = query(both, "SELECT study, count(*) AS n FROM trials GROUP BY study ORDER BY n")
    assert counted.rows() == [("k_hop", 1), ("regimes", 4)]
    axes = query(both, 'SELECT study, "data.hops", "data.exposure" FROM trials WHERE state = \'done\' ORDER BY study')
    assert axes.rows()[0] == ("k_hop", 3, "5.0"), "text in one, a number in the other"
    assert axes.rows()[1][1] is None
    asked = (
        "SELECT study, task, setting, component_at, ood_at, order_ood FROM milestones WHERE order_ood = 'answer_first'"
    )
    found = query(both, asked).sort("study")
    assert found.select("study", "task").rows() == [("k_hop", "k_hop"), ("regimes", "two_hop")]
    assert found.row(0)[3:] == found.row(1)[3:], "the same curves in both"
    with pytest.raises(ValueError, match=r"milestones: study, task, trial_id, setting"):
        query(both, "SELECT nope FROM trials")
    words = ["query", "SELECT study, seed FROM evals GROUP BY study, seed ORDER BY study", "--root", str(tmp_path)]
    told = CliRunner().invoke(app, [*words, "--study", "regimes", "--study", "k_hop", "--csv"])
    assert told.stdout == "study,seed\nk_hop,0\nregimes,0\n"
