"""`grokstudy verify`."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from grokstudy.orchestrator.commands.common import SOME_FAILED, Json, Quiet, Root, existing


def verify(root: Root = "results", as_json: Json = False, quiet: Quiet = False) -> None:
    """Look for gaps, doubled rows, torn or foreign files, wrong checksums and orphans. Exit code 1 if there are any."""
    from grokstudy.orchestrator.root.verify import verify as faults_of

    store = existing(root)
    faults = faults_of(store)
    if as_json:
        typer.echo(json.dumps([asdict(fault) for fault in faults], indent=1))
    elif not quiet:
        for fault in faults:
            typer.echo(str(fault))
        typer.echo(f"{store.uri}: {len(faults) or 'no'} fault{'' if len(faults) == 1 else 's'}")
    raise typer.Exit(SOME_FAILED if faults else 0)
