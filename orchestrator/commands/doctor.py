"""`grokstudy doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from grokstudy.orchestrator.commands.common import SOME_FAILED, Json, Quiet, Root, emit, say


def doctor(root: Root = "results", as_json: Json = False, quiet: Quiet = False) -> None:
    """Check what a study needs: versions, GPUs, Ray, a root that can be written, room, MLflow. Exit code 1 if not."""
    from grokstudy.orchestrator.doctor import checkup

    checks = checkup(root)
    if as_json:
        emit(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        for check in checks:
            if not quiet:
                say(f"{'ok ' if check.ok else 'BAD'} {check.name:<9} {check.said}")
            if not check.ok:
                say(f"    {check.name:<9} {check.remedy}", err=True)
    raise typer.Exit(0 if all(check.ok for check in checks) else SOME_FAILED)
