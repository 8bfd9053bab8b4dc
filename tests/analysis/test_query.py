"""SQL over a study: what is asked for comes back, and a wrong name is told with the right ones."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from synthetic import build, write_study
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
