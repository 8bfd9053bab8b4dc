"""What files of the repository refer to is in the repository, and docs/science.md has every measurement."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from grokstudy.analysis.statistics.decoupling import CLASSES
from grokstudy.analysis.statistics.lead_curve import ORDERS
from grokstudy.trainables.measurements import measurements
from grokstudy.trainables.schema import EVAL_COLUMNS, STEP_COLUMNS
from grokstudy.trainables.tasks import TASKS

ROOT = Path(__file__).resolve().parents[2]
KINDS = {".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".cff", ".ipynb", ".txt", ".json", ""}
ELSEWHERE = re.compile(r"\b(SCIENCE|DESIGN|ECOSYSTEM|LAYOUT)\b|\bshared/")
REFERENCE = re.compile(r"\bdocs/[\w/.-]+\.md(?:#[\w-]+)?|\]\(((?!https?:)[^)\s]*\.md#[\w-]+|#[\w-]+)\)")


def texts() -> Iterator[Path]:
    """Files of ours that a person reads; not what tools and runs leave beside them."""
    left_out = {"results", "build", "dist", "test-output", "__pycache__"}
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name not in left_out and path.name[0] != "."]
    inner = [path for top in (*folders, ROOT / ".github") if not top.is_symlink() for path in top.rglob("*")]
    for path in sorted((*ROOT.iterdir(), *inner)):
        hidden = path.name == ".git" or any(part in left_out or part.endswith(".egg-info") for part in path.parts)
        if path.is_file() and not path.is_symlink() and path.suffix in KINDS and not hidden and path != Path(__file__):
            yield path


def headings(page: Path) -> set[str]:
    """Anchors of a page, as GitHub makes them."""
    outside = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", outside, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_nothing_refers_to_documents_that_are_not_here() -> None:
    found = {str(path.relative_to(ROOT)): ELSEWHERE.search(path.read_text(errors="ignore")) for path in texts()}
    assert {name: match.group() for name, match in found.items() if match} == {}


def test_pages_and_sections_that_files_refer_to_exist() -> None:
    for path in texts():
        for match in REFERENCE.finditer(path.read_text(errors="ignore")):
            target, _, section = (match[1] or match[0]).partition("#")
            page = ROOT / target if match[1] is None else path.parent / target if target else path
            assert page.is_file(), f"{path}: {match[0]}"
            assert not section or section in headings(page), f"{path}: {match[0]}"


@pytest.mark.parametrize("name", [*measurements(), *CLASSES, *ORDERS])
def test_science_page_defines_every_measurement_and_class(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs/science.md").read_text()


def test_science_page_defines_what_is_recorded_and_which_files_compute_it() -> None:
    page = (ROOT / "docs/science.md").read_text()
    recorded = [column.name for column in (*STEP_COLUMNS, *EVAL_COLUMNS) if column.kind == "float32"]
    assert [name for name in recorded if f"`{name}`" not in page] == []
    parts = [*(ROOT / "trainables/probes").glob("*.py"), *(ROOT / "trainables/tasks").glob("*.py")]
    files = {path.name for path in (*parts, *(ROOT / "analysis/statistics").glob("*.py"))}
    helpers = {"__init__.py", "centroids.py", "outside.py"}
    assert [name for name in sorted(files - helpers) if f"{name}`" not in page] == []
    assert all(f"{name}.py`" in page for name in TASKS)
