"""`grokstudy status`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import Json, Root, StudyFile, events_of, read_study, regime

Failed = Annotated[bool, typer.Option("--failed", help="Only the failed runs, by cause.")]


def status(study: StudyFile, root: Root = "results", failed: Failed = False, as_json: Json = False) -> None:
    """Show how far a study is, read from the root alone."""
    from grokstudy.orchestrator.console.describe import failures_text, starts_json, starts_text, status_text
    from grokstudy.orchestrator.execution.driver import standing
    from grokstudy.orchestrator.execution.lock import driver_of
    from grokstudy.trainables.storage.store import Store

    read, store = read_study(study), Store(root)
    state, driver = standing(read, store, trust=True, events=events_of(store)), driver_of(store)
    if as_json:
        states = {run_id: vars(one) for run_id, one in state.ledger.states.items()}
        found = {"study": read.name, "driver": driver, "runs": states, **starts_json(state.trials)}
        typer.echo(json.dumps(found, indent=1))
        return
    if not failed:
        typer.echo(status_text(read, state.ledger, driver, regime))
        if said := starts_text(state.trials):
            typer.echo(said)
    elif not state.ledger.counts().get("failed"):
        typer.echo(f"{read.name}: no failed runs")
    if state.ledger.counts().get("failed"):
        typer.echo(failures_text(state.ledger))
