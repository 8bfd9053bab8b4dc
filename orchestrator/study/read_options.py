"""Reads options, blocks of options and `base` out of a study file's data, reporting each mistake at its own place."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from grokstudy.orchestrator.search.expressions import Expression, ExpressionError
from grokstudy.orchestrator.search.space import START_FROM, Setting
from grokstudy.orchestrator.study.errors import BROKEN, Findings, KeyPath
from grokstudy.orchestrator.study.fields import FieldError, check_names, checked, config_fields
from grokstudy.orchestrator.study.sections import StartFrom
from grokstudy.trainables.config import NUMERICS, sections_of
from grokstudy.trainables.functions import TRAINABLES
from grokstudy.trainables.messages import shown
from grokstudy.trainables.options import OptionField, did_you_mean, fields_of
from grokstudy.trainables.tasks import DEFAULT, TASKS

Block = TypeVar("Block")
Check = Callable[[Findings, KeyPath, Any], None]
"""Reports what is wrong with a value of the right type; the last word of the path is its key."""


def read_mapping(findings: Findings, key_path: KeyPath, raw: Any, content: str) -> dict[str, Any]:
    """Return a mapping as it is; report anything else and continue as if it were empty."""
    if isinstance(raw, dict):
        return raw
    if raw is not BROKEN:
        fault = "is empty" if raw is None else f"is {shown(raw)}"
        findings.at_value(key_path, f"{fault}, and should be a mapping of {content}")
    return {}


def read_setting(
    findings: Findings, key_path: KeyPath, field: OptionField, raw: Any, fields: Mapping[str, OptionField]
) -> Setting:
    """Check one option of a run, which may be an expression where a number is due. BROKEN when reported."""
    if raw is BROKEN:
        return BROKEN
    try:
        if field.is_number and isinstance(raw, str):
            expression = Expression.parse(raw)
            if expression.is_constant:
                raise ExpressionError(f"{raw!r} is text; write {raw.strip()} without quotes")
            check_names(expression, fields)
            return expression
        return checked(field, raw)
    except (FieldError, ExpressionError) as error:
        findings.at_value(_item_at_fault(key_path, field, raw), str(error))
        return BROKEN


def _item_at_fault(key_path: KeyPath, field: OptionField, raw: Any) -> KeyPath:
    items = raw if isinstance(raw, list) and field.is_list else []
    wrong = [index for index, item in enumerate(items) if not isinstance(item, str)]
    return (*key_path, wrong[0]) if wrong else key_path


def read_block(
    findings: Findings, key_path: KeyPath, raw: Any, options: type[Block], also: Check, skip: str = ""
) -> Block | None:
    """Build an options dataclass; `also` looks at values beyond their type. None if anything was reported."""
    fields = fields_of(options)
    content = ", ".join(fields) or "nothing"
    mistakes_before = len(findings.mistakes)
    given = {key: value for key, value in read_mapping(findings, key_path, raw, content).items() if key != skip}
    for key in given.keys() - fields.keys():
        findings.at_key((*key_path, key), f"is unknown; {did_you_mean(key, list(fields))}" if fields else "is unknown")
    values = {
        key: _known_value(findings, (*key_path, key), fields[key], value, also)
        for key, value in given.items()
        if key in fields
    }
    if not isinstance(raw, dict) or BROKEN in values.values() or len(findings.mistakes) > mistakes_before:
        return None
    missing = [field for key, field in fields.items() if field.required and key not in values]
    for field in missing:
        findings.at_key(key_path, f"{field.key} is missing: {field.doc}")
    return None if missing else options(**{fields[key].attribute: value for key, value in values.items()})


def _known_value(findings: Findings, key_path: KeyPath, field: OptionField, raw: Any, also: Check) -> Any:
    if raw is BROKEN or (isinstance(raw, list) and BROKEN in raw):
        return BROKEN
    if field.block is not None:
        return read_block(findings, key_path, raw, field.block, also) or BROKEN
    try:
        value = checked(field, (raw,) if field.is_list and isinstance(raw, str) else raw)
        also(findings, key_path, raw)
        return value
    except FieldError as error:
        findings.at_value(_item_at_fault(key_path, field, raw), str(error))
        return BROKEN


def read_start(findings: Findings, key_path: KeyPath, raw: Any) -> Any:
    """A StartFrom, None for scratch, or BROKEN when something was reported."""
    if raw is None or raw is BROKEN:
        return raw
    start = read_block(findings, key_path, raw, StartFrom, lambda *_: None)
    if start is None:
        return BROKEN
    if start.study == Path(findings.path).stem:
        findings.at_value((*key_path, "study"), "is this study itself; name another one, which was run before")
        return BROKEN
    if (start.event is None) == (start.step is None):
        given = "neither is given" if start.event is None else "both are given"
        findings.at_key(key_path, f"needs either event or step, and {given}")
        return BROKEN
    return start


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
    task = base.get("task", DEFAULT)
    if task is not BROKEN and (not isinstance(task, str) or task not in TASKS):
        findings.at_value(("base", "task"), f"{shown(task)} is unknown; {did_you_mean(str(task), list(TASKS))}")
    return task if isinstance(task, str) and task in TASKS else DEFAULT


def read_trainable(findings: Findings, base: Mapping[str, Any]) -> str | None:
    """Full name of the training function of a study; None for the built-in loop."""
    name = base.get("trainable")
    if name is None or name is BROKEN or (isinstance(name, str) and name in TRAINABLES):
        return name if isinstance(name, str) else None
    known = did_you_mean(str(name), TRAINABLES.offered) if TRAINABLES.offered else "write ./train.py:train"
    findings.at_value(("base", "trainable"), f"{shown(name)} is unknown; {known}")
    return None


def read_base(findings: Findings, base: Mapping[str, Any], task: str, function: str | None) -> dict[str, Setting]:
    """Every option that `base` sets, by its dotted name."""
    fields, sections = config_fields(task, function), sections_of(task, function)
    words = ["task", "trainable"]
    settings: dict[str, Setting] = {}
    for section, raw in base.items():
        if section == "seed":
            findings.at_key(("base", section), "is not an option; write `seeds: [0, 1, 2]` at the top of the file")
        elif section in fields:
            nested = "`{}: {{{}: ...}}`".format(*section.split("."))
            findings.at_key(("base", section), f"is written nested under base: {nested}")
        elif section == START_FROM:
            settings[section] = read_start(findings, ("base", section), raw)
        elif section == "numerics":
            settings[section] = _read_numerics(findings, raw)
        elif section == "own" and function is None:
            fault = "are options of a training function; name one, as in trainable: ./train.py:train"
            findings.at_key(("base", section), fault)
        elif section not in {*words, *sections}:
            known = [*sections, *words, START_FROM, "numerics"]
            findings.at_key(("base", section), unknown_section(section, known, fields))
        elif section not in words and (section != "data" or base.get("task", task) == task):
            settings |= _read_section(findings, section, raw, fields)
    return settings


def _read_numerics(findings: Findings, raw: Any) -> Any:
    """The version of the code's numbers whose runs are taken as they are."""
    if raw is BROKEN or (type(raw) is int and 1 <= raw <= NUMERICS):
        return raw
    known = f"1 to {NUMERICS}" if NUMERICS > 1 else "1"
    findings.at_value(("base", "numerics"), f"{shown(raw)} is no version of the numbers that there has been: {known}")
    return BROKEN


def _read_section(findings: Findings, section: str, raw: Any, fields: Mapping[str, OptionField]) -> dict[str, Setting]:
    settings = {}
    for option, value in read_mapping(findings, ("base", section), raw, f"options of {section}").items():
        key_path, key = ("base", section, option), f"{section}.{option}"
        if key in fields:
            settings[key] = read_setting(findings, key_path, fields[key], value, fields)
        else:
            findings.at_key(key_path, unknown_option(key, fields, "base."))
    return settings
