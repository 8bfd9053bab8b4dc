"""`grokstudy new`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import Quiet, say, stop

NewName = Annotated[str, typer.Argument(help="Name of the study, lower-case: the file's name.", show_default=False)]
Folder = Annotated[Path, typer.Option("--folder", help="Where study files lie.")]


def new(name: NewName, folder: Folder = Path("studies"), quiet: Quiet = False) -> None:
    """Write a study file to start from: complete, valid, every line explained. Replaces nothing."""
    from grokstudy.orchestrator.study.template import study_text
    from grokstudy.trainables.storage.store import Store
    from grokstudy.trainables.storage.study_dir import NAME

    path = folder / f"{name.removesuffix('.yaml')}.yaml"
    if path.exists():
        stop(f"{path}: is there already; choose another name")
    if not NAME.fullmatch(path.stem):
        rule = "choose another, with lower-case letters, digits, _ and ."
        stop(f"{path}: {path.stem!r} is no name for a study: {rule}")
    Store(path.parent).write(path.name, study_text(path.stem).encode())
    if not quiet:
        say(f"{path}: edit it, then\n  grokstudy plan {path}\n  grokstudy run {path}")
