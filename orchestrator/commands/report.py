"""`grokstudy report`, and the report that ends a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from grokstudy.orchestrator.commands.common import (
    CodeAsBefore,
    Json,
    Quiet,
    Root,
    StudyName,
    emit,
    existing,
    kept_code,
    read_study,
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
    code_as_before: CodeAsBefore = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Answer the study's question from the tables, and draw its report anew."""
    from grokstudy.trainables.storage.store import Store

    own = _own_figures(study, Store(root), code_as_before)
    if figure is not None:
        _draw_figure(root, study_name(study), figure, column, quiet, own)
        return
    drawn = draw_report(Store(root), study_name(study), as_json, quiet, own)
    if not (as_json or quiet):
        say(f"report: {drawn.page}")
    warn_of(drawn.warnings)


def _own_figures(study: str, store: Store, as_before: bool) -> tuple[str, ...] | None:
    """The study's own figures as its file has them now; None for those of its last run.

    Code that the root keeps may be a stranger's, who sent the study: it is run only where that is asked for.
    """
    from grokstudy.trainables.storage.study_dir import StudyDir

    name = study_name(study)
    if as_before:
        kept_code(store.uri, name)
        return None
    files = [path for path in (Path(study), Path("studies", f"{name}.yaml")) if path.is_file()]
    return read_study(files[0]).figures if files and StudyDir(store, name).code_names() else None


def _draw_figure(root: str, name: str, figure: str, column: bool, quiet: bool, own: tuple[str, ...] | None) -> None:
    from grokstudy.analysis.report.report import write_figure

    try:
        files = write_figure(existing(root).uri, name, figure, column, own)
    except (FileNotFoundError, ValueError) as error:
        stop(str(error))
    if not quiet:
        say("\n".join(files))


class Drawn(NamedTuple):
    """A report that was drawn: the page's path, what was left out of it, and the answer in sentences."""

    page: str
    warnings: list[str]
    sentences: list[str]


def draw_report(
    store: Store, name: str, as_json: bool = False, quiet: bool = False, own: tuple[str, ...] | None = None
) -> Drawn:
    """Print the answer as text or JSON, then draw the report.

    The answer is there in a moment, the figures are not: it is printed before they are drawn. Its own figures are
    those given, or those of study.json.
    """
    from grokstudy.analysis.answer import as_json_text
    from grokstudy.analysis.report.report import write_report
    from grokstudy.analysis.summary import answer_text, sentences
    from grokstudy.orchestrator.console.tables import width

    def answered(frame: DataFrame) -> None:
        if as_json:
            emit(as_json_text(frame))
        elif not quiet:
            say(f"{answer_text(frame, min(80, width() or 80), brief=True).rstrip()}\n")

    try:
        written = write_report(store.uri, name, own=own, answered=answered)
    except (FileNotFoundError, ValueError) as error:
        stop(str(error))
    return Drawn(written.index, written.warnings, sentences(written.answer))
