"""`start_from` of a study: with which weights its trials begin. In `base`, in an arm, or as an axis of its own.

start_from: {study: decoupling, event: circuit}   where the run of that study was first seen to have reached the event
start_from: {study: decoupling, step: 3000}       its state after so many steps
start_from: null                                  from scratch
"""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass
from pathlib import Path
from typing import Any

from grokstudy.orchestrator.study.errors import BROKEN, Findings, Steps
from grokstudy.orchestrator.study.read_options import read_block
from grokstudy.trainables.options import option


@dataclass(frozen=True, kw_only=True)
class StartFrom:
    """Begin with the weights of the run of another study that agrees in model, data and seed."""

    study: str = option(MISSING, "name of a study of the same root, already run")
    event: str | None = option(None, "an event of that study: the evaluation at which it was first seen")
    step: int | None = option(None, "a number of steps, instead of an event", ge=0)

    def __str__(self) -> str:
        return f"{self.study} at {f'event {self.event}' if self.step is None else f'step {self.step:,}'}"

    def to_json(self) -> dict[str, Any]:
        """Plain values, as in the file."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def read_start(findings: Findings, steps: Steps, raw: Any) -> Any:
    """A StartFrom, None for scratch, or BROKEN when something was reported."""
    if raw is None or raw is BROKEN:
        return raw
    start = read_block(findings, steps, raw, StartFrom, lambda *_: None)
    if start is None:
        return BROKEN
    if start.study == Path(findings.path).stem:
        findings.at_value((*steps, "study"), "is this study itself; name another one, which was run before")
        return BROKEN
    if (start.event is None) == (start.step is None):
        given = "neither is given" if start.event is None else "both are given"
        findings.at_key(steps, f"needs either event or step, and {given}")
        return BROKEN
    return start
