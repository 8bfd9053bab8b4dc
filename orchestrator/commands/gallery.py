"""`grokstudy gallery`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import Json, Quiet, emit, existing, say, stop, warn_of

Roots = Annotated[
    list[str], typer.Argument(help="Folders or URIs of results; each may hold several studies.", show_default=False)
]
Out = Annotated[Path, typer.Option("--out", help="The page; pictures go to images/gallery/ beside it.")]
Studies = Annotated[
    list[str] | None,
    typer.Option("--study", help="Show this study instead of the families'; may be given several times."),
]


def gallery(
    roots: Roots, out: Out = Path("gallery.md"), study: Studies = None, as_json: Json = False, quiet: Quiet = False
) -> None:
    """Show studies of different tasks in one grammar: a page with a table of which comes first, and a picture each.

    Without --study, those of the ten families; one that no root has is a row that says so.
    """
    from grokstudy.analysis.report.gallery import write_gallery

    places = [existing(root).uri for root in roots]
    try:
        written = write_gallery(places, out, study or ())
    except (ValueError, FileNotFoundError) as error:
        stop(str(error))
    if as_json:
        emit(json.dumps(written.rows, indent=1, allow_nan=False))
    elif not quiet:
        seen = {row["study"] for row in written.rows if row["runs"] is not None}
        absent = sorted({row["study"] for row in written.rows} - seen)
        say(f"page: {written.page}\npictures: {len(written.pictures)}")
        if absent:
            say(f"not in these roots: {', '.join(absent)}")
    warn_of(written.warnings)
