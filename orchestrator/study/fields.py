"""The options of a run by their dotted names, and the values and expressions that they take."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from grokstudy.orchestrator.search.expressions import Expression, ExpressionError
from grokstudy.trainables.config import sections_of
from grokstudy.trainables.options import OptionField, did_you_mean, fields_of


class FieldError(ValueError):
    """A value that an option cannot take."""


def checked(field: OptionField, value: Any) -> Any:
    """The value in the field's type: 3 as 3.0, a list as a tuple. Raises FieldError."""
    if isinstance(value, list) and field.is_list:
        value = tuple(value)
    misfit = field.misfit(value)
    if misfit:
        raise FieldError(misfit)
    if isinstance(value, tuple) and len(set(value)) < len(value):
        raise FieldError("lists the same thing twice")
    return float(value) if type(value) is int and field.is_number and not field.is_integer else value


@cache
def config_fields(task: str, function: str | None = None) -> Mapping[str, OptionField]:
    """Every option of a run of this task and training function by its dotted name, `seed` and `task` left out."""
    return {
        f"{section}.{key}": field
        for section, options in sections_of(task, function).items()
        for key, field in fields_of(options).items()
    }


def check_names(expression: Expression, fields: Mapping[str, OptionField]) -> None:
    """Raise ExpressionError for a name that is no numeric option."""
    for name in expression.names:
        if name not in fields:
            raise ExpressionError(f"{name} is unknown; {did_you_mean(name, sorted(fields))}")
        if not fields[name].is_number:
            raise ExpressionError(f"{name} is {fields[name].expected}, and only numbers can be computed with")
