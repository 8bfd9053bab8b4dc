"""`grokstudy query`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from grokstudy.orchestrator.commands.common import Json, Root, emit, existing, say, stop, study_name, warn_of
from grokstudy.orchestrator.commands.complete import studies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokstudy.trainables.storage.store import Store

ROWS = 200
"""Most rows shown as text; JSON and CSV have all of them."""

Sql = Annotated[
    str, typer.Argument(help="SELECT over trials, steps, evals, probes, events, milestones.", show_default=False)
]
OfStudies = Annotated[
    list[str] | None,
    typer.Option(
        "--study",
        help="Study to ask; may be left out if there is only one. Given several times, every table has all of them.",
        autocompletion=studies,
    ),
]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV instead of text.")]


def query(
    sql: Sql, study: OfStudies = None, root: Root = "results", as_json: Json = False, as_csv: Csv = False
) -> None:
    """Ask the tables of studies in SQL. Names with a dot are quoted: SELECT "data.phi", seed FROM trials.

    The table milestones has the same columns for every task: when the component came, the behaviour, and the behaviour
    out of distribution, and in which order. Of several studies each table begins with a column study.
    """
    from grokstudy.analysis import load
    from grokstudy.analysis.query import query as asked
    from grokstudy.orchestrator.console.tables import table, width

    store = existing(root)
    try:
        tables = [load(store.uri, name) for name in _studies(store, study or ())]
        frame = asked(tables, sql)
    except (ValueError, FileNotFoundError) as error:
        stop(str(error))
    if as_json:
        emit(frame.write_json())
    elif as_csv:
        emit(frame.write_csv(), newline=False)
    else:
        say(table(frame.head(ROWS).to_dicts(), width()))
        if frame.height > ROWS:
            say(f"... and {frame.height - ROWS:,} more rows; --csv and --json print all", err=True)
    warn_of(line for one in tables for line in one.warnings)


def _studies(store: Store, named: Sequence[str]) -> list[str]:
    """The studies that are meant."""
    from grokstudy.trainables.storage.study_dir import study_names

    if named:
        return list(dict.fromkeys(map(study_name, named)))
    known = study_names(store)
    if len(known) != 1:
        stop(f"{store.uri}: say which study with --study: {', '.join(known) or 'there is none yet'}")
    return known
