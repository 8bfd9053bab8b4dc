"""`grokstudy watch`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from grokstudy.orchestrator.commands.common import Json, Root, StudyName, emit, existing_study, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokstudy.orchestrator.runs.status import StudyStatus
    from grokstudy.trainables.storage.study_dir import StudyDir

Every = Annotated[float, typer.Option("--every", min=0.1, help="Seconds between two looks.")]
Once = Annotated[bool, typer.Option("--once", help="Look once, then end.")]


class Look(NamedTuple):
    """A status, and the speed since the first one in steps per second."""

    now: StudyStatus
    speed: float


def watch(
    study: StudyName, root: Root = "results", every: Every = 5.0, once: Once = False, as_json: Json = False
) -> None:
    """Watch a study until every run has ended, wherever it is driven: reads the root and nothing else."""
    from grokstudy.orchestrator.console.watch import headline, rows

    folder = existing_study(root, study)
    looks = _looks(folder, every, once)
    if as_json:
        for now, speed in looks:
            line = {"study": folder.name, "said": headline(now, speed), "over": now.over, "rows": rows(now)}
            emit(json.dumps(line))
        return
    _show(folder.name, looks)


def _looks(folder: StudyDir, every: float, once: bool) -> Iterator[Look]:
    """Look again and again."""
    from grokstudy.orchestrator.execution.lock import trained_study
    from grokstudy.orchestrator.runs.status import study_status

    def look(before: StudyStatus | None) -> StudyStatus:
        trials = folder.read_trials("run_id", "trial_id", "horizon", "seed").to_pylist()
        return study_status(folder.store, trials, before, driven=trained_study(folder.store) == folder.name)

    began = time.monotonic()
    first = now = look(None)
    yield Look(now, 0.0)
    while not once and not now.over:
        time.sleep(every)
        now = look(now)
        yield Look(now, (now.steps - first.steps) / (time.monotonic() - began))


def _show(name: str, looks: Iterator[Look]) -> None:
    """Redraw on a terminal; elsewhere print what has changed."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from grokstudy.orchestrator.console.tables import table, width
    from grokstudy.orchestrator.console.watch import headline, rows

    console = Console()
    if not console.is_terminal:
        shown = None
        for now, speed in looks:
            if now.steps != shown:
                say(f"{name}: {headline(now, speed)}\n{table(rows(now))}")
            shown = now.steps
        return
    with Live(console=console, auto_refresh=False) as live:
        for now, speed in looks:
            live.update(Text(f"{name}: {headline(now, speed)}\n{table(rows(now), width())}"), refresh=True)
