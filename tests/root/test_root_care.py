"""verify, compact, gc, export and import, on roots that were hurt on purpose."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_runs import train
from typer.testing import CliRunner

from grokstudy.analysis import load
from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.console.describe import status_text
from grokstudy.orchestrator.root.archive import export, receive
from grokstudy.orchestrator.root.compact import compact
from grokstudy.orchestrator.root.gc import garbage, remove
from grokstudy.orchestrator.root.verify import verify
from grokstudy.orchestrator.runs.state import Ledger
from grokstudy.orchestrator.runs.status import run_records, study_status
from grokstudy.orchestrator.runs.study_dir import write_external
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.orchestrator.study.load import load_study
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage import checkpoint, records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import DamagedError, Store

Small = Callable[..., RunConfig]


def ask(store: Store, *runs: RunDir) -> None:
    """A study that asks for these runs."""
    known = {"trial_id": "s-0", "horizon": 60, "seed": 0, "state": "done"}
    table = pa.table(
        {"run_id": [run.run_id for run in runs], **{name: [value] * len(runs) for name, value in known.items()}}
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    store.write("studies/s/trials.parquet", buffer.getvalue())
    store.write("studies/s/study.yaml", b"hypothesis: x\n")


@pytest.fixture
def run(small: Small, store: Store) -> RunDir:
    """A finished run that a study asks for."""
    run = train(small(eval={"every": 10, "probes": []}), store)
    ask(store, run)
    return run


def rows(run: RunDir) -> dict[str, pa.Table]:
    return {name: records.read(run, name) for name in TABLES}


def rewrite(run: RunDir, table: str, change: Callable[[pa.Table], pa.Table], start: int = 20) -> None:
    part = records.read_part(run, table, start)
    run.store.write(run.part(table, start), records.encode(change(part)))


def test_a_whole_root_has_no_faults(run: RunDir, small: Small) -> None:
    assert verify(run.store) == []
    train(small(seed=3, eval={"every": 10, "probes": []}), run.store, to=35)
    assert [fault.kind for fault in verify(run.store)] == ["orphan"], "an interrupted run is no fault"


def test_imported_curves_and_the_files_of_mlflow_are_no_faults(run: RunDir) -> None:
    run.store.write("mlflow-artifacts/1/report/index.html", b"")
    run.store.write("mlflow.db-wal", b"")
    evals = records.read(run, "evals")
    sparse = evals.filter(pa.array([step % 20 == 0 for step in evals["step"].to_pylist()]))
    curve = RunDir(run.store, "f" * 16)
    run.store.write(curve.part("evals", 0), records.encode(sparse))
    write_external(run.store, "published", [{"curve": "a", "run_id": curve.run_id, "horizon": 60}], {}, "a table")
    assert verify(run.store) == []
    run.store.write(curve.part("evals", 100), b"torn")
    assert [fault.kind for fault in verify(run.store)] == ["torn"]


DAMAGE: dict[str, tuple[str, Callable[[RunDir], object]]] = {
    "torn part": ("torn", lambda run: run.store.write(run.part("steps", 20), b"PAR1")),
    "lost part": ("gap", lambda run: run.store.delete(run.part("steps", 20))),
    "lost row": ("gap", lambda run: rewrite(run, "steps", lambda part: part.slice(1))),
    "row twice": ("duplicate", lambda run: rewrite(run, "steps", lambda part: pa.concat_tables([part, part[19:]]))),
    "rows in disorder": ("order", lambda run: rewrite(run, "steps", lambda part: part.take(list(range(19, -1, -1))))),
    "evaluation lost": ("gap", lambda run: run.store.delete(run.part("evals", 20))),
    "split lost": ("gap", lambda run: rewrite(run, "evals", lambda part: part.slice(1))),
    "evaluation twice": ("duplicate", lambda run: rewrite(run, "evals", lambda part: pa.concat_tables([part, part]))),
    "one bit": ("torn", lambda run: flipped(run, run.part("steps", 20))),
    "foreign part": ("foreign", lambda run: run.store.write(f"{run.parts('steps')}/notes.txt", b"hello")),
    "foreign file": ("foreign", lambda run: run.store.write("plans.docx", b"hello")),
    "foreign type": ("torn", lambda run: rewrite(run, "steps", lambda part: part.rename_columns(list("abcdef")))),
    "checksum": ("checksum", lambda run: run.store.write(run.store.list(run.checkpoints)[0], b"rubbish")),
    "marker of another step": ("marker", lambda run: run.write("DONE.json", {"step": 50, "reason": "finished"})),
    "torn marker": ("marker", lambda run: run.store.write(f"{run.folder}/DONE.json", b'{"step"')),
    "no configuration": ("config", lambda run: run.clear("run.json")),
    "another configuration": ("config", lambda run: run.write("run.json", {"config": {"seed": 9}})),
    "no study": ("orphan", lambda run: ask(run.store)),
    "torn study": ("torn", lambda run: run.store.write("studies/s/trials.parquet", b"x")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_every_kind_of_damage_is_named(run: RunDir, damage: str) -> None:
    kind, hurt = DAMAGE[damage]
    hurt(run)
    faults = verify(run.store)
    assert kind in {fault.kind for fault in faults}, faults
    assert all(fault.remedy for fault in faults)


def flipped(run: RunDir, name: str) -> None:
    """One bit of the rows, not of the footer."""
    content = bytearray(run.store.read(name))
    content[len(content) // 8] ^= 1
    run.store.write(name, bytes(content))


@pytest.mark.parametrize("damage", ["torn part", "lost part", "lost row", "row twice", "one bit"])
def test_training_again_repairs_the_damage(small: Small, run: RunDir, damage: str) -> None:
    before = rows(run)
    DAMAGE[damage][1](run)
    run.clear("DONE.json")
    with pytest.warns(UserWarning, match="training again from"):
        train(small(eval={"every": 10, "probes": []}), run.store)
    assert verify(run.store) == []
    for name in TABLES:
        assert rows(run)[name].drop_columns(["attempt"]).equals(before[name].drop_columns(["attempt"]))


def test_compact_changes_no_row_and_an_extension_goes_on(small: Small, run: RunDir, tmp_path: Path) -> None:
    before = rows(run)
    assert compact(run.store, [run.run_id]) == (7, 2)
    assert compact(run.store, [run.run_id]) == (2, 2)
    assert all(rows(run)[name].equals(before[name]) for name in TABLES)
    assert verify(run.store) == []
    longer = small(train={"steps": 80}, eval={"every": 10, "probes": []})
    whole, grown = train(longer, Store(tmp_path / "whole")), train(longer, run.store)
    assert verify(run.store) == []
    for name in TABLES:
        assert rows(grown)[name].drop_columns(["attempt"]).equals(rows(whole)[name].drop_columns(["attempt"]))


@pytest.mark.parametrize("left", [(20, 40), (40,), (20,)])
def test_a_merge_that_was_killed_is_named_and_repaired(run: RunDir, left: tuple[int, ...]) -> None:
    before = rows(run)
    kept = {start: run.store.read(run.part("steps", start)) for start in left}
    compact(run.store, [run.run_id])
    for start, content in kept.items():
        run.store.write(run.part("steps", start), content)
    assert "duplicate" in {fault.kind for fault in verify(run.store)}
    compact(run.store, [run.run_id])
    assert rows(run)["steps"]["step"].to_pylist() == before["steps"]["step"].to_pylist()
    assert verify(run.store) == []


def test_gc_removes_only_what_nobody_needs(small: Small, run: RunDir) -> None:
    assert garbage(run.store) == []
    (Path(run.store.base) / run.folder / ".tmp-123").write_bytes(b"half")
    torn = run.store.list(run.checkpoints)[0]
    run.store.write(torn, b"rubbish")
    orphan = train(small(seed=5), run.store)
    found = garbage(run.store)
    assert {item.path for item in found} == {f"{run.folder}/.tmp-123", torn}
    remove(run.store, found)
    remove(run.store, garbage(run.store, orphans=True))
    assert verify(run.store) == []
    assert not (Path(run.store.base) / orphan.folder).exists()
    assert rows(run)["steps"].num_rows == 60


def test_gc_drops_checkpoints_beyond_the_budget_of_the_most_generous_study(run: RunDir) -> None:
    one = len(run.store.read(run.store.list(run.checkpoints)[0]))
    run.store.write_json("studies/s/study.json", {"checkpoint_bytes": 2 * one})
    assert [item.why for item in garbage(run.store)] == ["checkpoint beyond the budget"]
    for name, budget in (("study.yaml", None), ("trials.parquet", None), ("study.json", {"checkpoint_bytes": None})):
        if budget is None:
            run.store.write(f"studies/other/{name}", run.store.read(f"studies/s/{name}"))
        else:
            run.store.write_json(f"studies/other/{name}", budget)
    assert garbage(run.store) == [], "the other study sets no limit"
    run.store.write_json("studies/other/study.json", {"checkpoint_bytes": 2 * one, "keep_checkpoints": "all"})
    assert [item.why for item in garbage(run.store)] == ["checkpoint beyond the budget"], "all, within the budget"
    run.store.write_json("studies/other/study.json", {"checkpoint_bytes": one})
    remove(run.store, garbage(run.store))
    assert checkpoint.steps(run) == [40, 60]
    assert verify(run.store) == []


def test_a_study_travels_in_a_tar_file(small: Small, run: RunDir, tmp_path: Path) -> None:
    run.store.write_json("studies/s/extensions.json", {run.run_id: 80})
    run.store.write_json("studies/s/study.json", {"name": "s", "spec_hash": "0"})
    assert export(run.store, "s", tmp_path / "s.tar") == 1
    export(run.store, "s", tmp_path / "again.tar")
    assert (tmp_path / "s.tar").read_bytes() == (tmp_path / "again.tar").read_bytes()
    there = Store(tmp_path / "there")
    assert receive(there, tmp_path / "s.tar").runs == 1
    assert verify(there) == []
    assert there.read_json("studies/s/extensions.json") == {run.run_id: 80}
    moved = RunDir(there, run.run_id)
    assert all(rows(moved)[name].equals(rows(run)[name]) for name in TABLES)
    assert checkpoint.steps(moved) == checkpoint.steps(run)
    assert receive(there, tmp_path / "s.tar").runs == 0, "all of it is there"
    there.write_json("studies/s/extensions.json", {run.run_id: 90})
    with pytest.raises(ValueError, match="there is a study 's' already"):
        receive(there, tmp_path / "s.tar")
    third = Store(tmp_path / "third")
    train(small(eval={"every": 10, "probes": []}), third)
    assert receive(third, tmp_path / "s.tar").kept == 1


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/evil", "runs/../../evil", "mlflow.db", "driver.json", "studies/../x/study.yaml", "studies/s/x.py",
     f"runs/{'0' * 16}/checkpoints/evil.pkl", f"runs/{'0' * 16}/run.json/../../../evil", "studies/./study.yaml"],
)  # fmt: skip
def test_a_tar_file_with_foreign_names_is_refused(tmp_path: Path, name: str) -> None:
    parcel(tmp_path / "evil.tar", tarfile.TarInfo(name))
    with pytest.raises(ValueError, match="not a file of a study; nothing was imported"):
        receive(Store(tmp_path / "root"), tmp_path / "evil.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.tar"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_tar_file_with_links_is_refused(tmp_path: Path, kind: bytes) -> None:
    entry = tarfile.TarInfo("studies/s/study.yaml")
    entry.type, entry.linkname = kind, "/etc/passwd"
    parcel(tmp_path / "evil.tar", entry)
    with pytest.raises(ValueError, match="not a regular file"):
        receive(Store(tmp_path / "root"), tmp_path / "evil.tar")
    assert not (tmp_path / "root").exists()


def parcel(path: Path, *entries: tarfile.TarInfo) -> None:
    with tarfile.open(path, "w") as tar:
        for entry in entries:
            tar.addfile(entry, io.BytesIO())


def test_links_do_not_lead_out_of_a_root(run: RunDir, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for folder in (f"runs/{'0' * 16}", "metrics/steps/run_id=evil"):
        os.symlink(outside, Path(run.store.base) / folder)
        with pytest.raises(ValueError, match="is a link that leaves the root"):
            run.store.write(f"{folder}/run.json", b"{}")
        with pytest.raises(ValueError, match="is a link that leaves the root"):
            run.store.read(f"{folder}/run.json")
    assert list(outside.iterdir()) == []
    (outside / "part-000000000.parquet").write_bytes(b"not ours")
    assert [(fault.path, fault.detail) for fault in verify(run.store)] == [
        ("metrics/steps/run_id=evil", "a link that leaves the root"),
        (f"runs/{'0' * 16}", "a link that leaves the root"),
    ]
    remove(run.store, garbage(run.store, orphans=True))
    assert [path.name for path in outside.iterdir()] == ["part-000000000.parquet"]


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"step": "x", "reason": "finished"}', b"[" * 10**5])
def test_a_damaged_marker_is_named_and_written_again(
    small: Small, run: RunDir, content: bytes, tmp_path: Path
) -> None:  # fmt: skip
    config = small(eval={"every": 10, "probes": []})
    run.store.write(f"{run.folder}/DONE.json", content)
    state = Ledger(run.store, [Run(run.run_id, config, ())], False).states[run.run_id]
    assert state.state == "interrupted"
    assert "DONE.json" in str(state.error)
    study = tmp_path / "s.yaml"
    study.write_text("hypothesis: x\n")
    trial = {"trial_id": "s-0", "run_id": run.run_id, "horizon": config.train.steps, "seed": 0}
    assert "damaged: " in status_text(load_study(study), study_status(run.store, [trial]), None)
    train(config, run.store)
    assert verify(run.store) == []


FUZZ = int(os.environ.get("GROKSTUDY_FUZZ", "60"))


@settings(max_examples=FUZZ, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bytes_in_a_run_bring_a_traceback(run: RunDir, data: st.DataObject) -> None:
    """Any file of a run, changed at random: verify names faults or finds none, and never falls over."""
    files = [path for path in run.store.list("", recursive=True) if "." in Path(path).name and "driver" not in path]
    path = data.draw(st.sampled_from(files))
    good = run.store.read(path)
    try:
        run.store.write(path, data.draw(st.one_of(st.binary(max_size=200), _changed(good), _json())))
        for fault in verify(run.store):
            assert fault.path
            assert fault.remedy
    finally:
        run.store.write(path, good)


@settings(max_examples=max(20, FUZZ // 4), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_training_goes_on_over_any_bytes_or_names_the_file(small: Small, run: RunDir, data: st.DataObject) -> None:
    files = [path for path in run.store.list("", recursive=True) if "." in Path(path).name and "studies" not in path]
    path = data.draw(st.sampled_from(files))
    good = {file: run.store.read(file) for file in files}
    try:
        run.store.write(path, data.draw(st.one_of(st.binary(max_size=200), _changed(good[path]), _json())))
        with warnings.catch_warnings(action="ignore"), contextlib.suppress(ValueError):
            train(small(eval={"every": 10, "probes": []}), run.store)
    finally:
        for file in run.store.list("metrics", recursive=True) + run.store.list(run.folder, recursive=True):
            if "." in Path(file).name:
                run.store.delete(file)
        for file, content in good.items():
            run.store.write(file, content)


@pytest.fixture
def probed(small: Small, store: Store) -> RunDir:
    """As `run`, with probes, and a study that the analysis can read."""
    found = train(small(eval={"every": 10, "probes": ["logit_lens"]}), store)
    events = {"low": {"metric": "loss", "split": "train_ii", "at_most": 3.0}}
    events["seen"] = {"metric": "bridge_prob", "split": "train_ii", "at_least": 0.0}
    store.write_json("studies/s/study.json", {"name": "s", "events": events, "axes": [], "seeds": [0]})
    row = {"trial_id": ["s-0"], "run_id": [found.run_id], "horizon": [60], "seed": [0], "state": ["done"]}
    buffer = io.BytesIO()
    pq.write_table(pa.table(row), buffer)
    store.write("studies/s/trials.parquet", buffer.getvalue())
    return found


@settings(max_examples=FUZZ, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_in_a_part_are_read_or_named(probed: RunDir, data: st.DataObject) -> None:
    """By the reader that training trusts, and by the one of the analysis."""
    table = data.draw(st.sampled_from(sorted(TABLES)))
    start = data.draw(st.sampled_from(records.part_starts(probed, table)))
    good = probed.store.read(probed.part(table, start))
    try:
        probed.store.write(probed.part(table, start), data.draw(st.one_of(st.binary(max_size=200), _changed(good))))
        with contextlib.suppress(DamagedError):
            records.read_part(probed, table, start)
        tables = load(probed.store.uri, "s")
        found = tables.events.collect()
        assert found["event"].to_list() == ["low", "seen"]
    finally:
        probed.store.write(probed.part(table, start), good)


def _changed(good: bytes) -> st.SearchStrategy[bytes]:
    """A few bytes replaced, or the end cut off."""
    places = st.lists(st.tuples(st.integers(0, max(0, len(good) - 1)), st.integers(0, 255)), min_size=1, max_size=8)
    cut = st.integers(0, len(good)).map(lambda end: good[:end])
    return st.one_of(cut, places.map(lambda changes: _replace(good, changes)))


def _replace(good: bytes, changes: list[tuple[int, int]]) -> bytes:
    content = bytearray(good)
    for place, value in changes:
        content[place] = value
    return bytes(content)


def _json() -> st.SearchStrategy[bytes]:
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    words = st.sampled_from(["config", "step", "reason", "train", "seed", "model", "task", "data", "x"])
    values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4))
    return values.map(lambda value: json.dumps(value).encode())


STRANGE = {
    "study.json": [b'{"events": {"e": 3}}', b'{"axes": 3}', b'{"events": {"e": {"metric": "loss"}}}', b"[]"],
    "trials.parquet": [b"", b"PAR1", b"{}"],
    "run.json": [b'{"config": {"seed": "x"}}', b'{"config": 3}', b"{"],
}


@pytest.mark.parametrize(("name", "content"), [(name, content) for name in STRANGE for content in STRANGE[name]])
def test_files_of_a_stranger_end_a_command_in_one_line(
    probed: RunDir, name: str, content: bytes, tmp_path: Path
) -> None:  # fmt: skip
    folder = probed.folder if name == "run.json" else "studies/s"
    probed.store.write(f"{folder}/{name}", content)
    for command in (
        ["watch", "s", "--once"],
        ["query", "SELECT 1", "--study", "s"],
        ["export", "s", str(tmp_path / "x.tar")],
    ):
        ended = CliRunner().invoke(app, [*command, "--root", probed.store.uri]).exception
        assert ended is None or isinstance(ended, SystemExit | DamagedError), command
        if isinstance(ended, DamagedError):
            assert name in str(ended)


@pytest.mark.parametrize("run_id", ["../../etc", "x/../../../etc"])
def test_a_table_of_trials_that_names_other_places_is_refused(probed: RunDir, run_id: str) -> None:
    row = {"trial_id": ["s-0"], "run_id": [run_id], "horizon": [60], "seed": [0], "state": ["done"]}
    buffer = io.BytesIO()
    pq.write_table(pa.table(row), buffer)
    probed.store.write("studies/s/trials.parquet", buffer.getvalue())
    with pytest.raises(DamagedError, match="leaves the root"):
        run_records(probed.store, "s")
