"""`grokstudy list`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from grokstudy.orchestrator.commands.common import Json, Root, emit, existing, say, writer_of

if TYPE_CHECKING:
    from grokstudy.trainables.storage.store import Store


def list_studies(root: Root = "results", as_json: Json = False) -> None:
    """List the studies of a root: how far each is, and where its report lies."""
    from grokstudy.orchestrator.console.tables import table, width
    from grokstudy.trainables.storage.study_dir import study_names

    store = existing(root)
    rows = [_row(store, name) for name in study_names(store)]
    if as_json:
        emit(json.dumps(rows, indent=1))
        return
    say(table(rows, width()) if rows else f"{store.uri}: there is no study yet")
    if writer := writer_of(store):
        say(writer)


def _row(store: Store, name: str) -> dict[str, Any]:
    """Runs that have ended, of how many, those that failed, its page and its hypothesis; null for what is not known."""
    from grokstudy.orchestrator.runs.status import run_statuses
    from grokstudy.trainables.storage.store import DamagedError
    from grokstudy.trainables.storage.study_dir import StudyDir

    folder, ended, runs, failed = StudyDir(store, name), None, None, None
    try:
        statuses = run_statuses(store, folder.trial_rows()) if folder.has_trials() else []
        ended, runs = sum(run.ended for run in statuses), len(statuses)
        failed = sum(run.state.state == "failed" for run in statuses)
        hypothesis = str(folder.read_spec().get("hypothesis") or "")
    except DamagedError as error:
        hypothesis = str(error)
    page = store.path(folder.page) if store.exists(folder.page) else None
    about = " ".join(hypothesis.split())
    return {"study": name, "ended": ended, "runs": runs, "failed": failed, "report": page, "hypothesis": about}
