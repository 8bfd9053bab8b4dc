"""SQL over studies: queries over their tables, and conditions over the rows of one frame, as polars understands it.

Nothing is read but the columns and rows that the query needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import polars as pl

from grokstudy.analysis.statistics.milestones import MILESTONES, milestones
from grokstudy.analysis.tables.study import StudyTables
from grokstudy.trainables.messages import first_line

TABLE_NAMES = ("trials", "steps", "evals", "probes", "events", "milestones")
LONGEST_REASON = 1000
"""Characters of an error that are repeated."""


def query(tables: StudyTables | Sequence[StudyTables], sql: str) -> pl.DataFrame:
    """The rows that a query selects. Raises ValueError saying what is wrong, with the names that there are.

    Of several studies each table has the rows of all, with `study` in front; a column that one lacks is null there.
    """
    studies = [tables] if isinstance(tables, StudyTables) else list(tables)
    try:
        frames = {name: _table(studies, name) for name in TABLE_NAMES if name in sql}
        return pl.SQLContext(frames, eager=False).execute(sql).collect()
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{first_line(error, LONGEST_REASON)}\n{_columns(studies)}") from None


def _table(studies: Sequence[StudyTables], name: str) -> pl.LazyFrame:
    """A table of one study, or of several with their names; an axis whose kinds differ is text."""
    frames = {one.name: milestones(one) if name == "milestones" else getattr(one, name) for one in studies}
    if len(studies) == 1:
        return frames[studies[0].name]
    schemas = {study: frame.collect_schema() for study, frame in frames.items()}
    kinds: dict[str, set[bool]] = {}
    for schema in schemas.values():
        for column, kind in schema.items():
            kinds.setdefault(column, set()).add(kind == pl.String)
    parts = []
    for study, frame in frames.items():
        mixed = [pl.col(column).cast(pl.String) for column in schemas[study] if len(kinds[column]) > 1]
        parts.append(frame.with_columns(*mixed, study=pl.lit(study)).select("study", pl.exclude("study")))
    return pl.concat(parts, how="diagonal_relaxed")


LONGEST = 500
EXAMPLE = "event = 'circuit' AND state = 'censored' AND \"data.phi\" > 3"


def where(frame: pl.DataFrame, condition: str) -> pl.DataFrame:
    """The rows for which a SQL condition holds. Names with a dot may stand without their quotes.

    Raises ValueError that says what is wrong and shows the SQL form: no name that is not a column, no sub-query.
    """
    try:
        if len(condition) > LONGEST:
            raise pl.exceptions.SQLSyntaxError(f"it is longer than {LONGEST} characters")
        return frame.filter(pl.sql_expr(_quoted_names(condition, frame.columns)))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        columns = ", ".join(_quoted(name) for name in frame.columns)
        reason = first_line(error, LONGEST_REASON)
    python = " (in SQL: = not ==, <> or = not !=, 'text' in single quotes, IN (1, 2), IS NULL)"
    hint = python if re.search(r"==|\"[^\"]*\"|\[|None|True|False", condition) else ""
    raise ValueError(f"{condition!r} is not a condition: {reason}{hint}\nwrite it as in: {EXAMPLE}\ncolumns: {columns}")


def _quoted_names(condition: str, columns: Iterable[str]) -> str:
    """The condition with double quotes around names that have a dot, outside of quotes that are there."""
    dotted = "|".join(re.escape(name) for name in sorted(columns, key=len, reverse=True) if "." in name)
    if not dotted:
        return condition
    words = re.compile(rf"('[^']*'|\"[^\"]*\")|(?<![\w.])({dotted})(?![\w.])")
    return words.sub(lambda match: match[1] or f'"{match[2]}"', condition)


def _columns(studies: Sequence[StudyTables]) -> str:
    """The tables with their columns; a name with a dot wants double quotes."""
    known = {name: list(_table(studies, name).collect_schema()) for name in TABLE_NAMES[:-1]}
    columns = {**known, "milestones": list(MILESTONES)}  # reading them would read the study
    lines = [f"  {name}: {', '.join(map(_quoted, names))}" for name, names in columns.items()]
    return "\n".join(['tables and columns (quote a name with a dot: "data.phi"):', *lines])


def _quoted(name: str) -> str:
    return f'"{name}"' if "." in name else name
