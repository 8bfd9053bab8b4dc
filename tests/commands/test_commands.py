"""The commands that look: doctor, new, watch, logs; and the manual says what their help says."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from synthetic import REGIMES, build_tracked, run_id
from typer.testing import CliRunner, Result

from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.commands import COMMANDS, GROUPS
from grokstudy.orchestrator.console.tables import table
from grokstudy.orchestrator.manual import manual
from grokstudy.orchestrator.shipped import study_to_edit
from grokstudy.orchestrator.study.json_schema import study_schema
from grokstudy.orchestrator.study.load import load_study
from grokstudy.trainables.storage.store import Store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four finished runs; one made to have crashed, one to be under way."""
    root = build_tracked(tmp_path_factory.mktemp("looked at"), seeds=1)
    store = Store(root)
    failed = {"error": "RuntimeError: no memory", "traceback": "Traceback\n  in step", "step": 7}
    store.write_json(f"runs/{run_id(1)}/FAILED.json", failed)
    store.write(f"runs/{run_id(2)}/checkpoints/step-000001500-{0:016x}.pt", b"")
    for number in (1, 2):
        store.delete(f"runs/{run_id(number)}/DONE.json")
    return root


def asked(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_manual_is_what_the_help_says() -> None:
    told = (ROOT / "docs/commands.md").read_text()
    assert told == manual(), "run: python -m grokstudy.orchestrator.manual > docs/commands.md"


def test_a_typo_is_told_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    """Else a person waits three seconds for a missing letter."""
    path = tmp_path / "typo.yaml"
    path.write_text("base: {trian: {steps: 5}}\n")
    code = (
        "import sys; from typer.testing import CliRunner; from grokstudy.orchestrator.cli import app\n"
        "for command in ('plan', 'run', 'measure', 'simulate', 'submit'):\n"
        f"    done = CliRunner().invoke(app, [command, {str(path)!r}])\n"
        "    assert done.exit_code == 2 and 'trian: is unknown' in done.output, (command, done.output)\n"
        "    heavy = {'torch', 'ray', 'mlflow', 'polars', 'optuna'} & set(sys.modules)\n"
        "    assert not heavy, (command, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr


def test_a_study_that_is_not_there_is_told_without_torch(tmp_path: Path) -> None:
    Store(tmp_path).write_json("studies/mine/study.json", {"name": "mine"})
    commands = ["audit X", "transplants X", "export X x.tar", "report X", "watch X --once", "mlflow sync X"]
    code = (
        "import sys; from typer.testing import CliRunner; from grokstudy.orchestrator.cli import app\n"
        f"for words in {commands}:\n"
        f"    done = CliRunner().invoke(app, [*words.replace('X', 'mien').split(), '--root', {str(tmp_path)!r}])\n"
        "    told = \"there is no study 'mien'; studies here: mine\" in done.output\n"
        "    assert done.exit_code == 2 and told, (words, done.output)\n"
        "    heavy = {'torch', 'ray', 'mlflow', 'optuna'} & set(sys.modules)\n"
        "    assert not heavy, (words, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr


def test_new_writes_a_valid_study_once(tmp_path: Path) -> None:
    done = asked("new", "my_question", "--folder", tmp_path)
    assert done.exit_code == 0, done.stderr
    study = load_study(tmp_path / "my_question.yaml")
    assert study.columns == ["data.exposure"]
    assert f"grokstudy run {tmp_path}/my_question.yaml" in done.stdout
    again = asked("new", "my_question", "--folder", tmp_path)
    assert (again.exit_code, again.stdout) == (2, "")
    assert "is there already" in again.stderr


def test_new_begins_with_another_study_and_has_a_schema_for_editors(tmp_path: Path) -> None:
    done = asked("new", "mine", "--folder", tmp_path, "--like", "decoupling")
    assert done.exit_code == 0, done.stderr
    first, rest = (tmp_path / "mine.yaml").read_text().split("\n", 1)
    assert first == "# yaml-language-server: $schema=study.schema.json"
    assert json.loads((tmp_path / "study.schema.json").read_text()) == study_schema()
    assert rest == study_to_edit("decoupling")
    assert load_study(tmp_path / "mine.yaml").settings == load_study(ROOT / "studies/decoupling.yaml").settings
    assert "did you mean decoupling" in asked("new", "x", "--folder", tmp_path, "--like", "decuopling").stderr


def test_list_counts_the_runs_of_every_study(root: Path) -> None:
    (row,) = json.loads(asked("list", "--root", root, "--json").stdout)
    assert (row["study"], row["ended"], row["runs"], row["failed"], row["report"]) == ("regimes", 3, 4, 1, None)
    assert "regimes" in asked("list", "--root", root).stdout
    assert asked("list", "--root", root / "absent").exit_code == 2


def test_show_says_what_a_run_is(root: Path) -> None:
    told = json.loads(asked("show", run_id(3), "--root", root, "--json").stdout)
    assert (told["state"], told["step"], told["trials"]) == ("done", 3000, ["regimes-0003"])
    assert told["accuracy"]["test_oo"] > 0.8
    assert told["host"] == "here"
    failed = asked("show", run_id(1), "--root", root).stdout
    assert re.search(r"^error +RuntimeError: no memory$", failed, flags=re.MULTILINE)
    assert "4 runs begin so" in asked("show", "0000", "--root", root).stderr


def test_status_of_a_study_that_only_the_root_has(store: Store) -> None:
    store.write_json("studies/kept/study.json", {"name": "kept"})
    store.write("studies/kept/study.yaml", b"hypothesis: Kept.\nbase: {train: {steps: 70}}\n")
    assert "kept" in asked("status", "kept", "--root", store.uri).stdout
    assert "is neither a file" in asked("status", "absent", "--root", store.uri).stderr


def test_the_command_line_says_its_version_and_has_every_command_in_a_group() -> None:
    assert re.fullmatch(r"grokstudy \d+\.\d+\.\d+\S*\n", asked("--version").stdout)
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(COMMANDS)
    assert all(group in asked("--help").stdout for group in GROUPS)


def test_new_leaves_nothing_under_a_name_that_is_none(tmp_path: Path) -> None:
    done = asked("new", "My-Question", "--folder", tmp_path)
    assert done.exit_code == 2
    assert "'My-Question' is no name for a study" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_line_of_a_new_study_that_is_commented_out_is_valid_too(tmp_path: Path) -> None:
    asked("new", "first", "--folder", tmp_path)
    path = tmp_path / "first.yaml"
    options = ("  # optim", "  # depth", "  #   shared", "  #   untied", "# events", "#   generalised")
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line.replace("# ", "", 1) if line.startswith(options) else line for line in lines))
    study = load_study(path)
    assert study.columns == ["data.exposure", "optim.weight_decay", "depth"]
    assert list(study.events) == ["generalised"]


def test_watch_counts_runs_by_state_and_shows_accuracy(root: Path) -> None:
    done = asked("watch", "regimes", "--root", root, "--once")
    lines = done.stdout.splitlines()
    assert lines[0] == "regimes: 3/4 runs ended, 7,507 of 12,000 steps are safe in the root"
    assert lines[1].split() == ["regime", "done", "failed", "interrupted", "train_ii", "test_ii", "test_oo"]
    assert len(lines) == 2 + len(REGIMES)
    told = json.loads(asked("watch", "regimes", "--root", root, "--once", "--json").stdout)
    assert told["over"] is False
    assert told["rows"][3]["test_oo"] > 0.8


def test_what_is_being_trained_is_not_called_interrupted(root: Path) -> None:
    """MLflow shows it as running, too."""
    begun = run_id(2)
    driver = {"study": "regimes", "host": socket.gethostname(), "pid": os.getppid(), "token": "x", "beat": 3}
    Store(root).write_json("driver.json", driver)
    shown = asked("watch", "regimes", "--root", root, "--once").stdout.splitlines()[1].split()
    said = json.loads(asked("show", begun, "--root", root, "--json").stdout)["state"]
    Store(root).write_json("driver.json", {**driver, "study": "another"})
    other = asked("watch", "regimes", "--root", root, "--once").stdout.splitlines()[1].split()
    said_of_other = json.loads(asked("show", begun, "--root", root, "--json").stdout)["state"]
    Store(root).delete("driver.json")
    assert (said, said_of_other) == ("running", "interrupted")
    assert shown[1:4] == ["done", "failed", "running"]
    assert other[1:4] == ["done", "failed", "interrupted"]


def test_watch_ends_when_every_run_has(tmp_path: Path) -> None:
    root = build_tracked(tmp_path, seeds=1)
    assert "4/4 runs ended" in asked("watch", "regimes", "--root", root).stdout
    assert "studies here: regimes" in asked("watch", "absent", "--root", root).stderr


def test_logs_tell_how_a_run_went(root: Path) -> None:
    told = asked("logs", run_id(0), "--root", root).stdout
    assert "began 2023-11-14 22:13:20 UTC on here" in told
    assert "attempt 1: steps 0 to 2,999" in told
    assert "finished at step 3,000 after 5m00s" in told
    crashed = asked("logs", run_id(1), "--root", root).stdout
    assert "failed at step 7: RuntimeError: no memory\n    Traceback\n      in step" in crashed
    assert "newest checkpoint: step-000001500-" in asked("logs", run_id(2), "--root", root).stdout
    assert json.loads(asked("logs", run_id(0), "--root", root, "--json").stdout)["attempts"] == 1
    assert "4 runs begin so" in asked("logs", "0000", "--root", root).stderr
    assert asked("logs", "f", "--root", root).exit_code == 2


@pytest.mark.slow
def test_doctor_starts_ray_and_names_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root").mkdir()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    found = json.loads(asked("doctor", "--root", tmp_path / "root", "--json").stdout)
    assert [check["name"] for check in found] == ["versions", "torch", "compiler", "Ray", "root", "room", "MLflow"]
    assert all(check["ok"] for check in found), found
    assert list((tmp_path / "root").iterdir()) == []
    assert re.search(r"started here in \d+\.\d s: \d+ CPUs", found[3]["said"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    broken = asked("doctor", "--root", tmp_path / "root")
    assert broken.exit_code == 1
    assert "BAD MLflow" in broken.stdout


def test_tables_cut_lines_only_where_there_is_a_terminal() -> None:
    rows: list[dict[str, Any]] = [{"name": "a" * 30, "value": 0.5}, {"name": "b", "value": None}]
    assert table(rows).splitlines() == [f"{'name':<30}  value", f"{'a' * 30}    0.5", f"{'b':<30}      –"]
    assert max(map(len, table(rows, 20).splitlines())) == 20
    assert table([]) == "no rows"
