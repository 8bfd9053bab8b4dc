"""`grokstudy gc`."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.commands.common import Root, driving, existing

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")]
Orphans = Annotated[bool, typer.Option("--orphans", help="Remove runs that no study asks for, too.")]


def gc(root: Root = "results", dry_run: DryRun = False, orphans: Orphans = False) -> None:
    """Remove half-written files and damaged checkpoints; with --orphans also runs of no study."""
    from orchestrator.garbage import garbage, remove

    store = existing(root)
    with driving(store, "gc"):
        found = garbage(store, orphans)
        for item in found:
            typer.echo(f"{item.path}: {item.why}")
        if not dry_run:
            remove(store, found)
    typer.echo(f"{store.uri}: {len(found)} files {'could be' if dry_run else 'were'} removed")
