"""Registry of commands. A command is one file and one line here.

Commands are thin: they read arguments, call, print, and map outcomes to exit codes. With `orchestrator/cli.py` they
are the only place that sees orchestrator, trainables and analysis together, and they import heavy things inside the
function, so that `grokstudy --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable

from grokstudy.orchestrator.commands.cancel import cancel
from grokstudy.orchestrator.commands.compact import compact
from grokstudy.orchestrator.commands.compare import compare
from grokstudy.orchestrator.commands.doctor import doctor
from grokstudy.orchestrator.commands.export import export, import_
from grokstudy.orchestrator.commands.extend import extend
from grokstudy.orchestrator.commands.gc import gc
from grokstudy.orchestrator.commands.import_curves import import_curves
from grokstudy.orchestrator.commands.logs import logs
from grokstudy.orchestrator.commands.mlflow import mlflow
from grokstudy.orchestrator.commands.new import new
from grokstudy.orchestrator.commands.plan import plan
from grokstudy.orchestrator.commands.query import query
from grokstudy.orchestrator.commands.report import report
from grokstudy.orchestrator.commands.run import run
from grokstudy.orchestrator.commands.schema import schema
from grokstudy.orchestrator.commands.status import status
from grokstudy.orchestrator.commands.submit import submit
from grokstudy.orchestrator.commands.verify import verify
from grokstudy.orchestrator.commands.watch import watch

COMMANDS: dict[str, Callable[..., None]] = {
    "new": new,
    "plan": plan,
    "run": run,
    "extend": extend,
    "status": status,
    "watch": watch,
    "report": report,
    "compare": compare,
    "query": query,
    "logs": logs,
    "mlflow": mlflow,
    "submit": submit,
    "cancel": cancel,
    "verify": verify,
    "compact": compact,
    "gc": gc,
    "export": export,
    "import": import_,
    "import-curves": import_curves,
    "doctor": doctor,
    "schema": schema,
}

EXAMPLES = {
    "plan": "grokstudy plan studies/decoupling.yaml",
    "run": "grokstudy run studies/quickstart.yaml",
    "extend": "grokstudy extend studies/quickstart.yaml --until-event generalised --max-steps 100000",
    "status": "grokstudy status studies/quickstart.yaml",
    "report": "grokstudy report studies/quickstart.yaml",
    "new": "grokstudy new my_question",
    "watch": "grokstudy watch quickstart --every 10",
    "compare": "grokstudy compare decoupling:data.exposure=natural decoupling:data.exposure=both_hops --html page.html",
    "query": 'grokstudy query "SELECT seed, state, horizon FROM trials" --study quickstart',
    "logs": "grokstudy logs 3f2a9c",
    "doctor": "grokstudy doctor",
    "mlflow": "grokstudy mlflow sync quickstart --rebuild",
    "submit": "grokstudy submit studies/decoupling.yaml --cluster cluster.yaml --root s3://BUCKET/grokstudy",
    "cancel": "grokstudy cancel studies/decoupling.yaml --cluster cluster.yaml",
    "verify": "grokstudy verify --root results",
    "compact": "grokstudy compact --root results",
    "gc": "grokstudy gc --dry-run",
    "export": "grokstudy export quickstart quickstart.tar",
    "import": "grokstudy import quickstart.tar --root elsewhere",
    "import-curves": "grokstudy import-curves curves.csv --name published --trial regime "
    "--mapping ood_accuracy=accuracy/test_oo --event 'generalised=accuracy/test_oo>=0.5:3'",
    "schema": "grokstudy schema > docs/study.schema.json",
}
"""Shown under each command's help."""
