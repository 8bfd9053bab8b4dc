"""`grokstudy show`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from grokstudy.orchestrator.commands.common import Json, Root, emit, existing, say, stop
from grokstudy.orchestrator.commands.logs import RunId

if TYPE_CHECKING:
    from grokstudy.trainables.storage.store import Store


def show(run: RunId, root: Root = "results", as_json: Json = False) -> None:
    """Show one run: its state, the studies it serves, what it sets, its newest accuracies, and where its files lie."""
    from grokstudy.orchestrator.console.tables import cell
    from grokstudy.orchestrator.root.history import find_run

    store = existing(root)
    try:
        facts = _facts(store, find_run(store, run))
    except ValueError as error:
        stop(str(error))
    if as_json:
        emit(json.dumps(facts, indent=1))
        return
    wide = max(map(len, facts))
    for name, value in facts.items():
        items = [f"{key} {cell(part)}" for key, part in value.items()] if isinstance(value, dict) else None
        items = value if isinstance(value, list) else items
        say(f"{name:<{wide}}  {cell(value) if items is None else ', '.join(items) or '–'}")


def _facts(store: Store, run_id: str) -> dict[str, Any]:
    """What is known of a run; empty or null for what is not."""
    from grokstudy.orchestrator.execution.lock import trained_study
    from grokstudy.orchestrator.runs.status import study_status
    from grokstudy.trainables.config import RunConfig
    from grokstudy.trainables.options import flat
    from grokstudy.trainables.storage.run_dir import RunDir
    from grokstudy.trainables.storage.study_dir import StudyDir, study_names

    folder = RunDir(store, run_id)
    about = folder.read("run.json") or {}
    rows = [
        {**row, "study": name}
        for name in study_names(store)
        for row in (StudyDir(store, name).trial_rows() if StudyDir(store, name).has_trials() else ())
        if row["run_id"] == run_id
    ]
    options = flat(about.get("config") or {})
    default = flat(RunConfig().to_dict())
    driven = trained_study(store) in [row["study"] for row in rows]
    trials = [{key: row[key] for key in row if key != "study"} for row in rows]
    status = study_status(store, trials, driven=driven)
    state = status.runs[0].state if status.runs else None
    return {
        "run": run_id,
        "state": None if state is None else status.word(state.state),
        "step": None if state is None else state.step,
        "asked": status.asked or options.get("train.steps"),
        "error": None if state is None else state.error,
        "trials": [row["trial_id"] for row in rows],
        "sets": {key: value for key, value in options.items() if value != default.get(key)},
        "accuracy": dict(status.accuracy.get(run_id, {})),
        "host": about.get("host"),
        "commit": about.get("commit"),
        "files": store.path(folder.folder),
    }
