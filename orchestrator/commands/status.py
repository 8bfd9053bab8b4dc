"""`grokstudy status`."""

from __future__ import annotations

import json

import typer

from orchestrator.commands.common import Json, Root, StudyFile, read_study, regime


def status(study: StudyFile, root: Root = "results", as_json: Json = False) -> None:
    """Show how far a study is, read from the root alone."""
    from orchestrator.driver import standing
    from orchestrator.lock import driver_of
    from orchestrator.text import failures_text, status_text
    from trainables.store import Store

    read, store = read_study(study), Store(root)
    state, driver = standing(read, store), driver_of(store)
    if as_json:
        states = {run_id: vars(found) for run_id, found in state.ledger.states.items()}
        typer.echo(json.dumps({"study": read.name, "driver": driver, "runs": states}, indent=1))
        return
    typer.echo(status_text(read, state.ledger, driver, regime))
    if state.ledger.counts().get("failed"):
        typer.echo(failures_text(state.ledger))
