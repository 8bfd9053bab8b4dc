"""`grokstudy transplants`: what checkpoints of a trained run say to each other, from command to report."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from synthetic import build
from typer.testing import CliRunner, Result

from grokstudy.analysis.report.report import write_report
from grokstudy.analysis.statistics.paths import transplanted
from grokstudy.analysis.tables.study import load
from grokstudy.orchestrator.cli import app
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import StudyDir

TINY = """\
hypothesis: Tiny.
base:
  data: {entities: 30, relations: 6, out_degree: 4, ood_fraction: 0.2, phi: 2.0}
  model: {width: 16, heads: 2, layers: 1, loops: 2}
  optim: {warmup: 5}
  train: {steps: 120, batch: 64, ema: 0.9}
  eval: {every: 20, probes: [cqsp, patching, restoration], max_examples: 60, probe_examples: 30}
seeds: [0]
events:
  memorised: {metric: loss, split: train_ii, at_most: 3.6, for: 1}
  generalised: {metric: accuracy, split: train_ii, at_least: 0.02, for: 1}
"""
pytestmark = pytest.mark.slow


def asked(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transplants")
    (folder / "tiny.yaml").write_text(TINY)
    done = asked("run", folder / "tiny.yaml", "--local", "--workers", "1", "--root", folder / "root")
    assert done.exit_code == 0, done.output
    done = asked("transplants", "tiny", "--root", folder / "root")
    assert done.exit_code == 0, done.output
    assert "checkpoints of 1 runs" in done.stdout
    return folder / "root"


def test_within_the_late_checkpoint_they_are_what_was_recorded_in_training(root: Path) -> None:
    tables = load(root, "tiny")
    rows = tables.transplants
    assert set(rows["stage"]) == {"memorised", "generalised"}
    assert set(rows["late"]) == {120}
    own = rows.filter((pl.col("donor") == "late") & (pl.col("receiver") == "late") & (pl.col("stage") == "memorised"))
    recorded = tables.probes.filter((pl.col("probe") == "cqsp") & (pl.col("step") == 120)).collect()
    site = ["split", "layer"]
    both = own.join(recorded.select(*site, known="value"), on=site, nulls_equal=True)
    assert len(both) == len(own) == len(recorded)
    assert both["value"].to_list() == both["known"].to_list()


def test_the_report_shows_them_until_the_run_is_trained_further(root: Path) -> None:
    page = Path(write_report(root, "tiny").index).read_text()
    assert "Paths before and after generalising" in page
    assert "early into late" in page
    tables = load(root, "tiny")
    shown = transplanted(tables)
    assert set(shown["split"]) == {"train_ii", "test_ii"}
    place = Path(Store(root).path(StudyDir(Store(root), "tiny").transplants))
    kept = place.read_bytes()
    tables.transplants.with_columns(late=pl.lit(60, pl.Int64)).write_parquet(place)
    assert transplanted(load(root, "tiny")).is_empty()
    place.write_bytes(kept)


def test_a_torn_table_is_named_and_left_out(root: Path) -> None:
    store = Store(root)
    place = StudyDir(store, "tiny").transplants
    store.write(place, b"PAR1")
    tables = load(root, "tiny")
    assert tables.transplants.is_empty()
    assert f"{place}: torn or not ours; grokstudy transplants tiny writes it again" in tables.warnings
    assert asked("transplants", "tiny", "--root", root).exit_code == 0
    assert not load(root, "tiny").warnings


def test_a_checkpoint_that_is_gone_is_named(root: Path) -> None:
    store = Store(root)
    (run_id,) = load(root, "tiny").trials.collect()["run_id"]
    run = RunDir(store, run_id)
    for name in store.list(run.checkpoints):
        if "-000000120-" in name:
            store.delete(name)
    done = asked("transplants", "tiny", "--root", root)
    assert done.exit_code == 1
    assert f"run {run_id} has no checkpoint of step 120; it has: " in done.stderr


def test_a_study_without_both_events_is_refused(tmp_path: Path) -> None:
    build(tmp_path, seeds=1, events={"late": {"metric": "accuracy", "split": "test_ii", "at_least": 0.8}})
    done = asked("transplants", "regimes", "--root", tmp_path)
    assert done.exit_code == 2
    assert "no run came to both events memorised and generalised" in done.stderr
    assert not (tmp_path / "studies/regimes/transplants.parquet").exists()
