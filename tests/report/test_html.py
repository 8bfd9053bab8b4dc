"""The charting library of a page, kept for the next page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import vl_convert

from grokstudy.analysis.report.html import library

Write = Callable[[Path], object]
SCRIPT = "var name = '</script>';"


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often the library was put together, with an empty cache."""
    calls: list[str] = []

    def bundle() -> str:
        calls.append(SCRIPT)
        return SCRIPT

    monkeypatch.setattr(vl_convert, "javascript_bundle", bundle)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return calls


def script() -> str:
    """As a process of its own would have it."""
    library.cache_clear()
    try:
        return str(library())
    finally:
        library.cache_clear()


def test_it_is_put_together_once_on_a_machine(bundled: list[str], tmp_path: Path) -> None:
    assert script() == script()
    assert "</script" not in script()
    assert len(bundled) == 1
    assert [file.suffix for file in (tmp_path / "grokstudy").iterdir()] == [".js"]


@pytest.mark.parametrize(
    "spoil",
    [lambda file: file.write_bytes(file.read_bytes()[:9]), lambda file: file.write_bytes(b"\xff"), Path.unlink],
    ids=["torn", "not text", "gone"],
)
def test_what_is_not_whole_is_put_together_again(bundled: list[str], tmp_path: Path, spoil: Write) -> None:
    whole = script()
    (file,) = (tmp_path / "grokstudy").iterdir()
    spoil(file)
    assert [script(), script()] == [whole, whole]
    assert len(bundled) == 2


def test_a_page_needs_no_cache(bundled: list[str], tmp_path: Path) -> None:
    (tmp_path / "grokstudy").write_text("a file where the folder should be")
    assert script() == script()
    assert len(bundled) == 2


def test_a_page_needs_no_home(bundled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "expanduser", homeless)
    assert script() == script()
    assert len(bundled) == 2
