"""Options as frozen dataclasses: one declaration gives default, meaning, unit and bounds of each setting.

The study validator, the JSON Schema and the documentation are all read off these declarations.
"""

from __future__ import annotations

import dataclasses
import difflib
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any


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


_TESTS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "ge": (operator.ge, "at least"),
    "gt": (operator.gt, "more than"),
    "le": (operator.le, "at most"),
    "lt": (operator.lt, "less than"),
}


def bounds_text(bounds: Mapping[str, float]) -> str:
    """Say a field's bounds in words: `at least 1 and at most 8`."""
    return " and ".join(f"{_TESTS[name][1]} {bound:g}" for name, bound in bounds.items())


def out_of_bounds(options: Any, prefix: str) -> Iterator[Problem]:
    """Yield a problem for each numeric field of a dataclass instance that lies outside its declared bounds."""
    for field in dataclasses.fields(options):
        bounds = field.metadata.get("bounds", {})
        value = getattr(options, field.name)
        if value is None or not bounds:
            continue
        if not all(_TESTS[name][0](value, bound) for name, bound in bounds.items()):
            yield Problem(f"{prefix}.{field.name}", f"{value!r} is not possible; it must be {bounds_text(bounds)}")


def did_you_mean(word: str, known: list[str]) -> str:
    """Suggest the nearest known word, else list them all."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
