"""Reads `space`: what a study varies, every item checked at its own place.

data.phi: [3.6, 7.5]                              a list of values
optim.weight_decay: {log: [0.01, 1], points: 4}   a range: uniform, log or int; a grid needs `points`, or a `step`
data.phi: "0.9 * data.out_degree"                 a derived value: no axis
depth: {shared: {model.layers: 2}, untied: {}}    named arms: a name without a dot
start_from: {early: {study: x, step: 100}, scratch: null}   named starts; an arm may have a start_from, too
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from grokstudy.orchestrator.search.expressions import Expression
from grokstudy.orchestrator.search.space import START_FROM, Arms, Axis, Choices, Range, Setting
from grokstudy.orchestrator.study.errors import BROKEN, Findings, KeyPath
from grokstudy.orchestrator.study.fields import config_fields
from grokstudy.orchestrator.study.read_options import read_mapping, read_setting, read_start, unknown_option
from grokstudy.trainables.config import sections_of
from grokstudy.trainables.messages import shown
from grokstudy.trainables.options import OptionField, did_you_mean
from grokstudy.trainables.schema import RESERVED

MAX_POINTS = 10_000
_SCALES = ("uniform", "log", "int")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_AXIS_NAME = re.compile(r"[a-z][a-z0-9_]*")


class SpaceReader:
    """Reads `space`; afterwards holds the axes and the derived values."""

    def __init__(self, findings: Findings, task: str, function: str | None) -> None:
        """Start with an empty space."""
        self.axes: list[Axis] = []
        self.derived: dict[str, Expression] = {}
        self._findings, self._sections = findings, sections_of(task, function)
        self._at_key, self._at_value = findings.at_key, findings.at_value
        self._fields = config_fields(task, function)
        self._set_in: dict[str, int] = {}

    def read(self, space: Mapping[str, Any]) -> None:
        """Read every entry."""
        for name, raw in space.items():
            if raw is BROKEN:
                continue
            if name == START_FROM:
                self._starts(raw, ("space", name))
            elif "." in name:
                self._option(name, raw, ("space", name))
            elif misnamed := self._misnamed(name, raw):
                self._at_key(("space", name), misnamed)
            else:
                self._arms(name, raw, ("space", name))

    def _option(self, name: str, raw: Any, key_path: KeyPath) -> None:
        field = self._fields.get(name)
        if field is None:
            self._at_key(key_path, unknown_option(name, self._fields, "space."))
        elif field.is_list:
            self._at_key(key_path, "is a list itself; vary it by named arms: `name: {arm: {" + name + ": [...]}}`")
        elif isinstance(raw, list):
            self._owns(name, key_path)
            self._choices(name, field, raw, key_path)
        elif isinstance(raw, dict):
            self._owns(name, key_path)
            self._range(name, field, raw, key_path)
        elif field.is_number and isinstance(raw, str):
            self._owns(name, key_path)
            self.derived[name] = read_setting(self._findings, key_path, field, raw, self._fields)
        else:
            remedy = f"list several as [{_text(raw)}, ...], or fix it under base"
            self._at_value(key_path, f"one value is not an axis; {remedy}")

    def _owns(self, option: str, key_path: KeyPath) -> None:
        if option in self._set_in:
            line = self._set_in[option]
            self._at_key(key_path, f"{option} is already varied in line {line}; only one can decide")
        self._set_in.setdefault(option, self._findings.line_of(key_path))

    def _choices(self, name: str, field: OptionField, raw: list[Any], key_path: KeyPath) -> None:
        if not raw:
            self._at_value(key_path, "has no values; list at least one")
        values: list[Any] = []
        for index, item in enumerate(raw):
            value = self._item((*key_path, index), field, item)
            if value is not BROKEN and value in values:
                self._at_value((*key_path, index), f"{_text(item)} is already in the list")
            values.append(value)
        self.axes.append(Choices(name, tuple(value for value in values if value is not BROKEN)))

    def _item(self, key_path: KeyPath, field: OptionField, item: Any) -> Any:
        if field.is_number and isinstance(item, str):
            remedy = "expressions may stand in base or an arm"
            self._at_value(key_path, f"must be {field.expected}, not {shown(item)} ({remedy})")
            return BROKEN
        return read_setting(self._findings, key_path, field, item, self._fields)

    def _range(self, name: str, field: OptionField, raw: dict[str, Any], key_path: KeyPath) -> None:
        known = [*_SCALES, "points", "step"]
        scales, unknown = [key for key in raw if key in _SCALES], [key for key in raw if key not in known]
        if not field.is_number:
            self._at_value(key_path, f"a range needs numbers, and this is {field.expected}; list the values")
        elif any(isinstance(value, dict) for value in raw.values()):
            self._at_key(key_path, "named arms stand under a name of their own, without a dot: `depth: {...}`")
        elif unknown:
            for key in unknown:
                self._at_key((*key_path, key), f"is unknown; {did_you_mean(key, known)}")
        elif len(scales) != 1:
            self._at_value(key_path, "a range is one of uniform, log or int, as in {log: [0.01, 1], points: 4}")
        else:
            self._ends(name, field, raw, scales[0], key_path)

    def _ends(self, name: str, field: OptionField, raw: dict[str, Any], scale: Any, key_path: KeyPath) -> None:
        ends, points, step = raw[scale], raw.get("points"), raw.get("step")
        if points not in (None, BROKEN) and (type(points) is not int or not 2 <= points <= MAX_POINTS):
            wanted = f"a whole number from 2 to {MAX_POINTS:,}"
            self._at_value((*key_path, "points"), f"must be {wanted}, not {shown(points)}")
        if step not in (None, BROKEN) and (fault := _no_step(scale, step, field)):
            self._at_value((*key_path, "step"), fault)
            step = None
        if ends is BROKEN or (isinstance(ends, list) and BROKEN in ends):
            return
        if not isinstance(ends, list) or len(ends) != 2:
            self._at_value((*key_path, scale), "must be the two ends of the range in brackets, as in [0.01, 1]")
            return
        low, high = (self._item((*key_path, scale, index), field, end) for index, end in enumerate(ends))
        problem = None if BROKEN in (low, high) else _impossible(scale, low, high, field)
        if problem:
            self._at_value((*key_path, scale), problem)
        elif step is not None and step is not BROKEN and BROKEN not in (low, high) and step > high - low:
            self._at_value((*key_path, "step"), f"{step:g} is more than the range from {low:g} to {high:g}")
        elif BROKEN not in (low, high) and type(points) in (int, type(None)) and step is not BROKEN:
            self.axes.append(Range(name, scale, low, high, points, field.is_integer, step))

    def _misnamed(self, name: str, raw: Any) -> str | None:
        """Why a name cannot be that of an axis."""
        options = [key for key in self._fields if key.endswith(f".{name}")]
        if name in ("seed", "seeds"):
            return "is not an axis; write `seeds: [0, 1, 2]` at the top of the file"
        if name in ("task", "trainable"):
            return f"is not an axis; a study has one {name}, in base"
        if name in self._sections:
            known = [key for key in raw if f"{name}.{key}" in self._fields] if isinstance(raw, dict) else []
            return f"options are written with a dot here: `{name}.{known[0] if known else '...'}: [...]`"
        if options and not (isinstance(raw, dict) and all(isinstance(arm, dict) for arm in raw.values())):
            return f"is unknown; did you mean space.{options[0]}?"
        if name in RESERVED:
            return "is the name of another column of the results; choose another"
        if not _AXIS_NAME.fullmatch(name):
            return "is no name for an axis; use lower-case letters, digits and _, or an option with its section"
        return None

    def _arms(self, name: str, raw: Any, key_path: KeyPath) -> None:
        content = "named arms, as in `depth: {shallow: {model.layers: 1}, deep: {model.layers: 4}}`"
        arms = {arm: self._arm(arm, value, (*key_path, arm))
                for arm, value in read_mapping(self._findings, key_path, raw, content).items()}  # fmt: skip
        if raw == {}:
            self._at_value(key_path, "has no arms")
        for option in dict.fromkeys(key for settings in arms.values() for key in settings):
            self._owns(option, key_path)
        self.axes.append(Arms(name, arms))

    def _starts(self, raw: Any, key_path: KeyPath) -> None:
        """Named starts are arms that set nothing else."""
        content = "named starts, as in `start_from: {early: {study: decoupling, step: 500}, scratch: null}`"
        named = read_mapping(self._findings, key_path, raw, content)
        if named.keys() & {"study", "event", "step"}:
            self._at_value(key_path, f"one start is not an axis; give {content}, or fix it under base")
            return
        if raw == {}:
            self._at_value(key_path, "has no starts")
        self._owns(START_FROM, key_path)
        arms: dict[str, dict[str, Setting]] = {}
        for arm, start in named.items():
            self._check_arm_name(arm, (*key_path, arm))
            arms[arm] = {START_FROM: read_start(self._findings, (*key_path, arm), start)}
        self.axes.append(Arms(START_FROM, arms))

    def _check_arm_name(self, arm: str, key_path: KeyPath) -> None:
        if not _WORD.fullmatch(arm):
            self._at_key(key_path, "is no name for an arm; use letters, digits and . _ + -")

    def _arm(self, arm: str, raw: Any, key_path: KeyPath) -> dict[str, Setting]:
        self._check_arm_name(arm, key_path)
        settings: dict[str, Setting] = {}
        for option, value in read_mapping(self._findings, key_path, raw, "options with their section").items():
            option_path = (*key_path, option)
            if option == START_FROM:
                settings[option] = read_start(self._findings, option_path, value)
            elif option in self._fields:
                settings[option] = read_setting(self._findings, option_path, self._fields[option], value, self._fields)
            else:
                self._at_key(option_path, unknown_option(option, self._fields))
        return settings


def _impossible(scale: str, low: Any, high: Any, field: OptionField) -> str | None:
    if low is None or high is None:
        return "the ends of a range are numbers"
    if low >= high:
        return f"the range goes from {low:g} to {high:g}; the lower end comes first"
    if scale == "log" and low <= 0:
        return f"a log range cannot begin at {low:g}; it needs a lower end above 0"
    if field.is_integer if scale == "uniform" else scale == "int" and not field.is_integer:
        wanted = "int or log" if field.is_integer else "uniform or log"
        return f"{field.key} is {field.expected}; use {wanted} for its range"
    return None


def _no_step(scale: str, step: Any, field: OptionField) -> str | None:
    """What is wrong with the step of a range."""
    if scale == "log":
        return "a log range has no step; give it points"
    if isinstance(step, bool) or not isinstance(step, int | float) or not step > 0:
        return f"must be a number above 0, not {shown(step)}"
    if field.is_integer and step != int(step):
        return f"must be a whole number, as {field.key} is, not {shown(step)}"
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)
