"""`grokstudy watch`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grokstudy.orchestrator.commands.common import Json, Root, StudyName, existing, stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokstudy.orchestrator.console.watch import Look
    from grokstudy.trainables.storage.store import Store

Every = Annotated[float, typer.Option("--every", min=0.1, help="Seconds between two looks.")]
Once = Annotated[bool, typer.Option("--once", help="Look once, then end.")]


def watch(
    study: StudyName, root: Root = "results", every: Every = 5.0, once: Once = False, as_json: Json = False
) -> None:
    """Watch a study until every run has ended, wherever it is driven: reads the root and nothing else."""
    from grokstudy.orchestrator.console.watch import headline, rows
    from grokstudy.orchestrator.runs.status import spec_of

    store, name = existing(root), Path(study).stem
    try:
        spec_of(store, name)
    except ValueError as error:
        stop(str(error))
    looks = _looks(store, name, every, once)
    if as_json:
        for first, now in looks:
            typer.echo(json.dumps({"study": name, "said": headline(now, first), "over": now.over, "rows": rows(now)}))
        return
    _show(name, looks)


def _looks(store: Store, name: str, every: float, once: bool) -> Iterator[tuple[Look, Look]]:
    """The first look and the newest, again and again."""
    from grokstudy.orchestrator.console.watch import look

    first = now = look(store, name, time.monotonic())
    yield first, now
    while not once and not now.over:
        time.sleep(every)
        now = look(store, name, time.monotonic(), now)
        yield first, now


def _show(name: str, looks: Iterator[tuple[Look, Look]]) -> None:
    """Redraw on a terminal; elsewhere print what has changed."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from grokstudy.orchestrator.console.tables import table, width
    from grokstudy.orchestrator.console.watch import headline, rows

    console = Console()
    if not console.is_terminal:
        said = None
        for first, now in looks:
            if now.steps != said:
                typer.echo(f"{name}: {headline(now, first)}\n{table(rows(now))}")
            said = now.steps
        return
    with Live(console=console, auto_refresh=False) as live:
        for first, now in looks:
            live.update(Text(f"{name}: {headline(now, first)}\n{table(rows(now), width())}"), refresh=True)
