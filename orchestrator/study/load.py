"""Reads a study file. Owns the format of `studies/*.yaml`. Creates no file, and imports neither torch nor Ray.

Code from outside that it names is imported, with whatever that imports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from grokstudy.orchestrator.study.checks import check_study
from grokstudy.orchestrator.study.errors import Findings
from grokstudy.orchestrator.study.fields import config_fields
from grokstudy.orchestrator.study.overrides import with_settings
from grokstudy.orchestrator.study.read_options import (
    read_base,
    read_mapping,
    read_task,
    read_trainable,
    unknown_section,
)
from grokstudy.orchestrator.study.read_plugins import Plugins
from grokstudy.orchestrator.study.read_sections import (
    read_events,
    read_hypothesis,
    read_resources,
    read_scheduler,
    read_search,
    read_seeds,
)
from grokstudy.orchestrator.study.read_space import SpaceReader
from grokstudy.orchestrator.study.sections import CrossedSeeds
from grokstudy.orchestrator.study.study import Study
from grokstudy.orchestrator.study.yaml import read_source
from grokstudy.trainables.config import sections_of
from grokstudy.trainables.events import Event
from grokstudy.trainables.plugins import word_of
from grokstudy.trainables.tasks import DEFAULT, TASKS

SECTIONS = {
    "hypothesis": "what the study is to find out, in a sentence",
    "base": "options that all trials share, by section; what is left out has its default",
    "space": "the axes: options with their section and a list or range of values, or named arms",
    "seeds": "seeds that every point is run with: a list, or how many; or lists for graph, init and order, crossed",
    "search": "who chooses the points of the space: grid (default), random or tpe",
    "scheduler": "who stops trials early: fifo (default, nobody) or asha",
    "events": "named threshold crossings; replaces the default ones",
    "figures": "figures of your own, which the report shows beside ours: a list such as [./fig.py:figure]",
    "resources": "what one worker gets, or auto",
}
_NAME = re.compile(r"[a-z0-9][a-z0-9_.]*")


def load_study(path: str | Path, settings: Sequence[str] = (), code_before: Mapping[str, str] | None = None) -> Study:
    """Read and check a study file. Raises StudyError with every mistake that was found.

    `settings` (`train.batch=512`) replace what the file says under base. With `code_before`, full names by word, code
    from outside is that of then, not what the files hold now.
    """
    source = read_source(path)
    text, data, plugins = source.text, source.data, Plugins(source.findings, code_before)
    named = plugins.named(data)
    if settings and not source.findings.mistakes:
        text, data = with_settings(text, data, named.get("base") or {}, source.findings, settings)
        named = plugins.named(data)
    try:
        study = _read(Path(path), text, named, source.findings, plugins)
        check_study(study, source.findings)
    except Exception as error:
        plugins.report(error)
    source.findings.stop_if_any()
    if "events" not in data:
        study = replace(study, events=_measured_events(study))
    return study


def _read(path: Path, text: str, data: dict[str, Any], findings: Findings, plugins: Plugins) -> Study:
    if not _NAME.fullmatch(path.stem):
        rule = "rename the file, with lower-case letters, digits, _ and ."
        findings.add(0, 0, "", f"{path.stem!r} is no name for a study: {rule}")
    for key in data:
        if key not in SECTIONS:
            findings.at_key((key,), _unknown_section(key))
    base = read_mapping(findings, ("base",), data.get("base", {}), "data, model, optim, train and eval")
    task, function = read_task(findings, base), read_trainable(findings, base)
    space = SpaceReader(findings, task, function)
    space.read(read_mapping(findings, ("space",), data.get("space", {}), "axes"))
    search_kind, search = read_search(findings, data.get("search", {}), task, plugins.probes)
    scheduler_kind, scheduler = read_scheduler(findings, data.get("scheduler", {}), task, plugins.probes)
    seeds = read_seeds(findings, data.get("seeds", [0]))
    crossed = seeds if isinstance(seeds, CrossedSeeds) else None
    if crossed and function is not None:
        fault = f"can be crossed for the built-in loop; {word_of(function)} draws its initialisation by itself"
        findings.at_key(("seeds",), fault)
    return Study(
        name=path.stem,
        path=path,
        text=text,
        hypothesis=read_hypothesis(findings, data.get("hypothesis", "")),
        task=task,
        function=function,
        settings=read_base(findings, base, task, function),
        axes=tuple(space.axes),
        derived=space.derived,
        seeds=seeds.numbers if isinstance(seeds, CrossedSeeds) else seeds,
        crossed=crossed,
        search_kind=search_kind,
        search=search,
        scheduler_kind=scheduler_kind,
        scheduler=scheduler,
        events=read_events(findings, data["events"], task, plugins.probes) if "events" in data else TASKS[task].events,
        resources=read_resources(findings, data.get("resources", {})),
        figures=tuple(data.get("figures", ())),
        code=plugins.names,
    )


def _measured_events(study: Study) -> dict[str, Event]:
    """Those of the task's events that something measures, where need be as they were defined earlier."""
    task = TASKS[study.task]
    events = {}
    for name, event in task.events.items():
        for defined in (event, task.earlier_events.get(name)):
            if defined is not None and name not in events and study.measures(defined.metric, defined.sited):
                events[name] = defined
    return events


def _unknown_section(key: str) -> str:
    if key == "seed":
        return "is unknown; did you mean seeds?"
    if key == "name":
        return "is unknown; a study is named by its file"
    if key in ("task", "trainable", "own") or key in sections_of(DEFAULT):
        return f"belongs under base: did you mean base.{key}?"
    return unknown_section(key, list(SECTIONS), config_fields(DEFAULT))
