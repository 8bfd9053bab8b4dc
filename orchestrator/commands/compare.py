"""`grokstudy compare`."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import fill
from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import Json, Root, emit, existing, say, stop, warn_of
from grokstudy.orchestrator.commands.complete import studies

Words = Annotated[
    list[str],
    typer.Argument(
        help="Studies, STUDY:axis=value, or beginnings of run ids.", show_default=False, autocompletion=studies
    ),
]
Html = Annotated[Path | None, typer.Option("--html", help="Also write a page with the curves overlaid.")]


def compare(sides: Words, root: Root = "results", as_json: Json = False, html: Html = None) -> None:
    """Set studies, parts of studies or runs beside each other: settings that differ, events with intervals, tests.

    Studies of different tasks are compared by the events that the families have in common.
    """
    from grokstudy.analysis.compare.compare import compare as compared
    from grokstudy.analysis.compare.select import sides as found
    from grokstudy.analysis.compare.text import SECTIONS, compare_page
    from grokstudy.orchestrator.console.tables import table, width

    store = existing(root)
    names = [Path(word).stem if word.endswith((".yaml", ".yml")) else word for word in sides]
    try:
        chosen = found(store.uri, dict.fromkeys(names))
    except (ValueError, FileNotFoundError) as error:
        stop(str(error))
    result = compared(chosen)
    if html is not None:
        html.write_text(compare_page(chosen, result))
        say(f"page: {html}", err=True)
    if as_json:
        emit(json.dumps(result.to_json(), indent=1))
    else:
        wide = width() or 1000
        blocks = [f"{fill(title, wide)}\n{table(rows(result), width())}" for title, rows in SECTIONS if rows(result)]
        say("\n\n".join([*blocks, *(fill(note, wide) for note in result.notes)]))
    warn_of(line for one in chosen for line in one.tables.warnings)
