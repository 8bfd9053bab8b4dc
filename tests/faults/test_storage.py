"""Storage that is full, gone for a while, torn, or older than it looks; clocks that jump."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from injury import STUDY, train, unharmed, until
from small_runs import train_to
from typer.testing import CliRunner

from grokstudy.orchestrator.cli import app
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage import checkpoint, records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import RefusedError, StorageError, Store
from grokstudy.trainables.training.pack import Pack, failures_recorded

pytestmark = [pytest.mark.faults, pytest.mark.slow]

Small = Callable[..., RunConfig]
OUTAGE_S = float(os.environ.get("GROKSTUDY_OUTAGE_S", "1"))
PROBELESS = {"eval": {"every": 10, "probes": []}}


def stop_at(config: RunConfig, store: Store, step: int) -> Pack:
    """Train until a step and vanish without a word."""
    pack = Pack([config], store)
    train_to(pack, step)
    pack.writer.flush()
    return pack


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB of our own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Fill the disk but for so many bytes."""
    ballast = disk / "ballast"
    free = os.statvfs(disk)
    ballast.write_bytes(b"\1" * (free.f_bavail * free.f_frsize - leave))
    return ballast


@pytest.mark.parametrize(("what", "leave"), [("a part", 0), ("a checkpoint", 12_288)])
def test_the_disk_is_full(small: Small, tmp_path: Path, disk: Path, what: str, leave: int) -> None:
    config = small(**PROBELESS)
    whole = train(config, Store(tmp_path / "whole"))
    store = Store(disk / "root")
    pack = stop_at(config, store, 25)
    ballast = fill(disk, leave)
    word = {"a part": "part-", "a checkpoint": "step-"}[what]
    with pytest.raises(StorageError, match=rf"{word}.*No space left on device.*Free space"), failures_recorded(pack):
        pack.advance(60.0)
    run = RunDir(store, config.run_id)
    assert run.read("FAILED.json") is None
    assert not list((disk / "root").rglob(".tmp-*"))
    ballast.unlink()
    begun = time.monotonic()
    train(config, store)
    unharmed(f"disk full while writing {what}", run, whole, time.monotonic() - begun)


def test_a_full_disk_is_looked_at_and_freed(small: Small, disk: Path) -> None:
    """verify reads it; compact says that it needs room, and harms nothing; gc makes room; then compact goes through."""
    config, root = small(**PROBELESS), ["--root", str(disk / "root")]
    run = train(config, store := Store(disk / "root"))
    torn = f"{run.checkpoints}/step-000000050-{0:016x}.pt"
    store.write(torn, bytes(300_000))
    rows = {name: records.read(run, name) for name in TABLES}
    fill(disk, 0)
    said = CliRunner().invoke(app, ["verify", *root]).stdout
    assert f"{torn}: checksum" in said
    with pytest.raises(StorageError, match=r"part-000000000.*No space left on device.*Free space"):
        CliRunner().invoke(app, ["compact", *root], catch_exceptions=False)
    assert CliRunner().invoke(app, ["verify", *root]).stdout == said
    done = CliRunner().invoke(app, ["gc", *root], catch_exceptions=False)
    assert (done.exit_code, store.exists(torn)) == (0, False)
    done = CliRunner().invoke(app, ["compact", *root], catch_exceptions=False)
    assert done.stdout.endswith("7 parts of finished runs, now 2\n")
    assert all(records.read(run, name).equals(rows[name]) for name in TABLES)
    assert [path.name for path in (disk / "root").iterdir()] == ["metrics", "runs"]


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """The disk as it is after an error, or where somebody else's results are mounted: nothing can be written."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        with pytest.raises(OSError, match="Read-only"):
            (disk / "anything").touch()  # root is stopped, too
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


def test_a_file_system_that_turns_read_only_is_told_at_once(small: Small, tmp_path: Path, disk: Path) -> None:
    config = small(**PROBELESS)
    whole = train(config, Store(tmp_path / "whole"))
    store = Store(disk / "root")
    store.patience_s = 600.0
    pack = stop_at(config, store, 25)
    with (
        read_only(disk),
        pytest.raises(RefusedError, match="read-only; name another --root, or have it mounted for writing"),
        failures_recorded(pack),
    ):
        pack.advance(60.0)
    run = RunDir(store, config.run_id)
    assert run.read("FAILED.json") is None
    assert not list((disk / "root").rglob(".tmp-*"))
    train(config, store)
    unharmed("file system turns read-only", run, whole)


def test_a_read_only_root_is_read_and_nothing_else(tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that only look work as ever; those that write say what to do, exit code 2, and change nothing."""
    monkeypatch.setenv("GROKSTUDY_PATIENCE_S", "600")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    study = tmp_path / "readonly.yaml"
    study.write_text(STUDY.replace("STEPS", "60"))
    root = ["--root", str(disk / "root")]
    runner = CliRunner()
    assert runner.invoke(app, ["run", str(study), "--local", "--no-report", *root]).exit_code == 0
    count = ["query", "SELECT count(*) AS n FROM steps", "--json"]
    looks = [["status", str(study)], ["verify"], count, ["plan", str(study)], ["watch", "readonly", "--once"]]
    before = [runner.invoke(app, [*words, *root]) for words in looks]
    assert [done.exit_code for done in before] == [0] * len(looks), [done.output for done in before]
    files = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
    writes = [
        ["run", str(study), "--steps", "90", "--local"],
        ["report", "readonly"],
        ["compact"],
        ["extend", "readonly", "--steps", "120"],
        ["mlflow", "sync", "readonly"],
    ]
    with read_only(disk):
        for words, one in zip(looks, before, strict=True):
            done = runner.invoke(app, [*words, *root])
            assert (done.exit_code, done.stdout.splitlines()[:4]) == (0, one.stdout.splitlines()[:4]), words
        for words in writes:
            given = [sys.executable, "-m", "grokstudy", *words, *root]
            ended = subprocess.run(given, capture_output=True, text=True, check=False, timeout=120)
            told = ended.stdout + ended.stderr
            assert ended.returncode == 2, (words, told)
            assert re.search("read-only|readonly", told), (words, told)
            assert "Traceback" not in told, (words, told)
    assert {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()} == files


