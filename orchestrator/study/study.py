"""A study: one question, one YAML file. Reading it, and what it comes to at each point of its space.

Owns the format of `studies/*.yaml` and of `study.json`. Reading creates no file, and imports neither torch
nor Ray.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from grokstudy.orchestrator.search.space import Axis, Setting, Value, plain
from grokstudy.orchestrator.study.checks import check_study
from grokstudy.orchestrator.study.errors import Findings, StudyError
from grokstudy.orchestrator.study.expressions import Expression
from grokstudy.orchestrator.study.fields import config_fields
from grokstudy.orchestrator.study.read_base import read_base, read_task, unknown_section
from grokstudy.orchestrator.study.read_options import read_mapping
from grokstudy.orchestrator.study.read_sections import (
    read_events,
    read_hypothesis,
    read_resources,
    read_scheduler,
    read_search,
    read_seeds,
)
from grokstudy.orchestrator.study.read_space import SpaceReader
from grokstudy.orchestrator.study.resolve import Resolver
from grokstudy.orchestrator.study.sections import TASK_EVENTS, Resources
from grokstudy.orchestrator.study.yaml import read_source
from grokstudy.trainables.config import Eval, RunConfig, canonical_json, sections_of
from grokstudy.trainables.events import Event
from grokstudy.trainables.probes import measured_by
from grokstudy.trainables.schema import METRICS

__all__ = ["SECTIONS", "Study", "StudyError", "load_study"]

SECTIONS = {
    "hypothesis": "what the study is to find out, in a sentence",
    "base": "options that all trials share, by section; what is left out has its default",
    "space": "the axes: options with their section and a list or range of values, or named arms",
    "seeds": "seeds that every point is run with: a list, or how many",
    "search": "who chooses the points of the space: grid (default), random or tpe",
    "scheduler": "who stops trials early: fifo (default, nobody) or asha",
    "events": "named threshold crossings; replaces the default ones",
    "resources": "what one worker gets, or auto",
}
_NAME = re.compile(r"[a-z0-9][a-z0-9_.]*")


@dataclass(frozen=True)
class Study:
    """A study that was read and checked. Dotted names lead from `settings` to the options of a run."""

    name: str
    path: Path
    text: str
    hypothesis: str
    task: str
    settings: Mapping[str, Setting]
    """What `base` sets, by dotted name."""
    axes: tuple[Axis, ...]
    derived: Mapping[str, Expression]
    seeds: tuple[int, ...]
    search_kind: str
    search: Any
    scheduler_kind: str
    scheduler: Any
    events: Mapping[str, Event]
    resources: Resources
    resolver: Resolver

    @property
    def columns(self) -> list[str]:
        """Names of the axes, which are the columns that tell the trials apart."""
        return [axis.name for axis in self.axes]

    @property
    def base(self) -> dict[str, Any]:
        """What `base` sets, nested as in the file; expressions as their text."""
        nested: dict[str, Any] = {"task": self.task}
        for key, value in plain(self.settings).items():
            section, _, option = key.partition(".")
            if option:
                nested.setdefault(section, {})[option] = value
            else:
                nested[section] = value
        return nested

    @property
    def probes(self) -> set[str]:
        """The probes that any trial measures with."""
        lists: list[Any] = [self.settings.get("eval.probes", Eval().probes)]
        for axis in self.axes:
            lists += [axis.settings(value).get("eval.probes", ()) for value in axis.corners()]
        return {name for names in lists for name in names}

    def measures(self, metric: str, sited: bool = False) -> bool:
        """Whether any trial has this metric: otherwise it would look like 'never'."""
        return metric in METRICS or bool(self.probes & measured_by(metric, sited))

    @property
    def spec_hash(self) -> str:
        """16 hex digits over what the study asks for: not its comments, its path or its resources."""
        spec = {
            **self.to_json_without_hash(),
            "space": [[axis.name, axis.to_json()] for axis in self.axes],
            "derived": plain(self.derived),
            "search": [self.search_kind, asdict(self.search)],
            "scheduler": [self.scheduler_kind, asdict(self.scheduler)],
        }
        return hashlib.sha256(canonical_json(spec).encode()).hexdigest()[:16]

    def config_at(self, point: Mapping[str, Value], seed: int) -> RunConfig:
        """The configuration of the run at a point. Raises ValueError for a point that is not in the space."""
        return self.resolver.config_at(point, seed)

    def to_json_without_hash(self) -> dict[str, Any]:
        """The content of study.json that the hash covers too."""
        return {
            "name": self.name,
            "hypothesis": self.hypothesis,
            "events": {name: event.to_json() for name, event in self.events.items()},
            "axes": self.columns,
            "seeds": list(self.seeds),
            "base": self.base,
        }

    def to_json(self) -> dict[str, Any]:
        """The content of study.json."""
        return {**self.to_json_without_hash(), "spec_hash": self.spec_hash}


def load_study(path: str | Path) -> Study:
    """Read and check a study file. Raises StudyError with every mistake that was found."""
    source = read_source(path)
    study = _read(Path(path), source.text, source.data, source.findings)
    check_study(study, source.findings)
    source.findings.stop_if_any()
    measured = {name: event for name, event in study.events.items() if study.measures(event.metric, event.sited)}
    return replace(study, events=measured)  # of the default events, those that something measures


def _read(path: Path, text: str, data: dict[str, Any], findings: Findings) -> Study:
    _check_name(findings, path)
    _check_sections(findings, data)
    base = read_mapping(findings, ("base",), data.get("base", {}), "data, model, optim, train and eval")
    task = read_task(findings, base)
    settings = read_base(findings, base, task)
    space = SpaceReader(findings, task)
    space.read(read_mapping(findings, ("space",), data.get("space", {}), "axes"))
    search_kind, search = read_search(findings, data.get("search", {}))
    scheduler_kind, scheduler = read_scheduler(findings, data.get("scheduler", {}))
    return Study(
        name=path.stem,
        path=path,
        text=text,
        hypothesis=read_hypothesis(findings, data.get("hypothesis", "")),
        task=task,
        settings=settings,
        axes=tuple(space.axes),
        derived=space.derived,
        seeds=read_seeds(findings, data.get("seeds", [0])),
        search_kind=search_kind,
        search=search,
        scheduler_kind=scheduler_kind,
        scheduler=scheduler,
        events=read_events(findings, data["events"], task) if "events" in data else TASK_EVENTS.get(task, {}),
        resources=read_resources(findings, data.get("resources", {})),
        resolver=Resolver(task, {**settings, **space.derived}, tuple(space.axes)),
    )


def _check_name(findings: Findings, path: Path) -> None:
    if not _NAME.fullmatch(path.stem):
        rule = "rename the file, with lower-case letters, digits, _ and ."
        findings.add(0, 0, "", f"{path.stem!r} is no name for a study: {rule}")


def _check_sections(findings: Findings, data: Mapping[str, Any]) -> None:
    for key in data:
        if key not in SECTIONS:
            findings.at_key((key,), _unknown_section(key))


def _unknown_section(key: str) -> str:
    if key == "seed":
        return "is unknown; did you mean seeds?"
    if key == "name":
        return "is unknown; a study is named by its file"
    if key == "task" or key in sections_of("two_hop"):
        return f"belongs under base: did you mean base.{key}?"
    return unknown_section(key, list(SECTIONS), config_fields("two_hop"))
