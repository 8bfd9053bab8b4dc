"""SQL over a study: `trials`, `steps`, `evals`, `probes` and `events`, as polars understands it.

Nothing is read but the columns and rows that the query needs.
"""

from __future__ import annotations

import polars as pl

from grokstudy.analysis.tables.study import StudyTables

NAMES = ("trials", "steps", "evals", "probes", "events")


def query(tables: StudyTables, sql: str) -> pl.DataFrame:
    """The rows that a query selects. Raises ValueError saying what is wrong, with the names that there are."""
    frames = {name: getattr(tables, name) for name in NAMES if name in sql}
    try:
        found = pl.SQLContext(frames, eager=False).execute(sql)
        return found.collect()
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{_first_line(error)}\n{_columns(tables)}") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _columns(tables: StudyTables) -> str:
    """The tables with their columns; a name with a dot wants double quotes."""
    lines = [f"  {name}: {', '.join(_quoted(tables, name))}" for name in NAMES]
    return "\n".join(['tables and columns (quote a name with a dot: "data.phi"):', *lines])


def _quoted(tables: StudyTables, name: str) -> list[str]:
    frame: pl.LazyFrame = getattr(tables, name)
    return [f'"{column}"' if "." in column else column for column in frame.collect_schema()]
