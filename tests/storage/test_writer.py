"""The thread that writes: order, bounded memory, errors, and that training goes on meanwhile."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import train_to

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage import checkpoint, records
from grokstudy.trainables.storage.run_dir import Lease, LeaseLostError, RunDir
from grokstudy.trainables.storage.store import StorageError, Store
from grokstudy.trainables.storage.writer import Writer
from grokstudy.trainables.training.pack import Pack, failures_recorded

Small = Callable[..., RunConfig]
WAIT_S = 60.0
"""Longest wait for something that comes at once, so that a mistake fails instead of hanging."""


class Gate(Store):
    """A store that notes what is written, and writes parts and checkpoints while its gate is open."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.open, self.reached = threading.Event(), threading.Event()
        self.open.set()
        self.written: list[str] = []

    def write(self, relative: str, data: bytes) -> None:
        if "lease" not in relative and "run.json" not in relative:
            self.reached.set()
            assert self.open.wait(WAIT_S)
            self.written.append(relative)
        super().write(relative, data)


def test_works_are_done_in_order_and_flush_waits_for_them() -> None:
    writer, done = Writer(), list[int]()
    for number in range(20):
        writer.later(lambda number=number: done.append(number), 1)  # type: ignore[misc]
    writer.flush()
    assert done == list(range(20))


def test_what_waits_is_bounded_and_something_larger_waits_alone() -> None:
    writer, gate, refused = Writer(limit=10), threading.Event(), threading.Event()
    writer.later(lambda: _pass(gate), 6)
    writer.later(lambda: None, 4)

    def ask() -> None:
        writer.later(refused.set, 1000)

    asking = threading.Thread(target=ask)
    asking.start()
    assert not refused.is_set()
    assert asking.is_alive()
    assert writer._held() == 10
    gate.set()
    asking.join(WAIT_S)
    assert writer._held() == 1000
    writer.flush()
    assert refused.is_set()


def test_after_an_error_nothing_is_written_and_every_word_raises_it() -> None:
    writer, done = Writer(), list[str]()
    writer.later(_break, 1)
    with pytest.raises(StorageError, match="the disk is gone") as caught:
        writer.flush()
    assert "_break" in "".join(traceback.format_exception(caught.value))
    with pytest.raises(StorageError, match="the disk is gone"):
        writer.later(lambda: done.append("later"), 1)
    with pytest.raises(StorageError, match="the disk is gone"):
        writer.flush()
    assert done == []


def test_works_behind_a_failed_one_are_dropped() -> None:
    writer, gate, done = Writer(), threading.Event(), list[str]()
    writer.later(lambda: _pass(gate), 1)
    writer.later(_break, 1)
    writer.later(lambda: done.append("behind"), 1)
    gate.set()
    with pytest.raises(StorageError, match="the disk is gone"):
        writer.flush()
    assert done == []


def test_training_goes_on_while_storage_hangs(small: Small, tmp_path: Path) -> None:
    config, store = small(), Gate(tmp_path / "root")
    pack = Pack([config], store)
    store.open.clear()
    train_to(pack, 50)
    assert store.reached.wait(WAIT_S)
    assert store.written == []
    assert not pack.finished
    store.open.set()
    pack.checkpoint_now()
    assert checkpoint.steps(RunDir(store, config.run_id))[-1] == 50


def test_a_small_limit_holds_training_up(small: Small, tmp_path: Path) -> None:
    config, store = small(), Gate(tmp_path / "root")
    pack = Pack([config], store)
    pack.writer.limit = 1
    store.open.clear()
    training = threading.Thread(target=lambda: pack.advance(WAIT_S))
    training.start()
    assert store.reached.wait(WAIT_S)
    assert training.is_alive()
    assert pack.step == 20  # the checkpoint after the rows that hang
    store.open.set()
    training.join(WAIT_S)
    assert pack.finished


def test_rows_then_their_checkpoint_and_the_marker_last(small: Small, tmp_path: Path) -> None:
    config, store = small(), Gate(tmp_path / "root")
    pack = Pack([config], store)
    pack.advance(WAIT_S)
    kinds = [_kind(name) for name in store.written]
    commits = [*sorted(TABLES), "checkpoints"] * 3
    assert [kind for kind in _sorted_rows(kinds) if kind != "DONE.json"][:12] == commits
    assert kinds[-1] == "DONE.json"
    assert kinds.count("DONE.json") == 1


def test_an_error_while_writing_ends_training_as_what_it_is(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, store = small(), Store(tmp_path / "root")
    pack = Pack([config], store)
    monkeypatch.setattr(records, "encode", _break)
    with pytest.raises(StorageError, match="the disk is gone"), failures_recorded(pack):
        pack.advance(WAIT_S)
    run = RunDir(store, config.run_id)
    assert checkpoint.steps(run) == []
    assert run.read("DONE.json") is None
    assert run.read("FAILED.json") is None
    assert not pack.finished


def test_a_lease_lost_meanwhile_stops_what_waits(small: Small, tmp_path: Path) -> None:
    config, store = small(), Gate(tmp_path / "root")
    pack = Pack([config], store)
    store.open.clear()
    train_to(pack, 50)
    assert store.reached.wait(WAIT_S)
    Lease.take(RunDir(store, config.run_id))
    store.open.set()
    with pytest.raises(LeaseLostError, match="lost its lease to attempt 2"):
        pack.checkpoint_now()
    assert checkpoint.steps(RunDir(store, config.run_id)) == []


def test_an_error_in_training_leaves_what_was_handed_over_on_the_disk(small: Small, tmp_path: Path) -> None:
    config, store = small(), Gate(tmp_path / "root")
    pack = Pack([config], store)
    store.open.clear()
    train_to(pack, 30)
    threading.Thread(target=lambda: _open_when_flushed(pack, store)).start()
    with pytest.raises(RuntimeError, match="out of luck"), failures_recorded(pack):
        raise RuntimeError("out of luck")
    assert checkpoint.steps(RunDir(store, config.run_id)) == [20]


def _open_when_flushed(pack: Pack, store: Gate) -> None:
    assert store.reached.wait(WAIT_S)
    store.open.set()


def _kind(name: str) -> str:
    parts = name.split("/")
    return parts[1] if parts[0] == "metrics" else parts[-1] if parts[-1] == "DONE.json" else parts[2]


def _sorted_rows(kinds: list[str]) -> list[str]:
    """The tables of one commit come in any order; sort them between checkpoints."""
    found: list[str] = []
    rows: list[str] = []
    for kind in kinds:
        if kind in TABLES:
            rows.append(kind)
            continue
        found += [*sorted(rows), kind]
        rows = []
    return found


def _pass(gate: threading.Event) -> None:
    assert gate.wait(WAIT_S)


def _break(*_: object) -> None:
    raise StorageError("the disk is gone")
