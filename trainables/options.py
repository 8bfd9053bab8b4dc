"""Options as frozen dataclasses: one declaration gives default, meaning, unit and bounds of each setting.

The study validator, the JSON Schema and the documentation are all read off these declarations.
"""

from __future__ import annotations

import dataclasses
import difflib
import operator
import sys
from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def option(
    default: Any,
    doc: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> Any:
    """Declare a dataclass field with its meaning and its bounds (inclusive `ge`/`le`, exclusive `gt`/`lt`)."""
    bounds = {k: v for k, v in (("ge", ge), ("gt", gt), ("le", le), ("lt", lt)) if v is not None}
    return dataclasses.field(default=default, metadata={"doc": doc, "bounds": bounds})


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a configuration: the dotted key, what was found, what is allowed."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options under dotted names: `{"model": {"layers": 2}}` as `{"model.layers": 2}`."""
    dotted: dict[str, Any] = {}
    for key, value in nested.items():
        dotted |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return dotted


_TESTS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "ge": (operator.ge, "at least"),
    "gt": (operator.gt, "more than"),
    "le": (operator.le, "at most"),
    "lt": (operator.lt, "less than"),
}


def bounds_text(bounds: Mapping[str, float]) -> str:
    """Say a field's bounds in words: `at least 1 and at most 8`."""
    return " and ".join(f"{_TESTS[name][1]} {bound:g}" for name, bound in bounds.items())


def within(value: float, bounds: Mapping[str, float]) -> bool:
    """Whether a number keeps its declared bounds."""
    return all(_TESTS[name][0](value, bound) for name, bound in bounds.items())


def misfits(options: Any) -> list[Problem]:
    """A problem for each field of a dataclass instance that has not its declared type, words or bounds."""
    kind: Any = type(options)
    found = [(name, _misfit(getattr(options, name), hint, bounds)) for name, hint, bounds in _declared(kind)]
    return [Problem(name, message) for name, message in found if message]


def _misfit(value: Any, hint: Any, bounds: Mapping[str, float]) -> str | None:
    words = get_args(hint) if get_origin(hint) is Literal else ()
    if isinstance(value, str) and words and value not in words:
        return f"{value!r} is unknown; {did_you_mean(value, list(words))}"
    if not fits(value, hint):
        return f"{value!r} is not possible; it must be {spelled(hint)}"
    if value is not None and not within(value, bounds):
        return f"{value!r} is not possible; it must be {bounds_text(bounds)}"
    return None


@cache
def _declared(options: Any) -> list[tuple[str, Any, Mapping[str, float]]]:
    """Name, type and bounds of each field of a class of options."""
    hints = get_type_hints(options)
    return [(f.name, hints[f.name], f.metadata.get("bounds", {})) for f in dataclasses.fields(options)]


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a declared type: true is no number, and a whole number may stand for a real one."""
    origin, members = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, member) for member in members)
    if origin is Literal:
        return value in members
    if origin is tuple:
        return isinstance(value, tuple) and all(fits(item, members[0]) for item in value)
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    if hint is float:
        return isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return isinstance(value, hint)


def spelled(hint: Any) -> str:
    """Say a declared type in words."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(spelled, get_args(hint)))
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple:
        return "a list of words in brackets"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null"}
    return names.get(hint, "a mapping")


def did_you_mean(word: str, known: list[str]) -> str:
    """Suggest the nearest known word, else list them all."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
