"""`grokstudy report`, and the report that ends a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from grokstudy.orchestrator.commands.common import (
    Json,
    Quiet,
    Root,
    StudyName,
    emit,
    existing,
    say,
    stop,
    study_name,
    warn_of,
)

if TYPE_CHECKING:
    from polars import DataFrame

    from grokstudy.trainables.storage.store import Store


OneFigure = Annotated[str | None, typer.Option("--figure", help="Draw only this figure, e.g. curves.")]
Column = Annotated[bool, typer.Option("--column", help="With --figure: panels stacked, for one column of a paper.")]


def report(
    study: StudyName,
    root: Root = "results",
    figure: OneFigure = None,
    column: Column = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Answer the study's question from the tables, and draw its report anew."""
    from grokstudy.trainables.storage.store import Store

    if figure is not None:
        _draw_figure(root, study_name(study), figure, column, quiet)
        return
    index, warnings = draw_report(Store(root), study_name(study), as_json, quiet)
    if not (as_json or quiet):
        say(f"report: {index}")
    warn_of(warnings)


def _draw_figure(root: str, name: str, figure: str, column: bool, quiet: bool) -> None:
    from grokstudy.analysis.report.report import write_figure

    try:
        files = write_figure(existing(root).uri, name, figure, column)
    except (FileNotFoundError, ValueError) as error:
        stop(str(error))
    if not quiet:
        say("\n".join(files))


def draw_report(store: Store, name: str, as_json: bool = False, quiet: bool = False) -> tuple[str, list[str]]:
    """Print the answer as text or JSON, then draw the report; returns the page's path, and what was left out.

    The answer is there in a moment, the figures are not: it is printed before they are drawn.
    """
    from grokstudy.analysis.answer import as_json_text
    from grokstudy.analysis.report.report import write_report
    from grokstudy.analysis.summary import answer_text
    from grokstudy.orchestrator.console.tables import width

    def answered(frame: DataFrame) -> None:
        if as_json:
            emit(as_json_text(frame))
        elif not quiet:
            say(f"{answer_text(frame, min(80, width() or 80)).rstrip()}\n")

    try:
        written = write_report(store.uri, name, answered=answered)
    except (FileNotFoundError, ValueError) as error:
        stop(str(error))
    return written.index, written.warnings
