"""export and import of strangers' files: all or nothing, and nothing over a study that is there."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_runs import train
from typer.testing import CliRunner

from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.root import archive, archive_gate
from grokstudy.orchestrator.root.archive import export, receive
from grokstudy.orchestrator.root.curve_file import CurveColumn, External
from grokstudy.orchestrator.root.import_curves import import_external
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import FILES, StudyDir

Files = dict[str, bytes]


@pytest.fixture
def origin(store: Store, tmp_path: Path) -> Store:
    """A root with a study of two runs."""
    path = tmp_path / "c.csv"
    path.write_text("trial,step,a,b\nx,0,0.1,0.2\nx,10,0.9,0.3\ny,0,0.1,0.2\n")
    curves = (CurveColumn("a", "accuracy", "test_oo"), CurveColumn("b", "cqsp", "test_oo"))
    import_external(store, "s", External(path, "trial", "step", curves), {})
    return store


def files(store: Store) -> Files:
    return {name: store.read(name) for name in store.list("", recursive=True) if Path(store.path(name)).is_file()}


def parcel(path: Path, content: Mapping[str, bytes] | list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in content.items() if isinstance(content, Mapping) else content:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def test_a_trained_study_is_resumed_up_to_its_last_file(origin: Store, tmp_path: Path) -> None:
    """It has a study.yaml, which is not yet the study."""
    origin.write("studies/s/study.yaml", b"hypothesis: x\n")
    export(origin, "s", tmp_path / "s.tar")
    there = Store(tmp_path / "there")
    there.write("studies/s/study.yaml", b"hypothesis: x\n")
    receive(there, tmp_path / "s.tar")
    assert files(there) == files(origin)


@pytest.mark.parametrize("name", FILES)
def test_a_study_of_the_same_name_is_left_alone(origin: Store, tmp_path: Path, name: str) -> None:
    export(origin, "s", tmp_path / "s.tar")
    there = Store(tmp_path / "there")
    there.write(f"studies/s/{name}", b"{}")
    done = CliRunner().invoke(app, ["import", str(tmp_path / "s.tar"), "--root", there.uri])
    assert done.exit_code == 2
    assert "there is a study 's' already; import into another --root, or move" in done.stderr
    assert files(there) == {f"studies/s/{name}": b"{}"}


def config_files(small: Callable[..., RunConfig], run_id: str | None = None) -> Files:
    """The run.json of a trained run, under its own id or another."""
    config = small()
    folder = f"runs/{run_id or config.run_id}"
    return {f"{folder}/run.json": json.dumps({"config": config.to_dict(), "run_id": config.run_id}).encode()}


def table_of(trial: Mapping[str, object]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({name: [value] for name, value in trial.items()}), buffer)
    return buffer.getvalue()


TRANSPLANT = {"run_id": "a", "stage": "memorised", "early": 3, "late": 9, "donor": "early", "receiver": "late",
              "split": "test_ii", "layer": 1, "value": 0.5, "n": 8}  # fmt: skip


def no_transplants() -> dict[str, bytes]:
    """Tables that are none of transplants, by what is said of them."""
    return {
        "cannot be read": b"PAR1",
        "cannot be read .*n": table_of({name: value for name, value in TRANSPLANT.items() if name != "n"}),
        "stage is 'never', allowed are memorised, generalised": table_of({**TRANSPLANT, "stage": "never"}),
        "donor is 'me', allowed are early, late, untrained": table_of({**TRANSPLANT, "donor": "me"}),
        "value is 1.5 to 1.5, allowed is 0 to 1": table_of({**TRANSPLANT, "value": 1.5}),
        "value is not a number": table_of({**TRANSPLANT, "value": float("nan")}),
        "early is -3 to -3, allowed is 0 or more": table_of({**TRANSPLANT, "early": -3}),
    }


def test_a_table_of_transplants_passes_the_gate(origin: Store, tmp_path: Path) -> None:
    tar = parcel(tmp_path / "s.tar", {**files(origin), "studies/s/transplants.parquet": table_of(TRANSPLANT)})
    receive(Store(tmp_path / "there"), tar)
    rows = StudyDir(Store(tmp_path / "there"), "s").find_transplants()
    assert rows is not None
    assert rows.to_pylist() == [TRANSPLANT]


def refused(tmp_path: Path, tar: Path, fragment: str) -> None:
    """Exit 2 with the reason, and nothing there."""
    there = tmp_path / "refused"
    with pytest.raises(ValueError, match=fragment):
        receive(Store(there), tar)
    done = CliRunner().invoke(app, ["import", str(tar), "--root", str(there)])
    assert (done.exit_code, there.exists()) == (2, False)


def test_what_is_not_a_whole_study_of_ours_is_refused_before_the_first_write(origin: Store, tmp_path: Path) -> None:
    good, tar = files(origin), tmp_path / "evil.tar"
    run = sorted(name for name in good if name.endswith("run.json"))[0]
    other = "runs/ext-" + "0" * 12
    strange: dict[str, Files] = {
        "'studies/s/study.json' is missing": {name: good[name] for name in good if not name.endswith("study.json")},
        "'studies/s/trials.parquet' is missing": {name: good[name] for name in good if "trials" not in name},
        "studies/s/study.json: not valid JSON": {**good, "studies/s/study.json": b"{"},
        "trials.parquet: cannot be read": {**good, "studies/s/trials.parquet": b"PAR1"},
        "run.json: not valid JSON": {**good, run: b"\xff"},
        "belongs to run other": {**good, run: b'{"run_id": "other"}'},
        "belongs to run None": {**good, run: b"{}"},
        "audit.json: is no audit": {**good, "studies/s/audit.json": b'{"label": "fine", "runs": []}'},
        "s/audit.json: is no audit as": {**good, "studies/s/audit.json": b'{"label": "bitwise", "runs": [1]}'},
        **{f"transplants.parquet: {said}": {**good, "studies/s/transplants.parquet": content}
           for said, content in no_transplants().items()},
        "DONE.json: step is missing": {**good, run.replace("run.json", "DONE.json"): b"{}"},
        "is a run that no study of the file asks for": {**good, f"{other}/run.json": good[run]},
        "'runs/x/run.json' is not a file of a study": {**good, "runs/x/run.json": b"{}"},
    }  # fmt: skip
    for fragment, content in strange.items():
        refused(tmp_path, parcel(tar, content), fragment)
    refused(tmp_path, parcel(tar, [*good.items(), (run, good[run])]), f"'{run}' is there twice")
    whole = parcel(tar, good).read_bytes()
    for end in range(0, len(whole) - 10_240, 777):
        tar.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"evil.tar: "):
            receive(Store(tmp_path / "refused"), tar)
        assert not (tmp_path / "refused").exists(), end


@pytest.mark.parametrize("command", ["export", "import"])
def test_what_is_damaged_is_named_where_it_leaves_and_where_it_comes(
    origin: Store, tmp_path: Path, command: str
) -> None:
    """Every part in turn; the other files are there."""
    tar, whole = tmp_path / "s.tar", files(origin)
    parts = [name for name in whole if name.endswith(".parquet") and name.startswith("metrics/")]
    assert len(parts) > 2
    for number, part in enumerate(parts):
        torn = {**whole, part: whole[part][:40]}
        if command == "export":
            place = Store(tmp_path / f"root{number}")
            for name, content in torn.items():
                place.write(name, content)
            words = ["export", "s", str(tar), "--root", place.uri]
        else:
            words = ["import", str(parcel(tar, torn)), "--root", str(tmp_path / f"there{number}")]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 1
        assert f"warning: {part}: torn: cannot be read" in done.stderr
        assert "2 runs" in done.stdout
        assert done.stderr.count("warning: ") == 1
    if command == "import":
        assert files(Store(tmp_path / "there0")).keys() == whole.keys()


def test_a_run_under_the_id_of_another_is_refused(
    small: Callable[..., RunConfig], origin: Store, tmp_path: Path
) -> None:
    wrong, right = "0" * 16, small().run_id
    for run_id in (wrong, right):
        trial = {"trial_id": "s-0", "run_id": run_id, "horizon": 60, "seed": 0, "state": "done"}
        study = {"studies/s/study.json": b"{}", "studies/s/trials.parquet": table_of(trial)}
        tar = parcel(tmp_path / "s.tar", {**config_files(small, run_id), **study})
        if run_id == wrong:
            refused(tmp_path, tar, f"'runs/{wrong}/run.json' belongs to run {right}")
    assert receive(Store(tmp_path / "there"), tar).runs == 1


@pytest.mark.parametrize(("limit", "fragment"), [("MAX_FILES", "files"), ("MAX_TOTAL", "bytes"), ("MAX_TEXT", "large")])
def test_too_much_is_refused(
    origin: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, fragment: str
) -> None:
    export(origin, "s", tmp_path / "s.tar")
    monkeypatch.setattr(archive_gate, limit, 3)
    refused(tmp_path, tmp_path / "s.tar", fragment)


def test_every_file_of_a_study_has_a_place_in_the_order_of_writing() -> None:
    names = ["metrics/evals/run_id=a/part-000000000.parquet", "runs/a/checkpoints/step-1.pt", "runs/a/lease.json"]
    names += ["runs/a/DONE.json", "runs/a/run.json", "studies/s/trials.parquet", "studies/s/study.yaml"]
    names += ["studies/s/study.json"]
    assert {archive._order(f"studies/s/{name}")[0] for name in FILES} == {6, 7, 8}
    assert sorted(names, key=archive._order) == names


TOLD = """Traceback (most recent call last):
  File "/home/My Name/grokstudy/trainables/training/pack.py", line 3, in advance
    raise OSError("/scratch/alice/results/runs/x: no (s3://bucket/alice/root) room on node-17, ~/root/x, runs/x/y")
