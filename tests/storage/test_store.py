"""Atomic files below a root."""

from __future__ import annotations

from pathlib import Path

import pytest

from grokstudy.trainables.storage.store import Store


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
