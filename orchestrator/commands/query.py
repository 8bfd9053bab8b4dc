"""`grokstudy query`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from grokstudy.orchestrator.commands.common import Json, Root, emit, existing, say, stop, study_name, warn_of
from grokstudy.orchestrator.commands.complete import studies

if TYPE_CHECKING:
    from grokstudy.trainables.storage.store import Store

ROWS = 200
"""Most rows shown as text; JSON and CSV have all of them."""

Sql = Annotated[str, typer.Argument(help="SELECT over trials, steps, evals, probes, events.", show_default=False)]
OfStudy = Annotated[
    str | None,
    typer.Option("--study", help="Study to ask; may be left out if there is only one.", autocompletion=studies),
]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV instead of text.")]


def query(sql: Sql, study: OfStudy = None, root: Root = "results", as_json: Json = False, as_csv: Csv = False) -> None:
    """Ask a study's tables in SQL. Names with a dot are quoted: SELECT "data.phi", seed FROM trials."""
    from grokstudy.analysis import load
    from grokstudy.analysis.query import query as asked
    from grokstudy.orchestrator.console.tables import table, width

    store = existing(root)
    try:
        tables = load(store.uri, _study(store, study))
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
    warn_of(tables.warnings)


def _study(store: Store, named: str | None) -> str:
    """The study that is meant."""
    from grokstudy.trainables.storage.study_dir import study_names

    if named is not None:
        return study_name(named)
    known = study_names(store)
    if len(known) != 1:
        stop(f"{store.uri}: say which study with --study: {', '.join(known) or 'there is none yet'}")
    return known[0]
