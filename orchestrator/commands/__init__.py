"""Registry of commands. A command is one file and one line here.

Commands are thin: they read arguments, call, print, and map outcomes to exit codes. With `orchestrator/cli.py` they
are the only place that sees orchestrator, trainables and analysis together, and they import heavy things inside the
function, so that `grokstudy --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable

from grokstudy.trainables.registry import Registry

COMMANDS: Registry[Callable[..., None]] = Registry(
    "command",
    {
        "studies": "orchestrator.commands.studies:studies",
        "new": "orchestrator.commands.new:new",
        "check": "orchestrator.commands.check:check",
        "list": "orchestrator.commands.list_studies:list_studies",
        "plan": "orchestrator.commands.plan:plan",
        "simulate": "orchestrator.commands.simulate:simulate",
        "run": "orchestrator.commands.run:run",
        "measure": "orchestrator.commands.measure:measure",
        "extend": "orchestrator.commands.extend:extend",
        "status": "orchestrator.commands.status:status",
        "watch": "orchestrator.commands.watch:watch",
        "serve": "orchestrator.commands.serve:serve",
        "report": "orchestrator.commands.report:report",
        "transplants": "orchestrator.commands.transplants:transplants",
        "gallery": "orchestrator.commands.gallery:gallery",
        "compare": "orchestrator.commands.compare:compare",
        "query": "orchestrator.commands.query:query",
        "show": "orchestrator.commands.show:show",
        "logs": "orchestrator.commands.logs:logs",
        "mlflow": "orchestrator.commands.mlflow:mlflow",
        "submit": "orchestrator.commands.submit:submit",
        "cancel": "orchestrator.commands.cancel:cancel",
        "cluster-file": "orchestrator.commands.cluster_file:cluster_file",
        "verify": "orchestrator.commands.verify:verify",
        "audit": "orchestrator.commands.audit:audit",
        "compact": "orchestrator.commands.compact:compact",
        "gc": "orchestrator.commands.gc:gc",
        "export": "orchestrator.commands.export:export",
        "import": "orchestrator.commands.export:import_",
        "import-curves": "orchestrator.commands.import_curves:import_curves",
        "doctor": "orchestrator.commands.doctor:doctor",
        "schema": "orchestrator.commands.schema:schema",
    },
)

GROUPS = {
    "Begin": ("studies", "new", "check", "plan", "simulate", "doctor"),
    "Train": ("run", "measure", "extend", "transplants"),
    "Look": ("list", "status", "watch", "serve", "report", "gallery", "compare", "query", "show", "logs", "mlflow"),
    "On a cluster": ("submit", "cancel", "cluster-file"),
    "Care of a root": ("verify", "audit", "compact", "gc", "export", "import", "import-curves"),
    "For tools": ("schema",),
}
"""The commands by what a person wants to do, as `--help` lists them."""
EXAMPLES = {
    "studies": "grokstudy studies quickstart > mine.yaml",
    "list": "grokstudy list",
    "plan": "grokstudy plan decoupling",
    "simulate": "grokstudy simulate phase_diagram --scheduler fifo --scheduler asha --search grid --seeds 20",
    "run": "grokstudy run quickstart --set train.batch=512",
    "measure": "grokstudy measure more_probes.yaml",
    "extend": "grokstudy extend quickstart --until-event generalised --max-steps 100000",
    "status": "grokstudy status quickstart",
    "serve": "grokstudy serve quickstart",
    "report": "grokstudy report quickstart",
    "gallery": "grokstudy gallery results",
    "transplants": "grokstudy transplants paths",
    "new": "grokstudy new my_question --like decoupling",
    "check": "grokstudy check ./parity.py:Parity",
    "watch": "grokstudy watch quickstart --every 10",
    "compare": "grokstudy compare decoupling:data.exposure=natural decoupling:data.exposure=both_hops --html page.html",
    "query": 'grokstudy query "SELECT seed, state, horizon FROM trials" --study quickstart',
    "show": "grokstudy show 3f2a9c",
    "logs": "grokstudy logs 3f2a9c",
    "doctor": "grokstudy doctor",
    "mlflow": "grokstudy mlflow sync quickstart --rebuild",
    "submit": "grokstudy submit decoupling --cluster cluster.yaml --root s3://BUCKET/grokstudy",
    "cancel": "grokstudy cancel decoupling --cluster cluster.yaml",
    "cluster-file": "grokstudy cluster-file aws > cluster.yaml",
    "verify": "grokstudy verify --root results",
    "audit": "grokstudy audit quickstart --fraction 0.25",
    "compact": "grokstudy compact --root results",
    "gc": "grokstudy gc --dry-run",
    "export": "grokstudy export quickstart quickstart.tar",
    "import": "grokstudy import quickstart.tar --root elsewhere",
    "import-curves": "grokstudy import-curves curves.csv --name published --trial regime "
    "--mapping ood_accuracy=accuracy/test_oo --event 'generalised=accuracy/test_oo>=0.5:3'",
    "schema": "grokstudy schema > docs/study.schema.json",
}
"""Shown under each command's help."""
