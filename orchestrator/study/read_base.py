"""Reads `base`: the options that all trials of a study share, by section."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from grokstudy.orchestrator.search.space import START_FROM, Setting
from grokstudy.orchestrator.study.errors import BROKEN, Findings, shown
from grokstudy.orchestrator.study.fields import OptionField, config_fields
from grokstudy.orchestrator.study.read_options import read_mapping, read_setting
from grokstudy.orchestrator.study.start_from import read_start
from grokstudy.trainables.config import NUMERICS, sections_of
from grokstudy.trainables.options import did_you_mean
from grokstudy.trainables.tasks import TASKS


def unknown_option(name: str, fields: Mapping[str, OptionField], prefix: str = "") -> str:
    """Say that an option is unknown, and which one was probably meant, in whichever section it is."""
    section, _, word = name.rpartition(".")
    by_word = {key.partition(".")[2]: key for key in fields}
    in_section = [key.partition(".")[2] for key in fields if key.startswith(f"{section}.")]
    near = [word] if word in by_word else difflib.get_close_matches(word, in_section or list(by_word), n=1)
    if near:
        meant = f"{section}.{near[0]}" if near[0] in in_section else by_word[near[0]]
        return f"is unknown; did you mean {prefix}{meant}?"
    if in_section:
        return f"is unknown; known in {section}: {', '.join(in_section)}"
    return "is unknown; options are written with their section, as in model.layers"


def unknown_section(name: str, sections: list[str], fields: Mapping[str, OptionField]) -> str:
    """Say that a section is unknown, and whether a section or one of the options was probably meant."""
    suggestion = did_you_mean(name, sections)
    if suggestion.startswith("did you mean") and not any(key.endswith(f".{name}") for key in fields):
        return f"is unknown; {suggestion}"
    option = unknown_option(name, fields, "base.")
    return option if "did you mean" in option else f"is unknown; {suggestion}"


def read_task(findings: Findings, base: Mapping[str, Any]) -> str:
    """The task of a study; the default one when the name is wrong (which is then reported)."""
    task = base.get("task", "two_hop")
    if task is not BROKEN and (not isinstance(task, str) or task not in TASKS):
        findings.at_value(("base", "task"), f"{shown(task)} is unknown; {did_you_mean(str(task), list(TASKS))}")
    return task if isinstance(task, str) and task in TASKS else "two_hop"


def read_base(findings: Findings, base: Mapping[str, Any], task: str) -> dict[str, Setting]:
    """Every option that `base` sets, by its dotted name."""
    fields, sections = config_fields(task), sections_of(task)
    found: dict[str, Setting] = {}
    for section, raw in base.items():
        if section == "seed":
            findings.at_key(("base", section), "is not an option; write `seeds: [0, 1, 2]` at the top of the file")
        elif section in fields:
            nested = "`{}: {{{}: ...}}`".format(*section.split("."))
            findings.at_key(("base", section), f"is written nested under base: {nested}")
        elif section == START_FROM:
            found[section] = read_start(findings, ("base", section), raw)
        elif section == "numerics":
            found[section] = _read_numerics(findings, raw)
        elif section not in {"task", *sections}:
            findings.at_key(
                ("base", section), unknown_section(section, [*sections, "task", START_FROM, "numerics"], fields)
            )
        elif section != "task" and (section != "data" or base.get("task", task) == task):
            found |= _read_section(findings, section, raw, fields)
    return found


def _read_numerics(findings: Findings, raw: Any) -> Any:
    """The version of the code's numbers whose runs are taken as they are."""
    if raw is BROKEN or (type(raw) is int and 1 <= raw <= NUMERICS):
        return raw
    known = f"1 to {NUMERICS}" if NUMERICS > 1 else "1"
    findings.at_value(("base", "numerics"), f"{shown(raw)} is no version of the numbers that there has been: {known}")
    return BROKEN


def _read_section(findings: Findings, section: str, raw: Any, fields: Mapping[str, OptionField]) -> dict[str, Setting]:
    found = {}
    for option, value in read_mapping(findings, ("base", section), raw, f"options of {section}").items():
        steps, key = ("base", section, option), f"{section}.{option}"
        if key in fields:
            found[key] = read_setting(findings, steps, fields[key], value, fields)
        else:
            findings.at_key(steps, unknown_option(key, fields, "base."))
    return found
