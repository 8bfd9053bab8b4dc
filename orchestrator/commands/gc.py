"""`grokstudy gc`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import Json, Quiet, Root, beside_a_writer, driving, emit, existing, say

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")]
Orphans = Annotated[bool, typer.Option("--orphans", help="Remove runs that no study asks for, too.")]


def gc(
    root: Root = "results",
    dry_run: DryRun = False,
    orphans: Orphans = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Remove half-written files, damaged checkpoints and those beyond a budget; with --orphans runs of no study."""
    from grokstudy.orchestrator.root.gc import garbage, remove

    store = existing(root)
    with driving(store, "gc", freeing=True), beside_a_writer(store, "gc"):
        files = garbage(store, orphans)
        if not dry_run:
            remove(store, files)
    if as_json:
        emit(json.dumps([{**asdict(file), "removed": not dry_run} for file in files], indent=1))
    elif not quiet:
        for file in files:
            say(f"{file.path}: {file.why}")
        say(f"{store.uri}: {len(files)} files {'could be' if dry_run else 'were'} removed")
