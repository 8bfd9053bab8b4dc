"""Names and numbers as a reader meets them: groups, settings, steps, shares, and the order of events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    import polars as pl

_Value = TypeVar("_Value")
ANSWER, CIRCUIT = "generalised", "circuit"
"""The two events that lead, class and order are about."""


class Pair(NamedTuple):
    """Events that are compared in each run: the answer, its circuit, and what says that answers run through one."""

    answer: str
    circuit: str
    mediated: str


FOREMOST = Pair(ANSWER, CIRCUIT, "mediated")
"""Those that a study's verdict is about."""
FIRST = ("memorised", "generalised", "circuit")
"""Events in the order in which a reader thinks of them; a study's other events follow."""
DIGITS, EXACT = 3, 17
"""Significant digits of a fraction, and those of one whose neighbour is too near for fewer."""


def in_reading_order(events: Iterable[str]) -> list[str]:
    """Names of events, those of `FIRST` in front."""
    return sorted(events, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


def label(values: Mapping[str, Any], digits: int = DIGITS) -> str:
    """A group in words: texts as they are, numbers with their option where there is more than one axis."""
    if len(values) == 1:
        return plain(next(iter(values.values())), digits)
    return setting(values, digits)


def setting(values: Mapping[str, Any], digits: int = DIGITS) -> str:
    """The same where nothing says what the axes are: a lone number has its option, too."""
    settings = (
        value if isinstance(value, str) else f"{name.split('.')[-1]}={plain(value, digits)}"
        for name, value in values.items()
    )
    return ", ".join(settings) or "all"


def named(values: Iterable[_Value], words: Callable[[_Value, int], str]) -> list[str]:
    """The name of each value, with as many digits as tell values apart."""
    known = [*values]
    whole = [words(value, EXACT) for value in known]
    tries = ([words(value, digits) for value in known] for digits in range(DIGITS, EXACT))
    return next((names for names in tries if len({*names}) == len({*whole})), whole)


def labels(
    frame: pl.DataFrame, axes: Sequence[str], words: Callable[[Mapping[str, Any], int], str] = label
) -> pl.Series:
    """Each row's place on some axes in words, with as many digits as tell the places apart."""
    import polars  # late: names alone are asked for by commands that read no table

    places = ({axis: row[axis] for axis in axes} for row in frame.iter_rows(named=True))
    return polars.Series(named(places, words), dtype=polars.String)


def axis_title(option: str) -> str:
    """An option as the title of an axis: `optim.weight_decay` is weight decay, `model.width` the model's width."""
    section, _, name = option.rpartition(".")
    words = name.replace("_", " ")
    if name == "steps":
        return "training steps"
    return f"model {words}" if section == "model" else words


def plain(value: Any, digits: int = DIGITS) -> str:
    """One setting as text: a fraction to so many digits, as 0.0965; a whole number as it is."""
    if not isinstance(value, float) or not isfinite(value):
        return "none" if value is None else str(value)
    return f"{value:g}" if value.is_integer() else f"{value:.{max(digits, len(str(int(abs(value)))))}g}"


def number(value: float) -> str:
    """A number as a person would write it: 0.1, 3.6, 1k, 12.5k, 1e-05."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size and float(f"{value / size:.4g}") * size == value:
            return f"{value / size:.4g}{letter}"
    return plain(float(value))


def steps_text(value: float | None) -> str:
    """Steps, whole below 10,000 and with three digits above: 1372, 37.5k, 1.34M."""
    if value is None:
        return "?"
    if round(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    return f"{value / 1e3:.3g}k" if round(value) >= 1e4 else f"{value:.0f}"


def share_text(value: float | None) -> str:
    """A share or another number near 1 with two decimals."""
    return "?" if value is None else f"{value:.2f}"
