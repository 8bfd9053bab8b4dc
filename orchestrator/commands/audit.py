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
    existing_study,
    say,
    stop,
)

Fraction = Annotated[
    float, typer.Option("--fraction", min=0.0, max=1.0, help="Share of the study's runs; at least one is trained.")
]
Length = Annotated[int | None, typer.Option("--steps", min=1, help="Train no further than this.", show_default=False)]
Engine = Annotated[
    str, typer.Option("--engine", help="as-trained, which is each run's own, or one for all: eager, compile, auto.")
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda or auto.")]


def audit(
    study: StudyName,
    root: Root = "results",
    fraction: Fraction = 0.05,
    steps: Length = None,
    engine: Engine = "as-trained",
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a sample of a study's runs again elsewhere: is it bitwise, statistically or not reproducible?

    Each run of the sample is trained alone on one thread and in a pack of two on two threads, in another process and
    outside the root, and its rows are held against the recorded ones. Exit code 1 if it is not reproducible.
    """
    folder = existing_study(root, study)
    store, name = folder.store, folder.name
    from grokstudy.orchestrator.console.tables import table, width
    from grokstudy.orchestrator.execution.audit import CONDITIONS, draw
    from grokstudy.orchestrator.execution.audit import audit as carry_out
    from grokstudy.trainables.storage.study_dir import AUDIT_LABELS
    from grokstudy.trainables.training.pack import chosen_device
    from grokstudy.trainables.training.stepper import MODES

    try:
        mode = next((mode for mode in MODES if mode == engine), None)
        if mode is None and engine != "as-trained":
            raise ValueError(f"--engine: {engine!r} is unknown; it is as-trained or one of {', '.join(MODES)}")
        gpu = chosen_device(device).type == "cuda"
        sample = draw(store, name, fraction, steps)
        if not (quiet or as_json):
            ways = " and ".join(map(str, CONDITIONS))
            say(f"{name}: trains {len(sample.runs)} of {sample.of} runs again, {sample.steps:,} steps {ways}")
        result = carry_out(store, sample, gpu, mode)
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        stop(str(error))
    if as_json:
        emit(json.dumps(result, indent=1))
    elif not quiet:
        rows = [
            {
                "run": row["run_id"],
                "again": row["condition"],
                "engine": row["engine"],
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
    if result["label"] == AUDIT_LABELS[-1] or any(row["error"] for row in result["runs"]):
        raise typer.Exit(SOME_FAILED)
