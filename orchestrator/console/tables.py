"""Rows as plain text: aligned columns that fit the terminal, and whole lines where nobody looks at a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from grokstudy.trainables.messages import one_line

GAP = "  "


def width() -> int | None:
    """Columns of the terminal; None for a pipe or a file, which has no width."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def cell(value: Any) -> str:
    """One value as text in one line, safe for a terminal; what is not known is a dash."""
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else one_line(str(value))


def table(rows: Sequence[Mapping[str, Any]], limit: int | None = None) -> str:
    """Rows of equal keys as text, numbers to the right; lines longer than `limit` end in an ellipsis."""
    if not rows:
        return "no rows"
    columns = [_column(name, [row[name] for row in rows]) for name in rows[0]]
    lines = [GAP.join(cells).rstrip() for cells in zip(*columns, strict=True)]
    return "\n".join(line if limit is None or len(line) <= limit else line[: limit - 1] + "…" for line in lines)


def _column(name: str, values: Sequence[Any]) -> list[str]:
    texts = [one_line(name), *(cell(value) for value in values)]
    wide = max(map(len, texts))
    numeric = all(value is None or isinstance(value, int | float) for value in values)
    return [text.rjust(wide) if numeric else text.ljust(wide) for text in texts]
