"""`grokstudy export` and `grokstudy import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import Quiet, Root, StudyName, driving, existing, say, stop, study_name

Out = Annotated[Path, typer.Argument(help="Tar file to write.", show_default=False)]
Tar = Annotated[Path, typer.Argument(help="Tar file that export wrote.", show_default=False)]


Hosts = Annotated[bool, typer.Option("--with-hosts", help="Keep what markers tell of hosts and of folders.")]


def export(study: StudyName, out: Out, root: Root = "results", with_hosts: Hosts = False, quiet: Quiet = False) -> None:
    """Write a study, with its runs and all their rows, to one tar file; without the names of hosts and folders."""
    from grokstudy.orchestrator.root.archive import export as write
    from grokstudy.trainables.storage.study_dir import StudyDir

    store, name = existing(root), study_name(study)
    if not StudyDir(store, name).has_trials():
        stop(f"{store.uri}: there is no study {name!r}")
    count = write(store, name, out, with_hosts)
    if not quiet:
        say(f"{out}: {count} runs of study {name}")


def import_(tar: Tar, root: Root = "results", quiet: Quiet = False) -> None:
    """Put a study that was exported into a root. Runs that the root already has are left as they are."""
    from grokstudy.orchestrator.root.archive import check, receive
    from grokstudy.trainables.storage.store import Store

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
