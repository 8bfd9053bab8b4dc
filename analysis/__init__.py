"""Analysis: from a study's Parquet tables to events, verdicts and a report.

Each module answers one question with pure functions, lazy frame to lazy frame. Nothing heavy is imported here;
altair and lifelines are imported by the functions that need them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grokstudy.analysis.tables.study import StudyTables


def load(root: str | Path, study: str) -> StudyTables:
    """Open a study under a root (`analysis.tables.load`)."""
    from grokstudy.analysis.tables.study import load as load_tables

    return load_tables(root, study)
