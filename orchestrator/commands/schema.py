"""`grokstudy schema`."""

from __future__ import annotations

import json

from grokstudy.orchestrator.commands.common import emit


def schema() -> None:
    """Print the JSON Schema of study files, for editors."""
    from grokstudy.orchestrator.study.json_schema import study_schema

    emit(json.dumps(study_schema(), indent=1))
