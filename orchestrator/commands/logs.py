"""`grokstudy logs`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import Json, Root, emit, existing, say, stop
from grokstudy.orchestrator.commands.complete import runs

RunId = Annotated[
    str,
    typer.Argument(help="Run id, or as much of its beginning as is unique.", show_default=False, autocompletion=runs),
]


def logs(run: RunId, root: Root = "results", as_json: Json = False) -> None:
    """Tell the story of one run: when and where it began, its attempts, notes, how it ended, its traceback."""
    from grokstudy.orchestrator.root.history import find_run, story, story_text

    store = existing(root)
    try:
        run_story = story(store, find_run(store, run))
    except ValueError as error:
        stop(str(error))
    if as_json:
        emit(json.dumps(run_story, indent=1))
    else:
        say(story_text(run_story))