def test_the_disk_is_full_for_a_while(small: Small, tmp_path: Path, disk: Path) -> None:
    config = small(**PROBELESS)
    whole = train(config, Store(tmp_path / "whole"))
    store = Store(disk / "root")
    store.patience_s = 20 * OUTAGE_S
    pack = stop_at(config, store, 25)
    ballast = fill(disk, 0)
    begun = time.monotonic()
    threading.Timer(OUTAGE_S, ballast.unlink).start()
    pack.advance(600.0)
    assert time.monotonic() - begun >= OUTAGE_S
    assert (RunDir(store, config.run_id).read("DONE.json") or {})["attempt"] == 1
    seconds = time.monotonic() - begun - OUTAGE_S
    unharmed(f"storage away for {OUTAGE_S:g} s", RunDir(store, config.run_id), whole, seconds)


@pytest.mark.parametrize(
    ("table", "damage"),
    [("steps", "torn"), ("steps", "foreign"), ("steps", "missing"), ("evals", "torn"), ("evals", "foreign")],
)
def test_a_part_is_damaged(small: Small, tmp_path: Path, table: str, damage: str) -> None:
    config = small(**PROBELESS)
    whole = train(config, Store(tmp_path / "whole"))
    store = Store(tmp_path / "hurt")
    stop_at(config, store, 50)
    run = RunDir(store, config.run_id)
    name = run.part(table, 20)
    begun = time.monotonic()
    content = {"torn": store.read(name)[:100], "foreign": b"a,b\n1,2\n"}
    if damage == "missing":
        store.delete(name)
    else:
        store.write(name, content[damage])
    with pytest.warns(UserWarning, match="training again from"):
        train(config, store)
    unharmed(f"{damage} part", run, whole, time.monotonic() - begun)


def test_the_newest_checkpoint_is_torn(small: Small, tmp_path: Path) -> None:
    config = small(**PROBELESS)
    whole = train(config, Store(tmp_path / "whole"))
    store = Store(tmp_path / "hurt")
    stop_at(config, store, 50)
    run = RunDir(store, config.run_id)
    newest = store.list(run.checkpoints)[-1]
    good = store.read(newest)
    flipped = bytes([good[2000] ^ 1])
    for content in (good[:1000], b"", good[:2000] + flipped + good[2001:]):
        store.write(newest, content)
        with pytest.warns(UserWarning, match="torn checkpoint passed over"):
            stop_at(config, store, 50)
    store.write(newest, b"torn")
    with pytest.warns(UserWarning, match="torn checkpoint passed over"):
        train(config, store)
    assert (run.read("DONE.json") or {})["torn_checkpoints"] == [newest]
    unharmed("torn checkpoint", run, whole, injected=4)


