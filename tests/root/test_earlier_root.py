"""A root that was written at commit 5c011ec, before the rooms, opens after them: nothing of the formats has changed.

Golden data, never written anew: if a test here fails, a format was changed, and the change needs a way for older roots.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.execution.driver import study_state
from grokstudy.orchestrator.root.verify import verify
from grokstudy.orchestrator.study.load import load_study
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store

ROOT = Path(__file__).parents[1] / "data" / "root_5c011ec"
RUNS = {"5ce16aab064c64b5", "dd2e28682fd8c78a"}


@pytest.fixture
def earlier(tmp_path: Path) -> Store:
    """A copy of the root, and the study file beside it."""
    shutil.copytree(ROOT, tmp_path / "root")
    shutil.copy(tmp_path / "root/studies/before_rooms/study.yaml", tmp_path / "before_rooms.yaml")
    return Store(tmp_path / "root")


def grokstudy(*words: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def test_its_study_asks_for_the_runs_that_are_there_and_no_fault_is_found(earlier: Store, tmp_path: Path) -> None:
    study = load_study(tmp_path / "before_rooms.yaml")
    state = study_state(study, earlier)
    assert state.finished()
    assert set(state.ledger.runs) == RUNS
    written = json.loads((ROOT / "studies/before_rooms/study.json").read_text())
    assert {key: written[key] for key in study.to_json()} == json.loads(json.dumps(study.to_json()))
    assert verify(earlier) == []


def test_status_and_report_say_what_they_said(earlier: Store, tmp_path: Path) -> None:
    shown = grokstudy("status", tmp_path / "before_rooms.yaml", "--root", earlier.uri)
    assert "2/2 runs ended, 120 of 120 steps are safe in the root" in shown.stdout
    answer = grokstudy("report", "before_rooms", "--root", earlier.uri, "--json")
    assert answer.exit_code == 0, answer.output
    said = json.loads((ROOT / "studies/before_rooms/report/answer.json").read_text())
    # `coupled` counted both events in whatever order; the classes that say the order have taken its place.
    assert [row.pop("coupled") for row in said] == [0, 0]
    rows = json.loads(answer.stdout)
    assert [{key: row[key] for key in old} for row, old in zip(rows, said, strict=True)] == said


def test_its_runs_are_trained_further_from_their_checkpoints(earlier: Store, tmp_path: Path) -> None:
    before = {run_id: records.read(RunDir(earlier, run_id), "steps") for run_id in RUNS}
    words = ("--steps", "90", "--local", "--workers", "1", "--root", earlier.uri, "--quiet")
    done = grokstudy("extend", tmp_path / "before_rooms.yaml", *words)
    assert done.exit_code == 0, done.output
    for run_id in RUNS:
        rows = records.read(RunDir(earlier, run_id), "steps")
        assert rows.slice(0, 60).equals(before[run_id])
        assert rows["step"].to_pylist() == list(range(90))
        assert set(rows["attempt"].to_pylist()) == {1, 2}
    assert verify(earlier) == []
