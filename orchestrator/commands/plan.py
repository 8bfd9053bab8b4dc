"""`grokstudy plan`."""

from __future__ import annotations

import json

import typer

from orchestrator.commands.common import Cpu, First, Gpu, Json, Root, Steps, StudyFile, Workers, read_study


def plan(
    study: StudyFile,
    root: Root = "results",
    steps: Steps = None,
    first: First = None,
    cpu: Cpu = None,
    gpu: Gpu = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Show what a study would take: trials, runs, steps, time, disk. Trains nothing, writes nothing."""
    from orchestrator.driver import Cut, standing
    from orchestrator.plan import make_plan, workers_here
    from orchestrator.text import plan_text
    from trainables.speed import steps_per_second
    from trainables.store import Store

    read = read_study(study, cpu, gpu, workers)
    state = standing(read, Store(root), Cut(steps, first))
    at_a_time = workers_here(read.resources.cpu, read.resources.workers)
    made = make_plan(state.trials, state.runs, state.ledger, at_a_time, steps_per_second)
    typer.echo(json.dumps(made.to_json(), indent=1) if as_json else plan_text(read, made, state.complete))
