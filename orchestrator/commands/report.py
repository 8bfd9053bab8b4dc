"""`grokstudy report`, and the report that ends a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from orchestrator.commands.common import Json, Quiet, Root, StudyFile, stop

if TYPE_CHECKING:
    from trainables.store import Store


def report(study: StudyFile, root: Root = "results", as_json: Json = False, quiet: Quiet = False) -> None:
    """Answer the study's question from the tables, and draw its report anew. Takes a study file or its name."""
    from trainables.store import Store

    text, index = draw_report(Store(root), study.stem, as_json)
    if as_json:
        typer.echo(text)
    elif not quiet:
        typer.echo(f"{text}\nreport: {index}")


def draw_report(store: Store, name: str, as_json: bool = False) -> tuple[str, str]:
    """Write the report of a study; returns the answer as text or JSON, and the path of the page."""
    from analysis import load
    from analysis.answer import answer, as_json_text, as_text
    from analysis.report import write_report

    try:
        tables = load(store.uri, name)
    except (FileNotFoundError, ValueError) as error:
        stop(str(error))
    for warning in tables.warnings:
        typer.echo(f"warning: {warning}", err=True)
    index = write_report(store.uri, name).index
    frame = answer(tables)
    return (as_json_text(frame) if as_json else as_text(frame).rstrip()), index
