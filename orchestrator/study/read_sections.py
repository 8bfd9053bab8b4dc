"""Reads what a study says beside its space: seeds, search, scheduler, events, resources."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from grokstudy.orchestrator.schedulers import SCHEDULERS
from grokstudy.orchestrator.search import SEARCHERS
from grokstudy.orchestrator.study.errors import BROKEN, Findings, KeyPath
from grokstudy.orchestrator.study.read_options import read_block, read_mapping
from grokstudy.orchestrator.study.sections import AUTO_RESOURCES, CROSSED, CrossedSeeds, Resources
from grokstudy.trainables.events import Event
from grokstudy.trainables.measurements import measured_by, measurements
from grokstudy.trainables.messages import shown
from grokstudy.trainables.options import did_you_mean
from grokstudy.trainables.schema import METRICS
from grokstudy.trainables.tasks import DEFAULT, TASKS, known_splits

_WHERE = {True: "as a summary over sites", False: "at sites"}
"""Where something is measured that is not measured where an event looks for it."""
MAX_SEEDS = 10_000
MAX_SEED = 2**31 - 1
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def read_hypothesis(findings: Findings, raw: Any) -> str:
    """The question in words; empty when not given."""
    if not isinstance(raw, str) and raw is not BROKEN:
        fault = "is empty" if raw is None else f"must be text, not {shown(raw)}"
        findings.at_value(("hypothesis",), f"{fault}; say in a sentence what the study is to find out")
    return raw.strip() if isinstance(raw, str) else ""


def read_seeds(findings: Findings, raw: Any) -> tuple[int, ...] | CrossedSeeds:
    """The seeds: a list, a number n for 0 .. n-1, or each of those for graph, init and order."""
    if not isinstance(raw, Mapping):
        otherwise = ", or {graph: 2, init: 3, order: 2} to cross them"
        return _seeds(findings, ("seeds",), raw, MAX_SEEDS, MAX_SEED, otherwise)
    known = list(CrossedSeeds.__dataclass_fields__)
    for name in raw:
        if name not in known:
            findings.at_key(("seeds", name), f"is unknown; {did_you_mean(str(name), known)}")
    parts = {name: _seeds(findings, ("seeds", name), raw[name], CROSSED, CROSSED - 1) for name in known if name in raw}
    crossed = CrossedSeeds(**parts)
    if len(crossed.numbers) > MAX_SEEDS:
        findings.at_value(("seeds",), f"come to {len(crossed.numbers):,} combinations; at most {MAX_SEEDS:,}")
    return crossed


def _seeds(
    findings: Findings, place: KeyPath, raw: Any, most: int, largest: int, otherwise: str = ""
) -> tuple[int, ...]:
    if isinstance(raw, list):
        return _seed_list(findings, place, raw, most, largest)
    if type(raw) is int and 1 <= raw <= most:
        return tuple(range(raw))
    if raw is not BROKEN:
        wanted = f"a list such as [0, 1, 2], or how many (1 to {most:,}){otherwise}"
        findings.at_value(place, f"must be {wanted}, not {shown(raw)}")
    return (0,)


def _seed_list(findings: Findings, place: KeyPath, raw: list[Any], most: int, largest: int) -> tuple[int, ...]:
    if not raw or len(raw) > most:
        findings.at_value(place, f"has {len(raw):,} seeds; list 1 to {most:,}")
    seen: set[int] = set()
    for index, seed in enumerate(raw):
        if type(seed) is not int or not 0 <= seed <= largest:
            if seed is not BROKEN:
                last = "2^31 - 1" if largest == MAX_SEED else str(largest)
                findings.at_value((*place, index), f"{shown(seed)} is no seed; use whole numbers from 0 to {last}")
        elif seed in seen:
            findings.at_value((*place, index), f"{seed} is already in the list")
        else:
            seen.add(seed)
    return tuple(raw)


def read_kind(
    findings: Findings,
    section: str,
    raw: Any,
    kinds: Mapping[str, type[Any]],
    default: str,
    task: str,
    probes: Sequence[str],
) -> tuple[str, Any]:
    """Read `{kind: name, ...}`: the name, and the options of that kind. `probes` are those from outside."""
    known = f"kind ({', '.join(kinds)}) and its options"
    given = read_mapping(findings, (section,), raw, known)
    kind = given.get("kind", default)
    if not isinstance(kind, str) or kind not in kinds:
        if kind is not BROKEN:
            findings.at_value((section, "kind"), f"{shown(kind)} is unknown; {did_you_mean(str(kind), list(kinds))}")
    elif "kind" not in given and given:
        findings.at_key((section,), f"kind is missing; known: {', '.join(kinds)}")
    else:
        check = partial(check_word, task=task, probes=probes)
        options = read_block(findings, (section,), given, kinds[kind], check, skip="kind")
        if options is not None:
            return kind, on_headline(options, task)
    return default, kinds[default]()


def on_headline(options: Any, task: str) -> Any:
    """The options with the task's headline split wherever the file names none."""
    objective = getattr(options, "objective", None)
    if objective is not None:
        return replace(options, objective=on_headline(objective, task))
    if getattr(options, "split", "") is None:
        return replace(options, split=TASKS[task].headline)
    return options


def read_search(findings: Findings, raw: Any, task: str, probes: Sequence[str] = ()) -> tuple[str, Any]:
    """The searcher's name and options."""
    kind = raw.get("kind") if isinstance(raw, dict) else None
    names = [*SEARCHERS, *([kind] if isinstance(kind, str) and kind in SEARCHERS else [])]
    kinds = {name: SEARCHERS[name].Options for name in names}
    return read_kind(findings, "search", raw, kinds, "grid", task, probes)


