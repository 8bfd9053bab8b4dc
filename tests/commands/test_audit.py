"""`grokstudy audit`: an honest root, roots whose rows were changed, and studies that cannot be audited."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from small_runs import TWO_RUNS, train
from synthetic import build
from typer.testing import CliRunner, Result

from grokstudy.analysis.report.methods import methods
from grokstudy.analysis.tables.study import load
from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.execution import audit
from grokstudy.orchestrator.execution.audit import draw
from grokstudy.orchestrator.execution.bundle import Bundle
from grokstudy.orchestrator.root.verify import verify
from grokstudy.orchestrator.runs.repetition import beyond_seeds, differences, verdict
from grokstudy.trainables.config import RunConfig, Start
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import StudyDir

Small = Callable[..., RunConfig]
LENGTH = 20


def asked(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def changed(run: RunDir, table: str, column: str, step: int, by: float) -> None:
    """Add to one value of the first row at a step."""
    start = max(start for start in records.part_starts(run, table) if start <= step)
    rows = records.read_part(run, table, start)
    place = pc.index(rows["step"], step).as_py()
    values = rows[column].to_pylist()
    values[place] += by
    at = rows.schema.get_field_index(column)
    new = rows.set_column(at, rows.schema.field(at), pa.array(values, rows.schema.field(at).type))
    run.store.write(run.part(table, start), records.encode(new))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    (folder / "two.yaml").write_text(TWO_RUNS)
    done = asked("run", folder / "two.yaml", "--local", "--workers", "1", "--root", folder / "root", "--no-report")
    assert done.exit_code == 0, done.output
    return folder / "root"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an audit train in this process, which need not load torch for it, on the one thread that tests have."""

    def train_here(bundles: list[Bundle]) -> int:
        for bundle in bundles:
            queue = dataclasses.replace(bundle, cpu=1.0).open()
            while not queue.finished:
                queue.advance(60.0)
        return 0

    monkeypatch.setattr(audit, "_in_a_process", train_here)


def test_an_honest_root_is_reproducible_and_its_report_says_so(root: Path) -> None:
    before = {path: (root / path).read_bytes() for path in Store(root).list("", recursive=True) if "." in path}
    done = asked("audit", "two", "--root", root, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["sampled"], told["of"]) == (1, 2)
    alone, packed = told["runs"]
    assert (alone["members"], alone["threads"], packed["members"], packed["threads"]) == (1, 1, 2, 2)
    assert (alone["engine"], alone["steps"]) == ("auto", LENGTH)
    assert {alone["verdict"], packed["verdict"]} <= {"bitwise", "statistical"}, told
    assert told["label"] in {alone["verdict"], packed["verdict"]}
    store = Store(root)
    assert store.read_json("studies/two/audit.json") == told
    after = {path: (root / path).read_bytes() for path in store.list("", recursive=True) if "." in path}
    assert {path for path in after if before.get(path) != after[path]} == {"studies/two/audit.json"}
    assert verify(store) == []
    assert f"audited: {told['label']} (1 of 2 runs trained again)" in methods(store, load(root, "two"), {})


