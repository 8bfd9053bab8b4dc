"""`grokstudy export` and `grokstudy import`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grokstudy.analysis.labels import ANSWER
from grokstudy.orchestrator.commands.common import (
    Quiet,
    Root,
    StudyName,
    driving,
    existing_study,
    say,
    stop,
    warn_of,
)

if TYPE_CHECKING:
    from grokstudy.trainables.storage.store import Store

Out = Annotated[Path, typer.Argument(help="File or folder to write.", show_default=False)]
Tar = Annotated[Path, typer.Argument(help="Tar file that export wrote.", show_default=False)]


Hosts = Annotated[bool, typer.Option("--with-hosts", help="Keep what markers tell of hosts and of folders.")]
Optuna = Annotated[bool, typer.Option("--optuna", help="Instead an SQLite file for optuna-dashboard.")]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Instead a folder for TensorBoard.")]
HuggingFace = Annotated[bool, typer.Option("--hf", help="Instead a data set of the Hugging Face hub: Parquet, a card.")]
EventName = Annotated[str, typer.Option("--event", help="With --optuna: the event whose step is the objective.")]


def export(
    study: StudyName,
    out: Out,
    root: Root = "results",
    optuna: Optuna = False,
    tensorboard: TensorBoard = False,
    hf: HuggingFace = False,
    event: EventName = ANSWER,
    with_hosts: Hosts = False,
    quiet: Quiet = False,
) -> None:
    """Write a study, with its runs and all their rows, to one tar file, or for another tool; without names of hosts.

    What is damaged goes along as it is; it is named, and the exit code is 1.
    """
    from grokstudy.orchestrator.root.archive import export as write
    from grokstudy.orchestrator.root.verify import verify_study

    folder = existing_study(root, study)
    store, name = folder.store, folder.name
    if not folder.has_trials():
        stop(f"{store.uri}: study {name!r} has no trials yet, so there is nothing to export; run it first")
    chosen = [word for word, given in {"optuna": optuna, "tensorboard": tensorboard, "hf": hf}.items() if given]
    if len(chosen) > 1:
        stop(f"--{' --'.join(chosen)}: one format at a time")
    if chosen:
        told, warnings = _elsewhere(store, name, out, chosen[0], event)
    else:
        told = f"{write(store, name, out, with_hosts)} runs of study {name}"
        warnings = [str(fault) for fault in verify_study(folder)]
    if not quiet:
        say(f"{out}: {told}")
    warn_of(warnings)


def _elsewhere(store: Store, name: str, out: Path, tool: str, event: str) -> tuple[str, Sequence[str]]:
    """Write it in another tool's format; says what was written and how to look at it, and what was left out."""
    from grokstudy.analysis import load
    from grokstudy.analysis.exports.hugging_face import to_hugging_face
    from grokstudy.analysis.exports.optuna import to_optuna
    from grokstudy.analysis.exports.tensorboard import to_tensorboard

    tables = load(store.uri, name)
    try:
        if tool == "optuna":
            wrote, seen = f"{to_optuna(tables, out, event)} trials", ["optuna-dashboard", f"sqlite:///{out}"]
        elif tool == "tensorboard":
            wrote, seen = f"{to_tensorboard(tables, out)} runs", ["tensorboard", "--logdir", str(out)]
        else:
            wrote = f"{to_hugging_face(tables, out):,} rows"
            seen = ["hf", "upload", "--repo-type", "dataset", "NAME", str(out)]
    except (ValueError, FileExistsError) as error:
        stop(str(error))
    except ModuleNotFoundError as error:
        stop(f"--{tool}: {error.name} is not installed; pip install 'grokstudy[{tool}]'")
    return f"{wrote}; {'send' if tool == 'hf' else 'see'} them with\n  {shlex.join(seen)}", tables.warnings


def import_(tar: Tar, root: Root = "results", quiet: Quiet = False) -> None:
    """Put a study that was exported into a root. Runs that the root already has are left as they are.

    What is damaged of its runs is named, and the exit code is 1.
    """
    from grokstudy.orchestrator.root.archive import check, receive
    from grokstudy.orchestrator.root.verify import verify_study
    from grokstudy.trainables.storage.store import Store
    from grokstudy.trainables.storage.study_dir import StudyDir

    store = Store(root)
    try:
        check(tar)  # before the lock, which leaves a root behind
        with driving(store, "import"):
            received = receive(store, tar)
    except (ValueError, FileNotFoundError) as error:
        stop(str(error))
    if not quiet:
        counts = f"{received.runs} runs, {received.kept} were there already"
        say(f"{store.uri}: {', '.join(received.studies)}: {counts}")
    warn_of(str(fault) for name in received.studies for fault in verify_study(StudyDir(store, name)))
