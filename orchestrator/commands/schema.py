"""`grokstudy schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import emit, read_study

OfStudy = Annotated[
    Path | None, typer.Option("--study", help="With the options of code from outside that this study file names.")
]


def schema(study: OfStudy = None) -> None:
    """Print the JSON Schema of study files, for editors."""
    from grokstudy.orchestrator.study.json_schema import study_schema

    emit(json.dumps(study_schema(None if study is None else read_study(study)), indent=1))
