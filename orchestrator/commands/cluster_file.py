"""`grokstudy cluster-file`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import Json, emit, say, stop
from grokstudy.orchestrator.commands.complete import cluster_files

Name = Annotated[
    str | None, typer.Argument(help="The file to print; all are listed if none.", autocompletion=cluster_files)
]


def cluster_file(name: Name = None, as_json: Json = False) -> None:
    """Print a file to start a cluster with, or list them. What is yours to change is marked CHANGE in it."""
    from grokstudy.orchestrator.console.tables import table, width
    from grokstudy.orchestrator.shipped import CLUSTER_FILES, near

    if name is not None and name not in CLUSTER_FILES:
        stop(f"{name}: there is no cluster file of this name; {near(name, CLUSTER_FILES)}")
    chosen = {key: file for key, file in CLUSTER_FILES.items() if name in (None, key)}
    if as_json:
        rows = [{"file": key, "about": file.about, "text": file.text()} for key, file in chosen.items()]
        emit(json.dumps(rows, indent=1))
    elif name is not None:
        emit(chosen[name].text(), newline=False)
    else:
        say(table([{"file": key, "about": file.about} for key, file in chosen.items()], width()))
