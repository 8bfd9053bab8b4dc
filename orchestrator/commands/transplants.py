"""`grokstudy transplants`."""

from __future__ import annotations

from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import Quiet, Root, StudyName, existing, say, stop, study_name, warn_of

Device = Annotated[str, typer.Option("--device", help="cpu, cuda or auto.")]


def transplants(study: StudyName, root: Root = "results", device: Device = "auto", quiet: Quiet = False) -> None:
    """Write states of early checkpoints into late ones and back, in every run that memorised and generalised."""
    from grokstudy.orchestrator.runs.transplants import write_transplants
    from grokstudy.trainables.training.pack import chosen_device

    store, name = existing(root), study_name(study)
    try:
        runs, left_out = write_transplants(store, name, chosen_device(device))
    except (FileNotFoundError, ValueError) as error:
        stop(str(error))
    if not quiet:
        say(f"{name}: transplants between the checkpoints of {runs} runs; grokstudy report {name} shows them")
    warn_of(left_out)
