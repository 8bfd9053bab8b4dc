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
    StudyFile,
    Workers,
)
from grokstudy.orchestrator.commands.run import Report, Yes, settle


def measure(
    study: StudyFile,
    root: Root = "results",
    cpu: Cpu = None,
    gpu: Gpu = None,
    workers: Workers = None,
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
    how = (report, yes, code_as_before, as_json, quiet)
    settle(study, root, cpu, gpu, workers, local, *how, only_measure=True)