def test_a_run_is_trained_again_by_its_engine_or_by_the_one_asked_for(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, given = Store(shutil.copytree(root, tmp_path / "root")), list[Bundle]()
    compiled = draw(store, "two", 0.05).runs[0].run
    compiled.write("run.json", {**(compiled.read("run.json") or {}), "engine": "compile"})

    def take(bundles: list[Bundle]) -> int:
        given.extend(bundles)
        return 1

    monkeypatch.setattr(audit, "_in_a_process", take)
    for engine, expected in {"as-trained": {"auto", "compile"}, "eager": {"eager"}, "compile": {"compile"}}.items():
        given.clear()
        done = asked("audit", "two", "--root", store.uri, "--fraction", "1", "--engine", engine, "--json")
        assert {bundle.engine for bundle in given} == expected
        trained = {(run_id, bundle.engine, bundle.cpu) for bundle in given for run_id in told_ids(bundle)}
        assert trained == {(row["run_id"], row["engine"], row["threads"]) for row in json.loads(done.stdout)["runs"]}
        assert (compiled.run_id, "eager" if engine == "eager" else "compile", 1) in trained
    unknown = asked("audit", "two", "--root", store.uri, "--engine", "fast")
    assert unknown.exit_code == 2
    assert "--engine: 'fast' is unknown; it is as-trained or one of auto, eager, graph, compile" in unknown.stderr


def told_ids(bundle: Bundle) -> list[str]:
    """The runs of a bundle that are held against their records: the first of each pack."""
    return [pack[0].run_id for pack in bundle.packs]


@pytest.mark.usefixtures("here")
def test_one_changed_loss_is_told_with_its_step(root: Path, tmp_path: Path) -> None:
    hurt = shutil.copytree(root, tmp_path / "root")
    (sampled,) = draw(Store(hurt), "two", 0.05).runs
    changed(sampled.run, "steps", "loss", 7, 0.5)
    done = asked("audit", "two", "--root", hurt, "--steps", "8")
    assert done.exit_code == 1, done.output
    said = " ".join(done.stdout.split())
    assert f"{sampled.run.run_id} alone on 1 thread auto 8 not reproducible step 7, steps.loss: " in said
    assert "begins beyond rounding: step 7, steps.loss: " in said
    assert "two: not reproducible, from 1 of 2 runs" in said


def test_the_sample_is_the_same_at_every_draw_and_grows_with_the_fraction(root: Path) -> None:
    store = Store(root)
    one, again, both = draw(store, "two", 0.05), draw(store, "two", 0.5), draw(store, "two", 1.0)
    assert [x.run.run_id for x in one.runs] == [x.run.run_id for x in again.runs] == [both.runs[0].run.run_id]
    assert (len(both.runs), both.of, both.steps) == (2, 2, 2 * LENGTH)
    first, second = both.runs
    assert first.partner == second.config, "the other run of the study, of equal shape"


def test_equal_trainings_are_bitwise_whatever_their_checkpoints(small: Small, tmp_path: Path) -> None:
    config = small(eval={"every": 10, "probes": []}, train={"steps": 30})
    record = train(config, Store(tmp_path / "a"))
    again = train(
        small(eval={"every": 10, "probes": []}, train={"steps": 25, "checkpoint_every": 7}), Store(tmp_path / "b")
    )
    assert differences(record, again, config, 25).is_empty(), "its own last evaluation, off the grid, is its own"
    assert verdict(record, again, config, 25, []).label == "bitwise"
    late = differences(record, again, config, 30)
    assert set(late["step"]) == {25, 26, 27, 28, 29, 30}, "rows that one side lacks differ"
    assert late["repeated"].null_count() == len(late)


@pytest.mark.parametrize(
    ("table", "column", "step", "by", "label"),
    [
        ("steps", "loss", 12, 1e-5, "statistical"),
        ("steps", "loss", 12, 1e-2, "not reproducible"),
        ("steps", "lr", 0, 1e-3, "not reproducible"),
        ("evals", "accuracy", 20, 0.001, "statistical"),
        ("evals", "accuracy", 20, 0.2, "not reproducible"),
        ("evals", "margin", 10, 0.1, "not reproducible"),
    ],
)
def test_what_one_changed_value_makes_of_a_run(
    root: Path, tmp_path: Path, table: str, column: str, step: int, by: float, label: str
) -> None:
    (sampled,) = draw(Store(root), "two", 0.05).runs
    record = RunDir(Store(shutil.copytree(root, tmp_path / "root")), sampled.run.run_id)
    changed(record, table, column, step, by)
    found = verdict(record, sampled.run, sampled.config, LENGTH, [])
    assert found.label == label
    assert found.first is not None
    assert found.first.startswith(f"step {step}, {table}.{column}")


@pytest.mark.usefixtures("here")
def test_a_run_that_starts_from_another_finds_it_there(root: Path, tmp_path: Path) -> None:
    store = Store(shutil.copytree(root, tmp_path / "root"))
    (source,) = draw(store, "two", 0.05).runs
    run = train(dataclasses.replace(source.config, start=Start(run_id=source.run.run_id, step=LENGTH)), store)
    place = store.path(StudyDir(store, "two").trials)
    pl.read_parquet(place).with_columns(run_id=pl.lit(run.run_id)).head(1).write_parquet(place)
    told = audit.audit(store, draw(store, "two", 1.0), gpu=False)
    assert [(row["error"], row["run_id"]) for row in told["runs"]] == [(None, run.run_id)] * 2
    assert told["label"] in {"bitwise", "statistical"}


def test_a_run_that_was_not_trained_to_its_end_has_no_verdict(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_in_a_process", lambda bundles: -9)
    hurt = shutil.copytree(root, tmp_path / "root")
    done = asked("audit", "two", "--root", hurt, "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["label"] is None
    assert [(row["verdict"], row["error"]) for row in told["runs"]] == [
        (None, "the process ended with exit code -9")
    ] * 2
    assert "audited" not in methods(Store(hurt), load(hurt, "two"), {})


def test_a_statistical_run_is_within_what_seeds_vary(tmp_path: Path) -> None:
    """Curves of known times: of `both_hops`, seed 1 answers 8 % later than seed 0, seed 2 16 %."""
    build(tmp_path / "a")
    recorded = load(tmp_path / "a", "regimes")
    trials = recorded.trials.collect()
    runs = {row["seed"]: row for row in trials.to_dicts() if row["data.exposure"] == "both_hops"}
    assert beyond_seeds(recorded, recorded.repeated(Store(tmp_path / "a")), runs[0]["trial_id"]) == []
    for table in ("evals", "probes", "steps"):
        for seed, name in ((2, "b"), (None, "c")):
            other = runs[2]["run_id"] if seed else trials.row(0, named=True)["run_id"]
            there = tmp_path / name / f"metrics/{table}/run_id={runs[0]['run_id']}"
            shutil.copytree(tmp_path / "a" / f"metrics/{table}/run_id={other}", there)
    as_seed_2 = recorded.repeated(Store(tmp_path / "b"))
    assert beyond_seeds(recorded, as_seed_2, runs[0]["trial_id"]) == [], "no farther than the farthest seed"
    as_natural = beyond_seeds(recorded, recorded.repeated(Store(tmp_path / "c")), runs[0]["trial_id"])
    assert "generalised: observed recorded, censored repeated" in as_natural
    assert any(text.startswith("last accuracy of test_oo: 0.9197 and 0.02651") for text in as_natural), as_natural
    is_own = pl.col("trial_id") == runs[0]["trial_id"]
    lone = dataclasses.replace(recorded, trials=recorded.trials.filter(is_own))
    beyond = beyond_seeds(lone, as_seed_2, runs[0]["trial_id"])
    assert [text.split(":")[0] for text in beyond if "decades" in text] == ["circuit", "generalised"], (
        "no range of seeds"
    )


def test_what_cannot_be_audited_is_told(root: Path, tmp_path: Path) -> None:
    missing = asked("audit", "absent", "--root", root)
    assert missing.exit_code == 2
    assert "there is no study 'absent'; studies here: two" in missing.stderr
    curves = Store(shutil.copytree(root, tmp_path / "curves"))
    spec = StudyDir(curves, "two").spec
    curves.write_json(spec, {**(curves.read_json(spec) or {}), "spec_hash": ""})  # as import-curves writes it
    assert "two: holds curves from elsewhere" in asked("audit", "two", "--root", curves.uri).stderr
    open_ = Store(shutil.copytree(root, tmp_path / "open"))
    place = StudyDir(open_, "two").trials
    states = pl.read_parquet(open_.path(place)).with_columns(state=pl.Series(["done", "interrupted"]))
    states.write_parquet(open_.path(place))
    refused = asked("audit", "two", "--root", open_.uri)
    assert refused.exit_code == 2
    assert "two: 1 of 2 trials have not ended (interrupted 1); grokstudy run two ends them" in refused.stderr


def test_a_run_whose_length_decides_its_curve_is_not_cut(root: Path, tmp_path: Path, small: Small) -> None:
    store = Store(shutil.copytree(root, tmp_path / "root"))
    config = small(optim={"schedule": "cosine", "warmup": 5}, train={"steps": 20}, eval={"every": 10, "probes": []})
    run = train(config, store)
    place = store.path(StudyDir(store, "two").trials)
    pl.read_parquet(place).with_columns(run_id=pl.lit(run.run_id)).head(1).write_parquet(place)
    with pytest.raises(
        ValueError, match=f"run {run.run_id} cannot be trained again to step 8 alone.*leave out --steps"
    ):
        draw(store, "two", 1.0, steps=8)
    (sampled,) = draw(store, "two", 1.0).runs
    assert (sampled.config, sampled.partner.seed) == (config, config.seed + 1), "no other run has its shape"
