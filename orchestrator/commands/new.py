"""`grokstudy new`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import Quiet, say, stop, study_file
from grokstudy.orchestrator.commands.complete import study_files

NewName = Annotated[str, typer.Argument(help="Name of the study, lower-case: the file's name.", show_default=False)]
Like = Annotated[
    Path | None,
    typer.Option("--like", help="Begin with this study: a shipped one, or a file.", autocompletion=study_files),
]
SCHEMA = "study.schema.json"
MODELINE = "# yaml-language-server:"
SCHEMA_LINE = f"{MODELINE} $schema={SCHEMA}\n"
Folder = Annotated[Path, typer.Option("--folder", help="Where study files lie.")]


def new(name: NewName, folder: Folder = Path("studies"), like: Like = None, quiet: Quiet = False) -> None:
    """Write a study file to start from: complete, valid, every line explained. Replaces no study.

    A schema for editors is written beside it, which its first line names.
    """
    from grokstudy.orchestrator.study.json_schema import study_schema
    from grokstudy.orchestrator.study.template import study_text
    from grokstudy.trainables.storage.store import Store
    from grokstudy.trainables.storage.study_dir import NAME

    path = folder / f"{name.removesuffix('.yaml')}.yaml"
    if path.exists():
        stop(f"{path}: is there already; choose another name")
    if not NAME.fullmatch(path.stem):
        rule = "choose another, with lower-case letters, digits, _ and ."
        stop(f"{path}: {path.stem!r} is no name for a study: {rule}")
    text = study_text(path.stem) if like is None else _without_schema(study_file(like).read_text(encoding="utf-8"))
    store = Store(path.parent)
    store.write(path.name, f"{SCHEMA_LINE}{text}".encode())
    store.write(SCHEMA, f"{json.dumps(study_schema(), indent=1)}\n".encode())
    if not quiet:
        say(f"{path}: edit it, then\n  grokstudy plan {path}\n  grokstudy run {path}")


def _without_schema(text: str) -> str:
    """A study's text without the line that names a schema, which lies elsewhere."""
    return text.partition("\n")[2] if text.startswith(MODELINE) else text
