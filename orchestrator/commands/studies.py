"""`grokstudy studies`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import Json, emit, say, stop
from grokstudy.orchestrator.commands.complete import shipped

Name = Annotated[str | None, typer.Argument(help="Print this one, to begin your own with.", autocompletion=shipped)]


def studies(name: Name = None, as_json: Json = False) -> None:
    """List the shipped studies with their hypotheses; `run`, `plan` and the others take them by name, anywhere."""
    from grokstudy.orchestrator.console.tables import table, width
    from grokstudy.orchestrator.shipped import near, shipped_studies, study_to_edit
    from grokstudy.orchestrator.study.yaml import read_source

    files = shipped_studies()
    if name is not None and name not in files:
        stop(f"{name}: there is no shipped study of this name; {near(name, files)}")
    rows = [
        {"study": study, "hypothesis": " ".join(str(read_source(path).data["hypothesis"]).split())}
        for study, path in files.items()
        if name in (None, study)
    ]
    if as_json:
        emit(json.dumps([{**row, "text": study_to_edit(row["study"])} for row in rows], indent=1))
    elif name is not None:
        emit(study_to_edit(name), newline=False)
    else:
        say(table(rows, width()))
