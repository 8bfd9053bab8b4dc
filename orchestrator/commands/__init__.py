"""Registry of commands. A command is one file and one line here.

Commands are thin: they read arguments, call, print, and map outcomes to exit codes. With `orchestrator/cli.py` they
are the only place that sees orchestrator, trainables and analysis together, and they import heavy things inside the
function, so that `grokstudy --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.commands.cancel import cancel
from orchestrator.commands.plan import plan
from orchestrator.commands.report import report
from orchestrator.commands.run import run
from orchestrator.commands.schema import schema
from orchestrator.commands.status import status
from orchestrator.commands.submit import submit

COMMANDS: dict[str, Callable[..., None]] = {
    "plan": plan,
    "run": run,
    "status": status,
    "report": report,
    "submit": submit,
    "cancel": cancel,
    "schema": schema,
}

EXAMPLES = {
    "plan": "grokstudy plan studies/decoupling.yaml",
    "run": "grokstudy run studies/quickstart.yaml",
    "status": "grokstudy status studies/quickstart.yaml",
    "report": "grokstudy report studies/quickstart.yaml",
    "submit": "grokstudy submit studies/decoupling.yaml --cluster cluster.yaml --root s3://BUCKET/grokstudy",
    "cancel": "grokstudy cancel studies/decoupling.yaml --cluster cluster.yaml",
    "schema": "grokstudy schema > docs/study.schema.json",
}
"""Shown under each command's help."""
