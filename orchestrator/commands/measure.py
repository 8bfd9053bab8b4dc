"""`grokstudy measure`: new measurements of trained runs."""

from __future__ import annotations

from grokstudy.orchestrator.commands.common import (
    CodeAsBefore,
    Cpu,
    Gpu,
    Json,
    Local,
    Quiet,
    Root,
    Settings,
    StudyFile,
    Workers,
)
from grokstudy.orchestrator.commands.run import Asked, Report, Yes, settle


def measure(
    study: StudyFile,
    root: Root = "results",
    cpu: Cpu = None,
    gpu: Gpu = None,
    workers: Workers = None,
    settings: Settings = None,
    local: Local = None,
    report: Report = True,
    yes: Yes = False,
    code_as_before: CodeAsBefore = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure anew what other runs of the root have trained: as `run`, without the runs that would have to be trained.

    States come from checkpoints that are there, and from steps that are replayed in between.
    """
    request = Asked(
        study=study, root=root, cpu=cpu, gpu=gpu, workers=workers, local=local, only_measure=True, report=report,
        yes=yes, settings=settings, code_as_before=code_as_before, as_json=as_json, quiet=quiet,
    )  # fmt: skip
    settle(request)
