"""A study's tables: prefixes of runs, groups, and files that cannot be trusted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal
from synthetic import REGIMES, STEPS, build, run_id, trial_row, write_run, write_study

from grokstudy.analysis.query import query
from grokstudy.analysis.tables.parquet import Scan, polars_schema
from grokstudy.analysis.tables.study import load
from grokstudy.trainables import schema
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import study_names

PART = "metrics/evals/run_id=0000000000000000/part-{:09d}.parquet"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tables"), seeds=2)


def test_tables_have_the_declared_columns_then_the_trial(root: Path) -> None:
    tables = load(root, "regimes")
    about = {"trial_id": pl.String, "horizon": pl.Int64, "seed": pl.Int64, "data.exposure": pl.String}
    for frame, columns in (
        (tables.steps, schema.STEP_COLUMNS),
        (tables.evals, schema.EVAL_COLUMNS),
        (tables.probes, schema.PROBE_COLUMNS),
    ):
        expected = pl.Schema({"run_id": pl.String, **polars_schema(columns), **about})  # type: ignore[arg-type]
        assert frame.collect_schema() == expected
    assert tables.warnings == []
    assert study_names(Store(root)) == ["regimes"]


def test_run_ids_stay_text(root: Path) -> None:
    ids = load(root, "regimes").evals.select("run_id").unique().collect()["run_id"]
    assert sorted(ids) == [run_id(number) for number in range(8)]


def test_a_trial_is_the_prefix_of_its_run(tmp_path: Path) -> None:
    write_run(tmp_path, run_id(0), REGIMES["natural"], seed=0)
    rows = [trial_row("s", 0, 1000, 0), trial_row("s", 1, 3000, 0)]
    lengths = [{**row, "train.steps": row["horizon"], "run_id": run_id(0)} for row in rows]
    write_study(tmp_path, "s", lengths, axes=["train.steps"])
    tables = load(tmp_path, "s")
    last = tables.evals.group_by("trial_id").agg(pl.col("step").max()).sort("trial_id").collect()
    assert last["step"].to_list() == [1000, 3000]
    last = tables.steps.group_by("trial_id").agg(pl.col("step").max()).sort("trial_id").collect()
    assert last["step"].to_list() == [999, 2999]
    assert tables.groups == []
    assert tables.independent.collect()["trial_id"].to_list() == ["s-0001"]


def test_lengths_that_are_runs_of_their_own_are_groups(tmp_path: Path) -> None:
    rows = [{**trial_row("s", n, 1000 * (n + 1), 0), "train.steps": 1000 * (n + 1)} for n in range(2)]
    write_study(tmp_path, "s", rows, axes=["train.steps"])
    tables = load(tmp_path, "s")
    assert tables.groups == ["train.steps"]
    assert tables.independent.collect().height == 2


def test_a_finished_short_trial_counts_before_an_unfinished_long_one(tmp_path: Path) -> None:
    rows = [trial_row("s", 0, 1000, 0), trial_row("s", 0, 9000, 0, state="running")]
    write_study(tmp_path, "s", [{**row, "train.steps": row["horizon"]} for row in rows], axes=["train.steps"])
    assert load(tmp_path, "s").results.collect()["horizon"].to_list() == [1000]


def test_no_such_study_names_those_that_are_there(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no study 'regime'; studies here: regimes"):
        load(root, "regime")


def test_absent_tables_are_empty_with_their_schema(tmp_path: Path) -> None:
    write_study(tmp_path, "s", [trial_row("s", 0, 1000, 0, state="missing")], axes=[])
    tables = load(tmp_path, "s")
    assert tables.evals.collect().is_empty()
    assert tables.evals.collect_schema()["accuracy"] == pl.Float32
    assert tables.series.select("step").collect()["step"].null_count() == 3


def test_files_that_cannot_be_read_are_named_and_skipped(tmp_path: Path) -> None:
    build(tmp_path, seeds=1)
    whole = load(tmp_path, "regimes").evals.collect().height
    torn = tmp_path / PART.format(1500)
    torn.write_bytes(torn.read_bytes()[:-40])
    (tmp_path / PART.format(2000)).write_bytes(b"")
    (torn.parent / "notes.txt").write_text("hello")
    pl.DataFrame({"step": ["a"]}).write_parquet(torn.parent / "part-000002500.parquet")
    pl.DataFrame({"other": [1]}).write_parquet(torn.parent / "part-000002600.parquet")
    tables = load(tmp_path, "regimes")
    assert tables.evals.collect().height == whole - 16 * 4
    named = {skipped.path.rsplit("/", 1)[1]: skipped.reason for skipped in tables.skipped}
    assert set(named) == {"notes.txt", *(f"part-{n:09d}.parquet" for n in (1500, 2000, 2500, 2600))}
    assert "torn" in named["part-000001500.parquet"]
    assert "column step is" in named["part-000002500.parquet"]
    assert "no column step" in named["part-000002600.parquet"]
    assert len(tables.warnings) == 5


def test_damaged_pages_are_found(tmp_path: Path) -> None:
    build(tmp_path, seeds=1)
    part = tmp_path / PART.format(0)
    content = bytearray(part.read_bytes())
    content[20:200] = b"\xff" * 180
    part.write_bytes(bytes(content))
    tables = load(tmp_path, "regimes")
    assert tables.evals.collect().height > 0
    assert [skipped.path for skipped in tables.skipped] == [PART.format(0)]
    assert "torn" in tables.skipped[0].reason


@pytest.mark.parametrize("above", ["optim.lr=0.1", "seed=3", "step=7", "run_id=x", "a b", "what?now", "a#b", "[x]*"])
def test_what_stands_above_the_root_is_no_column(tmp_path: Path, above: str) -> None:
    build(tmp_path / "plain", seeds=1)
    build(tmp_path / above / "results", seeds=1)
    for name in ("steps", "evals", "probes"):
        plain, odd = (
            getattr(load(root, "regimes"), name) for root in (tmp_path / "plain", tmp_path / above / "results")
        )
        order = [column for column in plain.collect_schema() if column not in ("value", "margin", "loss")]
        assert_frame_equal(odd.sort(order).collect(), plain.sort(order).collect())


def test_rows_that_a_merge_left_twice_are_taken_once_and_named(tmp_path: Path) -> None:
    build(tmp_path, seeds=1)
    whole = load(tmp_path, "regimes").evals.collect()
    first, second = (tmp_path / PART.format(start) for start in (0, 1500))
    merged = pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in (first, second)])
    merged.write_parquet(first)  # and killed before the second was removed
    tables = load(tmp_path, "regimes")
    order = ["trial_id", "step", "split"]
    assert_frame_equal(tables.evals.sort(order).collect(), whole.sort(order))
    assert [skipped.path for skipped in tables.skipped] == [PART.format(0)]
    assert "taken once" in tables.warnings[0]


def test_a_nested_column_of_a_part_shifts_no_other(tmp_path: Path) -> None:
    """In Parquet it is two columns, so that what lies behind it is one place further than its name says."""
    build(tmp_path, seeds=1)
    whole = load(tmp_path, "regimes").evals.collect()
    part = tmp_path / PART.format(0)
    rows = pq.ParquetFile(part).read()
    nested = pa.array([{"a": 1, "b": 1_000_000}] * len(rows))
    pq.write_table(rows.add_column(0, "more", nested), part)
    tables = load(tmp_path, "regimes")
    order = ["trial_id", "step", "split"]
    assert_frame_equal(tables.evals.sort(order).collect(), whole.sort(order))
    assert not tables.skipped


def test_only_what_a_query_needs_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, seeds=1)
    asked: list[str] = []
    read = Scan._read

    def noted(scan: Scan, *words: Any) -> Iterator[pl.DataFrame]:
        asked.append(scan.table)
        return read(scan, *words)

    monkeypatch.setattr(Scan, "_read", noted)
    tables = load(tmp_path, "regimes")
    assert tables.trials.collect().height
    assert asked == []
    tables.evals.select("accuracy").head(3).collect()
    assert asked == ["evals"]


def test_only_the_runs_and_steps_that_are_asked_for_are_opened(tmp_path: Path) -> None:
    """Damage in whatever a query does not need is nothing that its answer lacks."""
    build(tmp_path, seeds=2)
    whole = load(tmp_path, "regimes")
    rows = "SELECT step, split, accuracy FROM evals WHERE seed = 0 AND \"data.exposure\" = 'natural' AND step > 100"
    expected = query(whole, rows)
    assert not expected.is_empty()
    for number in range(1, 8):
        for part in (tmp_path / f"metrics/evals/run_id={run_id(number)}").iterdir():
            part.write_bytes(b"torn")
    (tmp_path / PART.format(STEPS + 1)).write_bytes(b"a longer study went on, and was torn")
    tables = load(tmp_path, "regimes")
    assert_frame_equal(query(tables, rows), expected)
    assert tables.warnings == []
    query(tables, "SELECT step FROM evals WHERE seed = 1 OR step > 100")
    assert len(tables.warnings) == 14


def test_rows_are_counted_without_reading_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, seeds=1)
    count = "SELECT count(*) AS n FROM steps"
    expected = load(tmp_path, "regimes").steps.collect().height
    tables = load(tmp_path, "regimes")
    monkeypatch.delattr(pq.ParquetFile, "read")
    assert query(tables, count)["n"].to_list() == [expected]
    assert tables.warnings == []


def test_a_folder_that_may_not_be_read_is_an_error_and_no_empty_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, seeds=1)
    closed, scan = str((tmp_path / PART.format(0)).parent), os.scandir

    def refused(path: Any) -> Any:
        if str(path) == closed:  # root may read everything, so the system's answer is put in its place
            raise PermissionError(13, "Permission denied", closed)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises((PermissionError, pl.exceptions.ComputeError), match="Permission denied"):
        load(tmp_path, "regimes").evals.collect()
    with pytest.raises(PermissionError):
        Store(tmp_path).list("metrics", recursive=True)


def test_a_torn_trials_file_is_named(tmp_path: Path) -> None:
    build(tmp_path, seeds=1)
    (tmp_path / "studies/regimes/trials.parquet").write_bytes(b"PAR1")
    tables = load(tmp_path, "regimes")
    assert tables.trials.collect().is_empty()
    assert "trials.parquet" in tables.warnings[0]


def test_columns_may_be_missing_extra_or_of_another_width(tmp_path: Path) -> None:
    build(tmp_path, seeds=1)
    part = tmp_path / PART.format(0)
    before = load(tmp_path, "regimes").evals.collect()
    drifted = pl.read_parquet(part, hive_partitioning=False).drop("margin")
    drifted.with_columns(pl.col("step").cast(pl.Int32), new=pl.lit(1.0)).write_parquet(part)
    tables = load(tmp_path, "regimes")
    after = tables.evals.collect()
    assert tables.skipped == ()
    assert after.schema == before.schema
    assert after["margin"].null_count() == 15 * 4
    order = ["run_id", "split", "step"]
    assert_frame_equal(after.drop("margin").sort(order), before.drop("margin").sort(order))


def test_importing_the_package_stays_light() -> None:
    heavy = "{'altair', 'lifelines', 'pandas', 'torch', 'ray', 'mlflow', 'scipy', 'vl_convert'}"
    modules = "grokstudy.analysis.report.report, grokstudy.analysis.figures"
    code = f"import sys, {modules}; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
