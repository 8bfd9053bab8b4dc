"""The options of a dataclass as checkable fields: type, bounds, meaning and default, as they are declared."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from grokstudy.orchestrator.search.expressions import Expression, ExpressionError
from grokstudy.orchestrator.study.errors import shown
from grokstudy.trainables.config import sections_of
from grokstudy.trainables.options import bounds_text, did_you_mean, fits, spelled, within


class FieldError(ValueError):
    """A value that an option cannot take."""


@dataclass(frozen=True)
class OptionField:
    """One option as declared. `key` is its name in a study file."""

    key: str
    attribute: str
    hint: Any
    bounds: tuple[tuple[str, float], ...]
    doc: str
    default: Any

    @property
    def members(self) -> tuple[Any, ...]:
        """The types it may have."""
        is_union = get_origin(self.hint) in (Union, types.UnionType)
        return get_args(self.hint) if is_union else (self.hint,)

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

    def check(self, value: Any) -> Any:
        """Return the value in its declared type: 3 as 3.0, a list as a tuple. Raises FieldError."""
        if isinstance(value, list) and self.is_list:
            value = tuple(value)
        if not fits(value, self.hint):
            raise FieldError(self._wrong_type(value))
        checked = float(value) if type(value) is int and self.is_number and not self.is_integer else value
        if isinstance(checked, int | float) and not within(checked, dict(self.bounds)):
            raise FieldError(f"{shown(value)} is not possible; it must be {bounds_text(dict(self.bounds))}")
        if isinstance(checked, tuple) and len(set(checked)) < len(checked):
            raise FieldError("lists the same thing twice")
        return checked

    def _wrong_type(self, value: Any) -> str:
        if self.choices and isinstance(value, str) and not self.is_number:
            return f"{shown(value)} is unknown; {did_you_mean(value, [str(word) for word in self.choices])}"
        if self.is_integer and isinstance(value, float) and value.is_integer():
            return f"must be a whole number; write {int(value)} instead of {value!r}"
        if value is None:
            return f"is empty; it must be {self.expected}"
        return f"must be {self.expected}, not {shown(value)}"

    @property
    def expected(self) -> str:
        """What can stand here, in words."""
        return spelled(self.hint)


def fields_of(options: type[Any]) -> Mapping[str, OptionField]:
    """The fields of an options class by their name in a study file (`for_` is written `for`)."""
    hashable: Any = options
    return _fields_of(hashable)


@cache
def _fields_of(options: Any) -> Mapping[str, OptionField]:
    hints = get_type_hints(options)
    found = {}
    for field in dataclasses.fields(options):
        key = field.name.rstrip("_")
        bounds = tuple(sorted(field.metadata.get("bounds", {}).items()))
        doc = field.metadata.get("doc", "")
        found[key] = OptionField(key, field.name, hints[field.name], bounds, doc, _default(field))
    return found


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


@cache
def config_fields(task: str) -> Mapping[str, OptionField]:
    """Every option of a run by its dotted name, `seed` and `task` left out."""
    return {
        f"{section}.{key}": field
        for section, options in sections_of(task).items()
        for key, field in fields_of(options).items()
    }


def check_names(expression: Expression, fields: Mapping[str, OptionField]) -> None:
    """Raise ExpressionError for a name that is no numeric option."""
    for name in expression.names:
        if name not in fields:
            raise ExpressionError(f"{name} is unknown; {did_you_mean(name, sorted(fields))}")
        if not fields[name].is_number:
            raise ExpressionError(f"{name} is {fields[name].expected}, and only numbers can be computed with")
