"""`grokstudy status`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import (
    CodeAsBefore,
    Json,
    Root,
    Settings,
    StudyFile,
    emit,
    say,
    study_of,
)

Failed = Annotated[bool, typer.Option("--failed", help="Only the failed runs, by cause.")]


def status(
    study: StudyFile,
    root: Root = "results",
    failed: Failed = False,
    settings: Settings = None,
    code_as_before: CodeAsBefore = False,
    as_json: Json = False,
) -> None:
    """Show how far a study is, read from the root alone: one look of `watch`, and what needs attention."""
    from grokstudy.orchestrator.console.describe import failures_text, starts_json, starts_text, status_text
    from grokstudy.orchestrator.execution.driver import study_state
    from grokstudy.orchestrator.execution.lock import driver_of, trained_study
    from grokstudy.orchestrator.runs.status import study_status
    from grokstudy.orchestrator.runs.study_dir import trial_table
    from grokstudy.trainables.storage.store import Store

    store = Store(root)
    read = study_of(study, store, settings, root if code_as_before else None)
    state, driver = study_state(read, store, trust=True), driver_of(store)
    if as_json:
        states = {run_id: vars(one) for run_id, one in state.ledger.states.items()}
        facts = {"study": read.name, "driver": driver, "runs": states, **starts_json(state.trials)}
        emit(json.dumps(facts, indent=1))
        return
    if not failed:
        trials = trial_table(state.trials, state.ledger).to_pylist()
        driven = trained_study(store) == read.name
        say(status_text(read, study_status(store, trials, states=state.ledger.states, driven=driven), driver))
        if lines := starts_text(state.trials):
            say(lines)
    elif not state.ledger.counts().get("failed"):
        say(f"{read.name}: no failed runs")
    if state.ledger.counts().get("failed"):
        say(failures_text(state.ledger))
