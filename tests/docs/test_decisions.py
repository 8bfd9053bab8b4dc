"""docs/decisions/ is a complete, numbered list of records, each with its four parts."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs/decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))


def test_the_index_names_every_record_once_in_order() -> None:
    named = re.findall(r"\]\(([\w-]+\.md)\)", (FOLDER / "README.md").read_text())
    assert named == [path.name for path in RECORDS]
    assert [path.name[:4] for path in RECORDS] == [f"{number:04d}" for number in range(1, len(RECORDS) + 1)]


def test_a_record_has_its_four_parts_on_half_a_page() -> None:
    for path in RECORDS:
        text = path.read_text()
        assert text.startswith(f"# {path.name[:4]} "), path.name
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, flags=re.MULTILINE) == [
            "Context",
            "Decision",
            "Why",
            "Consequences",
        ], path.name
        assert len(text.splitlines()) <= 40, path.name
