"""The command line as a person uses it: a small study through real Ray, from the file to the answer."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

ROOT = Path(__file__).resolve().parents[2]
STUDY = """\
hypothesis: it runs
base:
  data: {entities: 20, relations: 8, out_degree: 5, ood_fraction: 0.2, phi: 2.0}
  model: {layers: 1, width: 16, heads: 2}
  train: {steps: 60, batch: 32, checkpoint_every: 20}
  eval: {every: 10}
space:
  data.exposure: [natural, both_hops]
  train.steps: [30, 60]
"""
BINARY = Path(sys.executable).parent / "grokstudy"


def grokstudy(*words: str | Path, root: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    if root is not None:
        environment["GROKSTUDY_ROOT"] = str(root)
    return subprocess.run(
        [str(BINARY), *map(str, words)], capture_output=True, text=True, env=environment, check=False, timeout=200
    )


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(STUDY)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, subprocess.CompletedProcess[str]]:
    """A root in which the study has been run once, through Ray."""
    folder = tmp_path_factory.mktemp("trained")
    path = folder / "tiny.yaml"
    path.write_text(STUDY)
    return folder / "root", path, grokstudy("run", path, "--ray", root=folder / "root")


def test_every_command_has_help_with_an_example() -> None:
    from grokstudy.orchestrator.commands import COMMANDS

    for name in COMMANDS:
        shown = grokstudy(name, "--help")
        assert shown.returncode == 0
        assert f"Example: grokstudy {name}" in " ".join(shown.stdout.split()), name


def test_plan_creates_nothing_and_counts_shared_prefixes(study: Path, tmp_path: Path) -> None:
    planned = grokstudy("plan", study, "--json", root=tmp_path / "root")
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert (plan["trials"], plan["runs"], plan["runs_todo"]) == (4, 2, 2)
    assert (plan["steps_asked"], plan["steps_needed"]) == (180, 120)
    assert not (tmp_path / "root").exists()


def test_bad_input_names_the_place_and_creates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("base:\n  model: {layer: 2}\n")
    for command in ("plan", "run", "status"):
        done = grokstudy(command, path, root=tmp_path / "root")
        assert done.returncode == 2
        assert done.stderr.startswith(f"{path}:2:11: base.model.layer: is unknown; did you mean")
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "root").exists()
    assert grokstudy("run", tmp_path / "absent.yaml").returncode == 2


@pytest.mark.slow
def test_run_ends_with_the_answer_and_where_everything_lies(
    trained: tuple[Path, Path, subprocess.CompletedProcess[str]],
) -> None:
    root, _, done = trained
    assert done.returncode == 0, done.stdout + done.stderr
    assert "natural" in done.stdout
    assert "both_hops" in done.stdout
    assert str(root / "studies/tiny/report/index.html") in done.stdout
    assert f"mlflow ui --backend-store-uri sqlite:///{root / 'mlflow.db'}\n  " in done.stdout
    assert " http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning\n" in done.stdout
    last = done.stdout.rstrip().split("In short: ")[1]
    assert "\nNext: open the report in a browser" in last
    assert last.splitlines()[-1].startswith("  grokstudy new my_question --like ")
    assert max(map(len, done.stdout.split("report:")[0].splitlines())) <= 80
    assert (root / "studies/tiny/report/index.html").exists()


@pytest.mark.slow
def test_tables_are_read_as_plain_hive_partitions(
    trained: tuple[Path, Path, subprocess.CompletedProcess[str]],
) -> None:
    import duckdb

    root, _, _ = trained
    steps = pl.scan_parquet(root / "metrics/steps/**/*.parquet", hive_partitioning=True).collect()
    assert steps.group_by("run_id").len()["len"].to_list() == [60, 60]
    assert steps.select("run_id", "step").is_unique().all()
    pattern = f"{root}/metrics/evals/*/*.parquet"
    rows = duckdb.sql(f"select run_id, count(distinct step) n from read_parquet('{pattern}') group by all").fetchall()
    assert sorted(n for _, n in rows) == [7, 7]
    trials = pl.read_parquet(root / "studies/tiny/trials.parquet")
    assert trials["state"].to_list() == ["done"] * 4
    assert sorted(trials["train.steps"].to_list()) == [30, 30, 60, 60]


@pytest.mark.slow
def test_running_a_finished_study_again_does_nothing(
    trained: tuple[Path, Path, subprocess.CompletedProcess[str]],
) -> None:
    root, path, _ = trained
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}
    again = grokstudy("run", path, root=root)
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()} == before
    shown = grokstudy("status", path, root=root)
    assert "120 of 120 steps are safe" in shown.stdout


@pytest.mark.slow
def test_a_shorter_length_of_a_finished_study_is_answered_anew(
    trained: tuple[Path, Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    path, root = trained[1], shutil.copytree(trained[0], tmp_path / "root")
    for words, lengths in ((["--steps", "40"], {40}), (["--first", "1"], {30}), ([], {30, 60})):
        done = grokstudy("run", path, *words, root=root)
        assert done.returncode == 0, done.stderr
        assert "nothing to do" not in done.stdout
        assert set(pl.read_parquet(root / "studies/tiny/trials.parquet")["horizon"]) == lengths
        assert "nothing to do" in grokstudy("run", path, *words, root=root).stdout


@pytest.mark.slow
def test_a_longer_study_goes_on_where_the_shorter_ended(
    trained: tuple[Path, Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    root, path, _ = trained
    longer = tmp_path / "longer.yaml"
    longer.write_text(STUDY.replace("[30, 60]", "[80]").replace("natural, both_hops", "natural"))
    plan = json.loads(grokstudy("plan", longer, "--json", root=root).stdout)
    assert (plan["runs_todo"], plan["steps_todo"]) == (1, 20)
    done = grokstudy("run", longer, root=root)
    assert done.returncode == 0, done.stderr
    steps = pl.scan_parquet(root / "metrics/steps/**/*.parquet", hive_partitioning=True)
    lengths = steps.collect().group_by("run_id").len()
    assert sorted(lengths["len"].to_list()) == [60, 80]
    with sqlite3.connect(root / "mlflow.db") as db:
        keys = db.execute("select value, count(*) from tags where key = 'grokstudy.key' group by value").fetchall()
    assert [count for _, count in keys] == [1] * 5
    assert {"tiny", "longer"} <= {key for key, _ in keys}
    assert grokstudy("status", path, root=root).stdout.count("done") == 1


@pytest.mark.slow
def test_asking_for_a_gpu_that_is_not_there_is_bad_input(study: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = grokstudy("run", study, "--gpu", "1", root=tmp_path / "root")
    assert done.returncode == 2
    assert "resources.gpu: 1 asked per worker, this machine has 0; use --gpu" in done.stderr


@pytest.mark.slow
def test_another_event_is_answered_without_training(
    trained: tuple[Path, Path, subprocess.CompletedProcess[str]],
) -> None:
    root, path, _ = trained
    parts = {p: p.stat().st_mtime_ns for p in (root / "metrics").rglob("*.parquet")}
    before = path.read_text()
    path.write_text(before + "events:\n  begun: {metric: accuracy, split: train_ii, at_least: 0.0, for: 1}\n")
    done = grokstudy("run", path, root=root)
    path.write_text(before)
    assert done.returncode == 0, done.stderr
    assert "begun at" in done.stdout
    assert {p: p.stat().st_mtime_ns for p in (root / "metrics").rglob("*.parquet")} == parts
