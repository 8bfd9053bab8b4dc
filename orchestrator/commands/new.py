"""`grokstudy new`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import Quiet, read_study, say, stop

NewName = Annotated[str, typer.Argument(help="Name of the study, lower-case: the file's name.", show_default=False)]
Folder = Annotated[Path, typer.Option("--folder", help="Where study files lie.")]


def new(name: NewName, folder: Folder = Path("studies"), quiet: Quiet = False) -> None:
    """Write a study file to start from: complete, valid, every line explained. Replaces nothing."""
    from grokstudy.orchestrator.study.template import study_text

    path = folder / f"{name.removesuffix('.yaml')}.yaml"
    if path.exists():
        stop(f"{path}: is there already; choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(study_text(path.stem))
    try:
        read_study(path)  # the name may be none for a study
    except typer.Exit:
        path.unlink()
        raise
    if not quiet:
        say(f"{path}: edit it, then\n  grokstudy plan {path}\n  grokstudy run {path}")
