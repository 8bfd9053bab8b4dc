"""`grokstudy audit`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import (
    SOME_FAILED,
    Json,
    Quiet,
    Root,
    StudyName,
    emit,
    existing,
    say,
    stop,
    study_name,
)

Fraction = Annotated[
    float, typer.Option("--fraction", min=0.0, max=1.0, help="Share of the study's runs; at least one is trained.")
]
Length = Annotated[int | None, typer.Option("--steps", min=1, help="Train no further than this.", show_default=False)]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda or auto.")]


def audit(
    study: StudyName,
    root: Root = "results",
    fraction: Fraction = 0.05,
    steps: Length = None,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a sample of a study's runs again elsewhere: is it bitwise, statistically or not reproducible?

    Each run of the sample is trained alone on one thread and in a pack of two on two threads, in another process and
    outside the root, and its rows are held against the recorded ones. Exit code 1 if it is not reproducible.
    """
    from grokstudy.orchestrator.console.tables import table, width
    from grokstudy.orchestrator.execution.audit import CONDITIONS, draw
    from grokstudy.orchestrator.execution.audit import audit as carry_out
    from grokstudy.orchestrator.runs.repetition import LABELS
    from grokstudy.trainables.training.pack import chosen_device

    store, name = existing(root), study_name(study)
    try:
        gpu = chosen_device(device).type == "cuda"
        sample = draw(store, name, fraction, steps)
        if not (quiet or as_json):
            ways = " and ".join(map(str, CONDITIONS))
            say(f"{name}: trains {len(sample.runs)} of {sample.of} runs again, {sample.steps:,} steps {ways}")
        result = carry_out(store, sample, gpu)
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        stop(str(error))
    if as_json:
        emit(json.dumps(result, indent=1))
    elif not quiet:
        rows = [
            {
                "run": row["run_id"],
                "again": row["condition"],
                "steps": row["steps"],
                "verdict": row["verdict"] or "not trained to its end",
                "first difference": row["first"],
            }
            for row in result["runs"]
        ]
        say(table(rows, width()))
        for row in result["runs"]:
            for reason in filter(None, [*row["beyond"], row["error"]]):
                say(f"run {row['run_id']} {row['condition']}: {reason}")
        say(f"{name}: {result['label'] or 'not known'}, from {result['sampled']} of {result['of']} runs")
    if result["label"] == LABELS[-1] or any(row["error"] for row in result["runs"]):
        raise typer.Exit(SOME_FAILED)