def read_scheduler(findings: Findings, raw: Any, task: str, probes: Sequence[str] = ()) -> tuple[str, Any]:
    """The stopping rule's name and options."""
    kinds = {name: scheduler.Options for name, scheduler in SCHEDULERS.items()}
    return read_kind(findings, "scheduler", raw, kinds, "fifo", task, probes)


def check_word(
    findings: Findings, key_path: KeyPath, raw: Any, task: str = DEFAULT, probes: Sequence[str] = ()
) -> None:
    """Report a metric or a split that there is not, with these probes from outside."""
    if key_path[-1] == "split":
        _check_splits(findings, key_path, raw, task)
    elif key_path[-1] == "metric":
        known = [*METRICS, *measurements([*TASKS.values(), TASKS[task]], probes)]
        if raw not in known:
            findings.at_value(key_path, f"{shown(raw)} is unknown; {did_you_mean(raw, known)}")
        elif key_path[0] != "events" and raw not in METRICS and not _summed_up(raw, task, probes):
            findings.at_value(key_path, f"{raw} is measured at sites only, and has no value over all of them")


def _summed_up(metric: str, task: str, probes: Sequence[str]) -> bool:
    """Whether the task has it as a metric, or a probe measures it as a summary."""
    return metric in TASKS[task].metrics or bool(measured_by(metric, False, TASKS[task], probes))


def _check_splits(findings: Findings, key_path: KeyPath, raw: str | list[str], task: str) -> None:
    known = {**known_splits(), **TASKS[task].splits}
    if not raw:
        findings.at_value(key_path, f"is empty; known: {', '.join(known)}")
    splits = {key_path: raw} if isinstance(raw, str) else {(*key_path, index): split for index, split in enumerate(raw)}
    for split_path, split in splits.items():
        if split and split not in known:
            findings.at_value(split_path, f"{shown(split)} is unknown; {did_you_mean(split, list(known))}")


def read_events(findings: Findings, raw: Any, task: str, probes: Sequence[str] = ()) -> dict[str, Event]:
    """The events by name. A given block replaces the default ones."""
    events = {}
    for name, block in read_mapping(findings, ("events",), raw, "events by name").items():
        key_path = ("events", name)
        if not _NAME.fullmatch(name):
            findings.at_key(key_path, "is no name for an event; use lower-case letters, digits and _")
        event = read_block(findings, key_path, block, Event, partial(check_word, task=task, probes=probes))
        if event is not None:
            _check_threshold(findings, key_path, event)
            _check_site(findings, key_path, event, task, probes)
            events[name] = event
    return events


def _check_threshold(findings: Findings, key_path: KeyPath, event: Event) -> None:
    if (event.at_least is None) == (event.at_most is None):
        given = "neither is given" if event.at_least is None else "both are given"
        findings.at_key(key_path, f"needs either at_least or at_most, and {given}")
        return
    name, threshold = ("at_most", event.at_most) if event.at_least is None else ("at_least", event.at_least)
    if event.metric == "accuracy" and threshold is not None and not 0 <= threshold <= 1:
        remedy = f"; did you mean {threshold / 100:g}?" if 1 < threshold <= 100 else ""
        findings.at_value((*key_path, name), f"{threshold:g} is no accuracy, which lies between 0 and 1{remedy}")


def _check_site(findings: Findings, key_path: KeyPath, event: Event, task: str, probes: Sequence[str]) -> None:
    splits, positions = TASKS[task].splits, list(TASKS[task].positions)
    for split in event.split:
        if split in known_splits() and split not in splits:
            findings.at_value((*key_path, "split"), f"task {task} has no {shown(split)}; it has {', '.join(splits)}")
    if event.metric in METRICS:
        for name in ("layer", "position"):
            if getattr(event, name) is not None:
                findings.at_key((*key_path, name), f"belongs to probes; {event.metric} is measured at the output")
        return
    if event.position is not None and event.position not in positions:
        remedy = did_you_mean(event.position, positions)
        findings.at_value((*key_path, "position"), f"{shown(event.position)} is unknown; {remedy}")
    if (event.layer is None) != (event.position is None):
        findings.at_key(
            key_path, "names half a site: give both layer and position, or neither for the summary over sites"
        )
    elif event.metric not in (own := measurements([TASKS[task]], probes)):
        remedy = did_you_mean(event.metric, own)
        findings.at_value((*key_path, "metric"), f"task {task} has no {event.metric}; {remedy}")
    elif event.metric in TASKS[task].metrics and event.sited:
        findings.at_key((*key_path, "layer"), f"belongs to probes; {event.metric} is measured at the output")
    elif event.metric not in TASKS[task].metrics and not measured_by(event.metric, event.sited, TASKS[task], probes):
        remedy = "leave layer and position out" if event.sited else "give layer and position"
        findings.at_value((*key_path, "metric"), f"{event.metric} is measured {_WHERE[event.sited]} only; {remedy}")


def read_resources(findings: Findings, raw: Any) -> Resources:
    """What a worker gets."""
    if raw == "auto":
        return AUTO_RESOURCES
    resources = read_block(findings, ("resources",), raw, Resources, check_word) or Resources()
    if isinstance(resources.gpu, float) and resources.gpu > 1 and not resources.gpu.is_integer():
        fault = f"{resources.gpu:g} is not possible; a share is at most 1, above it whole GPUs"
        findings.at_value(("resources", "gpu"), fault)
    return resources
