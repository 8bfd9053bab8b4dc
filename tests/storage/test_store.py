"""Atomic files below a root."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from grokstudy.trainables.storage.store import RefusedError, StorageError, Store


def test_paths_do_not_leave_the_root(store: Store) -> None:
    for path in ("../x", "/etc/passwd", "a/../../b"):
        with pytest.raises(ValueError, match="leaves the root"):
            store.write(path, b"")


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("a/b", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.write("a/b", b"new")
    assert store.read("a/b") == b"old"
    assert [path.name for path in Path(store.path("a")).iterdir()] == ["b"]


def test_opening_a_root_creates_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "root")
    assert store.list("runs") == []
    assert store.read_json("runs/x/DONE.json") is None
    assert not (tmp_path / "root").exists()


def test_torn_json_is_named(store: Store) -> None:
    store.write("runs/x/DONE.json", b'{"step": 1')
    with pytest.raises(ValueError, match=r"runs/x/DONE.json: not valid JSON"):
        store.read_json("runs/x/DONE.json")


LASTING = [errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENODEV, errno.EACCES, errno.EPERM]
PASSING = [errno.ENOSPC, errno.EIO, errno.ETIMEDOUT, errno.ESTALE, errno.EDQUOT]


def failing(monkeypatch: pytest.MonkeyPatch, number: int) -> list[float]:
    """Have every write end with this error; returns when it was tried."""
    tried: list[float] = []

    def fail(_: int) -> None:
        tried.append(time.monotonic())
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", fail)
    return tried


@pytest.mark.parametrize("number", LASTING, ids=errno.errorcode.get)
def test_what_no_waiting_changes_is_told_at_once(store: Store, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    tried = failing(monkeypatch, number)
    with pytest.raises((RefusedError, PermissionError), match=os.strerror(number)):
        store.write("a", b"")
    assert len(tried) == 1


@pytest.mark.parametrize("number", PASSING, ids=errno.errorcode.get)
def test_what_may_pass_is_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    tried = failing(monkeypatch, number)
    with pytest.raises(StorageError, match=r"tried for 0 s\)\. Free space") as told:
        store.write("a", b"")
    assert not isinstance(told.value, RefusedError)
    assert len(tried) > 1


def test_a_name_that_no_file_system_takes_is_refused_by_every_way_of_looking(tmp_path: Path) -> None:
    store = Store(tmp_path / ("x" * 300))
    for look in (
        lambda: store.exists("a"),
        lambda: store.read("a"),
        lambda: store.list(""),
        lambda: store.write("a", b""),
    ):
        with pytest.raises(RefusedError, match="the name is too long"):
            look()
