"""`grokstudy transplants`."""

from __future__ import annotations

from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import Quiet, Root, StudyName, existing_study, say, stop, warn_of

Device = Annotated[str, typer.Option("--device", help="cpu, cuda or auto.")]


def transplants(study: StudyName, root: Root = "results", device: Device = "auto", quiet: Quiet = False) -> None:
    """Write states of early checkpoints into late ones and back, in every run that memorised and generalised."""
    folder = existing_study(root, study)
    from grokstudy.orchestrator.runs.transplants import write_transplants
    from grokstudy.trainables.training.pack import chosen_device

    try:
        runs, left_out = write_transplants(folder.store, folder.name, chosen_device(device))
    except (FileNotFoundError, ValueError) as error:
        stop(str(error))
    if not quiet:
        shown = f"grokstudy report {folder.name} shows them"
        say(f"{folder.name}: transplants between the checkpoints of {runs} runs; {shown}")
    warn_of(left_out)