def test_a_checkpoint_of_a_stranger_is_not_unpickled(small: Small, tmp_path: Path) -> None:
    import hashlib
    import io
    import pickle

    import torch

    config, store = small(**PROBELESS), Store(tmp_path / "hurt")
    stop_at(config, store, 50)
    run = RunDir(store, config.run_id)
    trap = tmp_path / "sprung"
    buffer = io.BytesIO()
    torch.save({"step": 45, "flat_P": _Trap(trap)}, buffer)
    for content in (buffer.getvalue(), pickle.dumps(_Trap(trap)), b"PK\3\4 rubbish"):
        digest = hashlib.sha256(content).hexdigest()[:16]
        store.write(f"{run.checkpoints}/step-000000045-{digest}.pt", content)
        with pytest.warns(UserWarning, match="torn checkpoint passed over"):
            found, _ = checkpoint.newest(run)
        assert found is not None
        assert found.step == 40
    assert not trap.exists()


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_a_part_that_reaches_beyond_the_restored_step_is_shortened(small: Small, tmp_path: Path) -> None:
    """Parts may have been merged, or cut elsewhere by an attempt that lost its lease."""
    config = small(**PROBELESS)
    whole = train(config, Store(tmp_path / "whole"))
    store = Store(tmp_path / "hurt")
    stop_at(config, store, 60)
    run = RunDir(store, config.run_id)
    merged = records.read(run, "steps")
    for start in records.part_starts(run, "steps"):
        store.delete(run.part("steps", start))
    store.write(run.part("steps", 0), records.encode(merged))
    run.clear("DONE.json")
    newest = store.list(run.checkpoints)[-1]
    store.delete(newest)
    train(config, store)
    unharmed("merged parts, newest checkpoint lost", run, whole)


def test_a_shorter_study_does_not_harm_a_longer_one_that_was_interrupted(small: Small, tmp_path: Path) -> None:
    config = small(**PROBELESS)
    whole = train(config, Store(tmp_path / "whole"))
    store = Store(tmp_path / "hurt")
    stop_at(config, store, 45)
    train(small(train={"steps": 30}, **PROBELESS), store)
    unharmed("shorter length trained in between", train(config, store), whole)


CLOCK = """
import random, runpy, sys, time
clock, chance = time.time, random.Random(0)
time.time = lambda: clock() + chance.uniform(-1e8, 1e8)
sys.argv = ["trainables", *sys.argv[1:]]
runpy.run_module("trainables", run_name="__main__")
"""


def start(config: RunConfig, folder: Path, *before: str) -> subprocess.Popen[str]:
    """Train in a process of its own, as on a bare machine."""
    path = folder / "run.json"
    path.write_text(json.dumps(config.to_dict()))
    words = [sys.executable, *before, "train", "--config", str(path), "--out", str(folder / "root"), "--threads", "1"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_root_in_training_is_verified_without_alarm(small: Small, tmp_path: Path) -> None:
    """Whatever it finds the run at: that no study asks for it is all there is to say."""
    config = small(train={"steps": 2000, "checkpoint_every": 20}, **PROBELESS)
    store, found = Store(tmp_path / "root"), set[str]()
    process = start(config, tmp_path, "-m", "trainables")
    until(lambda: checkpoint.steps(RunDir(store, config.run_id)), "a checkpoint")
    looks = 0
    while process.poll() is None:
        done = CliRunner().invoke(app, ["verify", "--json", "--root", store.uri], catch_exceptions=False)
        told = "a file went while it was looked at" in done.stderr
        assert (done.exit_code, told) in ((1, False), (2, True)), done.stderr
        found |= {fault["kind"] for fault in json.loads(done.stdout or "[]")}
        looks += 1
    assert ended(process) == 0
    assert found == {"orphan"}
    assert looks > 3


def ended(process: subprocess.Popen[str]) -> int:
    """Its exit code; it is killed when it does not end."""
    try:
        print(process.communicate(timeout=250)[0])
    finally:
        process.kill()
        process.communicate()
    return process.returncode


def test_the_clock_jumps(small: Small, tmp_path: Path) -> None:
    """Every look at the clock is years off, and so is the age of every file; the second attempt included."""
    config = small(train={"steps": 2000, "checkpoint_every": 100}, **PROBELESS)
    whole = train(config, Store(tmp_path / "whole"))
    run, chance = RunDir(Store(tmp_path / "root"), config.run_id), random.Random(1)
    first = start(config, tmp_path, "-c", CLOCK)
    until(lambda: checkpoint.steps(run), "a checkpoint")
    first.kill()
    first.communicate()
    for path in (tmp_path / "root").rglob("*"):
        os.utime(path, times=(chance.uniform(0, 4e9),) * 2)
    assert ended(start(config, tmp_path, "-c", CLOCK)) == 0
    unharmed("clock and file times jump by years", run, whole)


def test_a_bare_machine_is_told_to_stop(small: Small, tmp_path: Path) -> None:
    config = small(train={"steps": 2000, "checkpoint_every": 100}, **PROBELESS)
    whole = train(config, Store(tmp_path / "whole"))
    run = RunDir(Store(tmp_path / "root"), config.run_id)
    first = start(config, tmp_path, "-m", "trainables")
    until(lambda: checkpoint.steps(run), "a checkpoint")
    first.send_signal(signal.SIGTERM)
    assert ended(first) == 3
    assert ended(start(config, tmp_path, "-m", "trainables")) == 0
    unharmed("SIGTERM of python -m trainables", run, whole)
