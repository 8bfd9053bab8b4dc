"""`grokstudy import-curves`: published curves beside our own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import Json, Quiet, Root, say, stop
from grokstudy.orchestrator.commands.mlflow import try_to_sync
from grokstudy.orchestrator.commands.report import draw_report

File = Annotated[Path, typer.Argument(help="CSV file, one row per trial and step.", show_default=False)]
Name = Annotated[str, typer.Option("--name", help="Name of the study that the curves become.", show_default=False)]
Mappings = Annotated[
    list[str], typer.Option("--mapping", help="What a column is: COLUMN=METRIC/SPLIT. May be repeated.")
]
Events = Annotated[list[str], typer.Option("--event", help="NAME=METRIC/SPLIT>=VALUE[:FOR][:stable]. May be repeated.")]
Trial = Annotated[str, typer.Option("--trial", help="Column that tells the curves apart, or several with commas.")]
Step = Annotated[str, typer.Option("--step", help="Column with the training step.")]
N = Annotated[str | None, typer.Option("--n", help="Column with the number of examples behind a row.")]
Where = Annotated[str | None, typer.Option("--where", help="SQL condition on the rows that are meant, e.g. seed = 0.")]


def import_curves(
    file: File,
    name: Name,
    mapping: Mappings,
    event: Events,
    trial: Trial = "trial",
    step: Step = "step",
    n: N = None,
    where: Where = None,
    root: Root = "results",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a study of curves from elsewhere, with its events, answer and report."""
    from grokstudy.orchestrator.root.curve_file import CurveColumn, External
    from grokstudy.orchestrator.root.import_curves import import_external
    from grokstudy.trainables.events import Event
    from grokstudy.trainables.storage.store import Store

    store = Store(root)
    try:
        source = External(file, trial, step, tuple(CurveColumn.parse(text) for text in mapping), where, n)
        count = import_external(store, name, source, dict(Event.parse(text) for text in event))
    except ValueError as error:
        stop(str(error))
    if not (as_json or quiet):
        say(f"{count} curves imported as study {name}\n")
    drawn = draw_report(store, name, as_json, quiet)
    try_to_sync(store, name)
    if not (as_json or quiet):
        say(f"report: {drawn.page}")