OSError: /scratch/alice/results/runs/x: no room on node-17"""
CLEANED = """Traceback (most recent call last):
  File "pack.py", line 3, in advance
    raise OSError("x: no (root) room on HOST, x, runs/x/y")
OSError: x: no room on HOST"""


@pytest.mark.parametrize("kept", [False, True])
def test_an_export_tells_nothing_of_hosts_and_folders_unless_asked(
    small: Callable[..., RunConfig], tmp_path: Path, kept: bool
) -> None:
    root, out = tmp_path / "secret" / "root", tmp_path / "s.tar"
    run = train(small(eval={"every": 10, "probes": []}), Store(root))
    trial = {"trial_id": "s-0", "run_id": run.run_id, "horizon": 60, "seed": 0, "state": "failed"}
    run.store.write("studies/s/trials.parquet", table_of(trial))
    run.store.write_json("studies/s/study.json", {"name": "s", "spec_hash": "0"})
    run.write("run.json", {**(run.read("run.json") or {}), "host": "node-17"})
    run.write("FAILED.json", {"error": TOLD.splitlines()[-1], "traceback": TOLD, "step": 3, "attempt": 1})
    Store(root).write_json("driver.json", {"host": "node-17"})
    row = {"run_id": run.run_id, "verdict": None, "error": "OSError: /scratch/alice/results/runs/x: no room"}
    Store(root).write_json("studies/s/audit.json", {"label": None, "runs": [row, {**row, "error": None}]})
    words = ["export", "s", str(out), "--root", str(root), *(["--with-hosts"] if kept else [])]
    assert CliRunner().invoke(app, words).exit_code == 0
    secrets = [b"node-17", b"alice", b"My Name", b"bucket"]
    assert [secret in out.read_bytes() for secret in secrets] == [kept] * 4
    assert str(tmp_path).encode() not in out.read_bytes()
    assert receive(Store(tmp_path / "there"), out).runs == 1
    moved = RunDir(Store(tmp_path / "there"), run.run_id)
    assert (moved.read("FAILED.json") or {})["traceback"] == (TOLD if kept else CLEANED)
    assert (moved.read("run.json") or {}).get("host") == ("node-17" if kept else None)
    assert moved.config() == run.config()
    errors = [row["error"] for row in (StudyDir(moved.store, "s").find_audit() or {})["runs"]]
    assert errors == [row["error"] if kept else "OSError: x: no room", None]
