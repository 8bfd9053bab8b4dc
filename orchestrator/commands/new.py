"""`grokstudy new`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import Quiet, say, stop, study_file
from grokstudy.orchestrator.commands.complete import study_files

NewName = Annotated[
    str | None, typer.Argument(help="Name of the study, lower-case: the file's name.", show_default=False)
]
Like = Annotated[
    Path | None,
    typer.Option("--like", help="Begin with this study: a shipped one, or a file.", autocompletion=study_files),
]
SCHEMA = "study.schema.json"
MODELINE = "# yaml-language-server:"
SCHEMA_LINE = f"{MODELINE} $schema={SCHEMA}\n"
Folder = Annotated[Path, typer.Option("--folder", help="Where study files lie.")]
NewTask = Annotated[Path | None, typer.Option("--task", help="Write a task of your own to start from to this file.")]
NewTrainable = Annotated[
    Path | None,
    typer.Option("--trainable", help="Likewise a training function of your own, which trains instead of ours."),
]


def new(
    name: NewName = None, folder: Folder = Path("studies"), like: Like = None, task: NewTask = None,
    trainable: NewTrainable = None, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Write a study file to start from, or a task or training function: complete, valid, explained. Replaces nothing.

    Beside a study a schema for editors is written, which its first line names.
    """
    if [name, task, trainable].count(None) != 2:
        stop("say what to write: the name of a study, --task and a file such as parity.py, or --trainable and train.py")
    if task is not None:
        lines = _new_task(task)
    else:
        lines = _new_study(str(name), folder, like) if trainable is None else _new_trainable(trainable)
    if not quiet:
        say(lines)


def _new_study(name: str, folder: Path, like: Path | None) -> str:
    from grokstudy.orchestrator.study.json_schema import study_schema
    from grokstudy.orchestrator.study.template import TEMPLATE
    from grokstudy.trainables.storage.study_dir import NAME

    path = folder / f"{name.removesuffix('.yaml')}.yaml"
    if path.exists():
        stop(f"{path}: is there already; choose another name")
    if not NAME.fullmatch(path.stem):
        rule = "choose another, with lower-case letters, digits, _ and ."
        stop(f"{path}: {path.stem!r} is no name for a study: {rule}")
    text = TEMPLATE.format(name=path.stem) if like is None else study_file(like).read_text(encoding="utf-8")
    if text.startswith(MODELINE):  # the schema that it names lies elsewhere
        text = text.partition("\n")[2]
    _write(path, f"{SCHEMA_LINE}{text}")
    _write(folder / SCHEMA, f"{json.dumps(study_schema(), indent=1)}\n")
    named = shlex.quote(str(path))
    return f"{path}: edit it, then\n  grokstudy plan {named}\n  grokstudy run {named}"


def _new_task(path: Path) -> str:
    from grokstudy.trainables.tasks.outside import skeleton

    _check_file(path)
    name = "".join(word.capitalize() for word in path.stem.split("_"))
    if not name.isidentifier():
        stop(f"{path}: is no name for its file; it needs a letter first")
    _write(path, skeleton(path.name, name))
    used = f"base: {{task: ./{path.name}:{name}}}"
    named = shlex.quote(f"{path}:{name}")
    return f"{path}: edit it, then\n  grokstudy check {named}\nand in a study file beside it\n  {used}"


def _new_trainable(path: Path) -> str:
    from grokstudy.trainables.training.outside import skeleton

    _check_file(path)
    _write(path, skeleton(path.name))
    used = f"base: {{trainable: ./{path.name}:train}}"
    named = shlex.quote(f"{path}:train")
    return f"{path}: edit it, then\n  grokstudy check {named}\nand in a study file beside it\n  {used}"


def _check_file(path: Path) -> None:
    if path.exists():
        stop(f"{path}: is there already; choose another name")
    if path.suffix != ".py" or not path.stem.isidentifier():
        stop(f"{path}: is no name for its file; write letters, digits and _, and .py behind it")


def _write(path: Path, text: str) -> None:
    from grokstudy.trainables.storage.store import Store

    Store(path.parent).write(path.name, text.encode())
