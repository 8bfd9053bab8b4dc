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

from grokstudy.trainables.messages import shown

MOST_KNOWN, NEAREST = 20, 6
"""Most known words that a message lists, and how many of them it names when there are more."""


@dataclasses.dataclass(frozen=True)
class DataFile:
    """What an option is whose value names a file of data beside the study (`plugins.from_data`)."""

    read: Callable[[bytes], str]
    """The text that runs need of a file's content; of that text, the same again. Raises ValueError: what is wrong."""
    absent: str
    """How to get such a file, for the error where there is none."""


def option(
    default: Any,
    doc: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    later: bool = False,
    file: DataFile | None = None,
) -> Any:
    """Declare a dataclass field with its meaning and its bounds (inclusive `ge`/`le`, exclusive `gt`/`lt`).

    `later`: it came after runs had been trained without it, which did what its default does: at the default it is no
    part of what a run is, so that those runs keep their names. `file`: in a study it is a path, in a run's
    configuration that path with a digest of what was read there.
    """
    bounds = {k: v for k, v in (("ge", ge), ("gt", gt), ("le", le), ("lt", lt)) if v is not None}
    return dataclasses.field(default=default, metadata={"doc": doc, "bounds": bounds, "later": later, "file": file})


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a configuration: the dotted key, what was found, what is allowed."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


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


@dataclasses.dataclass(frozen=True)
class OptionField:
    """One option as declared. `key` is its name in a file."""

    key: str
    attribute: str
    hint: Any
    bounds: Mapping[str, float]
    doc: str
    default: Any
    later: bool = False
    """Whether it is left out of a run's identity at its default."""
    file: DataFile | None = None
    """How the file is read that it names, if it names one."""

    @property
    def members(self) -> tuple[Any, ...]:
        """The types it may have."""
        return get_args(self.hint) if get_origin(self.hint) in (Union, UnionType) else (self.hint,)

    @property
    def choices(self) -> list[Any]:
        """The words it may be, if it is one of a few."""
        return [word for hint in self.members if get_origin(hint) is Literal for word in get_args(hint)]

    @property
    def is_number(self) -> bool:
        """Whether a number, and so an expression, can stand here."""
        return int in self.members or float in self.members

    @property
    def is_integer(self) -> bool:
        """Whether the number must be whole."""
        return int in self.members and float not in self.members

    @property
    def is_list(self) -> bool:
        """Whether the value is a list."""
        return any(get_origin(hint) is tuple for hint in self.members)

    @property
    def block(self) -> type[Any] | None:
        """The dataclass of a nested block of options."""
        return self.hint if dataclasses.is_dataclass(self.hint) and isinstance(self.hint, type) else None

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is dataclasses.MISSING

    @property
    def expected(self) -> str:
        """What can stand here, in words."""
        return spelled(self.hint)

    def misfit(self, value: Any) -> str | None:
        """What is wrong with a value that has not the declared type, words or bounds; None when it fits."""
        if fits(value, self.hint):
            outside = isinstance(value, int | float) and not within(value, self.bounds)
            return f"{shown(value)} is not possible; it must be {bounds_text(self.bounds)}" if outside else None
        if self.choices and isinstance(value, str) and not self.is_number:
            return f"{shown(value)} is unknown; {did_you_mean(value, [str(word) for word in self.choices])}"
        if self.is_integer and isinstance(value, float) and value.is_integer():
            return f"must be a whole number; write {int(value)} instead of {value!r}"
        return (
            f"is empty; it must be {self.expected}" if value is None else f"must be {self.expected}, not {shown(value)}"
        )


def fields_of(options: type[Any]) -> Mapping[str, OptionField]:
    """The fields of an options class by their name in a file (`for_` is written `for`)."""
    hashable: Any = options
    return _fields_of(hashable)


@cache
def _fields_of(options: Any) -> Mapping[str, OptionField]:
    hints = get_type_hints(options)
    fields = {}
    for field in dataclasses.fields(options):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        bounds, doc = field.metadata.get("bounds", {}), field.metadata.get("doc", "")
        key = field.name.rstrip("_")
        later, file = field.metadata.get("later", False), field.metadata.get("file")
        fields[key] = OptionField(key, field.name, hints[field.name], bounds, doc, default, later, file)
    return fields


def misfits(options: Any) -> list[Problem]:
    """A problem for each field of a dataclass instance that has not its declared type, words or bounds."""
    fields = fields_of(type(options)).values()
    messages = [(field.key, field.misfit(getattr(options, field.attribute))) for field in fields]
    return [Problem(key, message) for key, message in messages if message]


def flat(sections: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options that are nested by section, by dotted name."""
    options: dict[str, Any] = {}
    for key, value in sections.items():
        options |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return options


def nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by dotted name, by section as in a file; names without a dot stay where they are."""
    sections: dict[str, Any] = {}
    for name, value in options.items():
        section, _, key = name.partition(".")
        if key:
            sections.setdefault(section, {})[key] = value
        else:
            sections[section] = value
    return sections


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
    """Suggest the nearest known word, else list them; of many, the nearest."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else known_words(word, known)


def known_words(word: str, known: list[str]) -> str:
    """What could stand here: all there is, or of many the nearest and how many more there are."""
    if len(known) <= MOST_KNOWN:
        return f"known: {', '.join(sorted(known))}"
    nearest = difflib.get_close_matches(word, known, n=NEAREST, cutoff=0)
    return f"nearest: {', '.join(nearest)} (and {len(known) - len(nearest)} more)"


def option_faults(options: Any) -> str | None:
    """What keeps a class from outside from declaring options; None where it does."""
    if not (isinstance(options, type) and dataclasses.is_dataclass(options)):
        return "its Options are no dataclass; write @dataclass(frozen=True, kw_only=True) above the class"
    if not options.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return "its Options can be changed; write @dataclass(frozen=True, kw_only=True) above the class"
    try:
        fields = fields_of(options)
    except (NameError, TypeError) as error:
        return f"its Options have a type that is not known: {error}"
    for key, field in fields.items():
        if field.block is not None and (reason := option_faults(field.block)):
            return f"option {key}: {reason}"
        if field.block is None and not _can_stand_in_a_file(field.hint):
            kinds = "int, float, bool, str, Literal, tuple[str, ...], or one of them | None"
            return f"option {key} is {getattr(field.hint, '__name__', field.hint)}; an option is {kinds}"
        if field.required:
            return f"option {key} has no default"
        misfit = None if field.block is not None else field.misfit(field.default)
        if misfit:
            return f"the default of option {key} {misfit}"
    return None


def _can_stand_in_a_file(hint: Any) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return all(map(_can_stand_in_a_file, get_args(hint)))
    if get_origin(hint) is tuple:
        return get_args(hint) == (str, ...)
    return get_origin(hint) is Literal or hint in (int, float, bool, str, NoneType)
