"""`grokstudy verify`."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from grokstudy.orchestrator.commands.common import (
    SOME_FAILED,
    Json,
    Quiet,
    Root,
    beside_a_writer,
    emit,
    existing,
    say,
    writer_of,
)


def verify(root: Root = "results", as_json: Json = False, quiet: Quiet = False) -> None:
    """Look for gaps, doubled rows, torn or foreign files, wrong checksums and orphans. Exit code 1 if there are any."""
    from grokstudy.orchestrator.root.verify import verify as faults_of

    store = existing(root)
    with beside_a_writer(store, "verify"):
        faults = faults_of(store)
    if as_json:
        emit(json.dumps([asdict(fault) for fault in faults], indent=1))
    elif not quiet:
        for fault in faults:
            say(str(fault))
        say(f"{store.uri}: {len(faults) or 'no'} fault{'' if len(faults) == 1 else 's'}")
    if faults and (writer := writer_of(store)):
        say(f"note: {writer}; what it writes now may be among the faults: verify again when it is done", err=True)
    raise typer.Exit(SOME_FAILED if faults else 0)
