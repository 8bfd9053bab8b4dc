"""A study in other tools' formats is read back by those tools themselves."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import datasets
import optuna
import polars as pl
import pytest
from synthetic import build, build_tracked
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from typer.testing import CliRunner

from grokstudy.analysis.exports.arriving import arriving
from grokstudy.analysis.exports.outcomes import outcomes
from grokstudy.analysis.tables.study import load
from grokstudy.orchestrator.cli import app

TOOLS = ("optuna", "tensorboard", "hf")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tracked(tmp_path_factory.mktemp("root"), seeds=3)


def export(root: Path, out: Path, *words: str) -> Any:
    return CliRunner().invoke(app, ["export", "regimes", str(out), "--root", str(root), *words])


def test_optuna_reads_points_times_and_curves(root: Path, tmp_path: Path) -> None:
    told = export(root, tmp_path / "o.db", "--optuna")
    assert told.exit_code == 0, told.stderr
    known = {outcome.trial_id: outcome for outcome in outcomes(load(root, "regimes"))}
    (summary,) = optuna.get_all_study_summaries(f"sqlite:///{tmp_path}/o.db")
    study = optuna.load_study(study_name=summary.study_name, storage=f"sqlite:///{tmp_path}/o.db")
    assert study.metric_names == ["steps until generalised"]
    assert len(study.trials) == len(known)
    states = {trial.state.name for trial in study.trials}
    assert states == {"COMPLETE", "PRUNED"}
    for trial in study.trials:
        outcome = known[trial.user_attrs["trial_id"]]
        assert trial.params == outcome.settings
        assert trial.user_attrs["seed"] == outcome.seed
        time = outcome.events["generalised"]
        assert (trial.value if trial.state.name == "COMPLETE" else None) == time
        assert len(trial.intermediate_values) > 5


def test_optuna_is_told_of_a_crash_as_a_failure_and_of_no_time_for_it(tmp_path: Path) -> None:
    root = build(tmp_path / "r", seeds=1)
    trials = root / "studies/regimes/trials.parquet"
    rows = pl.read_parquet(trials)
    rows.with_columns(
        state=pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("failed")).otherwise("state")
    ).write_parquet(trials)
    assert export(root, tmp_path / "o.db", "--optuna").exit_code == 0
    (study,) = optuna.get_all_study_summaries(f"sqlite:///{tmp_path}/o.db")
    read = optuna.load_study(study_name=study.study_name, storage=f"sqlite:///{tmp_path}/o.db").trials
    failed = [trial for trial in read if trial.state.name == "FAIL"]
    assert [trial.user_attrs["trial_id"] for trial in failed] == [rows["trial_id"][0]]
    assert failed[0].values is None


def test_another_event_can_be_the_objective_and_an_unknown_one_is_named(root: Path, tmp_path: Path) -> None:
    assert export(root, tmp_path / "c.db", "--optuna", "--event", "circuit").exit_code == 0
    wrong = export(root, tmp_path / "x.db", "--optuna", "--event", "grown")
    assert wrong.exit_code == 2
    assert "grown: is no event of study regimes; its events: " in wrong.stderr
    assert not (tmp_path / "x.db").exists()


def test_tensorboard_reads_curves_settings_and_events(root: Path, tmp_path: Path) -> None:
    assert export(root, tmp_path / "tb", "--tensorboard").exit_code == 0
    told = outcomes(load(root, "regimes"))
    folders = sorted(path for path in (tmp_path / "tb").iterdir() if path.is_dir())
    assert len(folders) == len(told)
    swept = {}
    for folder in folders:
        reader = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        reader.Reload()
        content = reader.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        start = HParamsPluginData.FromString(content).session_start_info
        settings = {name: value.string_value or value.number_value for name, value in start.hparams.items()}
        outcome = next(one for one in told if one.trial_id == start.group_name or _same(one, settings))
        for metric, points in outcome.curves.items():
            read = {scalar.step: scalar.value for scalar in reader.Scalars(metric)}
            assert read == pytest.approx(dict(points))
        swept[folder.name] = settings
    assert {settings["data.exposure"] for settings in swept.values()} == {one.settings["data.exposure"] for one in told}


def _same(outcome: Any, settings: dict[str, Any]) -> bool:
    return {"seed": outcome.seed, **outcome.settings} == settings


def test_the_hub_reads_every_table_with_all_rows(root: Path, tmp_path: Path) -> None:
    assert export(root, tmp_path / "hf", "--hf").exit_code == 0
    tables = load(root, "regimes")
    for name in ("trials", "events", "steps", "evals", "probes"):
        rows = datasets.load_dataset(str(tmp_path / "hf"), name, split="train", cache_dir=str(tmp_path / "cache"))
        frame = getattr(tables, name).collect()
        assert (rows.num_rows, set(rows.column_names)) == (frame.height, set(frame.columns))
    card = (tmp_path / "hf/README.md").read_text()
    assert "5 of 5" in card or "3 of 3" in card
    assert str(root) not in card


@pytest.mark.parametrize("tool", TOOLS)
def test_nothing_is_written_over_and_what_was_cut_short_is_written_anew(root: Path, tmp_path: Path, tool: str) -> None:
    out = tmp_path / "out"
    part = tmp_path / "out.part"
    part.mkdir()
    (part / "half").write_text("left by a kill")
    first = export(root, out, f"--{tool}")
    assert first.exit_code == 0, first.stderr
    assert not part.exists()
    assert not list(tmp_path.rglob("half"))
    again = export(root, out, f"--{tool}")
    assert (again.exit_code, again.stdout) == (2, "")
    assert "is there already" in again.stderr


def test_a_name_is_there_when_all_is_there(tmp_path: Path) -> None:
    def fails() -> None:
        with arriving(tmp_path / "a/b") as part:
            part.write_text("half")
            tmp_path.write_text("it is a folder")

    with pytest.raises(IsADirectoryError):
        fails()
    assert not (tmp_path / "a/b").exists()
    with arriving(tmp_path / "a/b") as part:
        assert not part.exists()
        part.write_text("all")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_one_format_at_a_time(root: Path, tmp_path: Path) -> None:
    told = export(root, tmp_path / "x", "--hf", "--optuna")
    assert told.exit_code == 2
    assert "one format at a time" in told.stderr


@pytest.mark.parametrize("tool", TOOLS)
def test_damaged_rows_are_told(root: Path, tmp_path: Path, tool: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    part = next((copy / "metrics/evals").glob("*/*.parquet"))
    part.write_bytes(part.read_bytes()[:40])
    told = export(copy, tmp_path / "out", f"--{tool}")
    assert told.exit_code == 1
    assert part.name in told.stderr


@pytest.mark.parametrize("tool", TOOLS)
def test_any_name_can_be_written_to_and_the_command_that_is_told_can_be_pasted(
    root: Path, tmp_path: Path, tool: str
) -> None:
    out = tmp_path / "what? now #1"
    told = export(root, out, f"--{tool}")
    assert told.exit_code == 0, told.stderr
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    command = shlex.split(told.stdout.splitlines()[-1])
    assert command[-1].removeprefix("sqlite:///") == str(out)
