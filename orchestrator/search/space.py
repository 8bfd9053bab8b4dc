"""The axes of a study's space: a list of values, a range, or named arms that set several options together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Value = int | float | str | bool | None
"""What an axis can be at: one value, so that it fits a column."""
Setting = Any
"""The value of an option (a Value, or a tuple of words), or the Expression that gives it."""
START_FROM = "start_from"
"""The one setting that is no option of a run: it says where the run begins (`StartFrom`)."""
Point = dict[str, Value]
"""A place in the space: axis name -> value."""


@dataclass(frozen=True)
class Choices:
    """An option that takes each of a few values."""

    name: str
    values: tuple[Value, ...]

    def grid(self) -> tuple[Value, ...]:
        """All values."""
        return self.values

    def corners(self) -> tuple[Value, ...]:
        """The values that bound what can happen: all."""
        return self.values

    def at(self, share: float) -> Value:
        """The value at a share in [0, 1) of the axis."""
        return self.values[int(share * len(self.values))]

    def settings(self, value: Value) -> Mapping[str, Setting]:
        """The options that this value sets. Raises ValueError for a value that the axis does not have."""
        if value not in self.values:
            raise ValueError(f"{self.name} is never {value!r} in this study")
        return {self.name: value}

    def to_json(self) -> Any:
        """Plain values."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """A numeric option that takes any value between two ends, to 6 significant digits on every machine."""

    name: str
    scale: Literal["uniform", "log", "int"]
    low: float
    high: float
    points: int | None
    whole: bool
    step: float | None = None
    """The values are the lower end and so much more each, as far as the upper end."""

    def grid(self) -> tuple[Value, ...]:
        """`points` values, both ends included, or one per step. Repeats (of whole numbers) are left out."""
        if self.step is not None and self.points is None:
            return tuple(self._stepped(index) for index in range(self._steps + 1))
        count = self.points or 0
        shares = [index / (count - 1) for index in range(count)] if count > 1 else []
        return tuple(dict.fromkeys(self._between(share) for share in shares))

    def corners(self) -> tuple[Value, ...]:
        """Both ends."""
        return (self._between(0.0), self._between(1.0))

    def at(self, share: float) -> Value:
        """The value at a share in [0, 1) of the axis. Whole numbers of an `int` axis are equally likely, steps too."""
        if self.step is not None:
            return self._stepped(int(share * (self._steps + 1)))
        if self.scale == "int":
            return int(self.low) + int(share * (int(self.high) - int(self.low) + 1))
        return self._between(share)

    def rounded(self, value: float) -> int | float:
        """The value that the axis takes for a number near it."""
        value = min(max(value, self.low), self.high)
        if self.step is not None:
            return self._stepped(min(round((value - self.low) / self.step), self._steps))
        if self.whole:
            return round(value)
        return min(max(float(f"{value:.6g}"), self.low), self.high)

    def settings(self, value: Value) -> Mapping[str, Setting]:
        """The option that this value sets. Raises ValueError for a value outside the range."""
        if not isinstance(value, int | float) or not self.low <= value <= self.high:
            raise ValueError(f"{self.name} is never {value!r} in this study")
        return {self.name: value}

    def to_json(self) -> Any:
        """Plain values."""
        stepped = {} if self.step is None else {"step": self.step}
        return {self.scale: [self.low, self.high], "points": self.points, **stepped}

    @property
    def _steps(self) -> int:
        return int((self.high - self.low) / (self.step or 1.0) + 1e-9)

    def _stepped(self, index: int) -> int | float:
        value = self.low + index * (self.step or 1.0)
        return round(value) if self.whole else float(f"{value:.6g}")

    def _between(self, share: float) -> int | float:
        if share in (0.0, 1.0):
            return self.rounded(self.high if share else self.low)
        if self.scale == "log":
            return self.rounded(self.low * math.exp(share * math.log(self.high / self.low)))
        return self.rounded(self.low + share * (self.high - self.low))


@dataclass(frozen=True)
class Arms:
    """Named alternatives, each setting several options together."""

    name: str
    arms: Mapping[str, Mapping[str, Setting]]

    def grid(self) -> tuple[Value, ...]:
        """All names."""
        return tuple(self.arms)

    def corners(self) -> tuple[Value, ...]:
        """The values that bound what can happen: all."""
        return tuple(self.arms)

    def at(self, share: float) -> Value:
        """The name at a share in [0, 1) of the axis."""
        return self.grid()[int(share * len(self.arms))]

    def settings(self, value: Value) -> Mapping[str, Setting]:
        """The options that this arm sets. Raises ValueError for a name that there is not."""
        if not isinstance(value, str) or value not in self.arms:
            raise ValueError(f"{self.name} has no arm {value!r}")
        return self.arms[value]

    def to_json(self) -> Any:
        """Plain values; expressions as their text."""
        return {name: plain(settings) for name, settings in self.arms.items()}


Axis = Choices | Range | Arms


def plain(settings: Mapping[str, Setting]) -> dict[str, Any]:
    """Settings as plain values; expressions as their text, starts as in the file."""
    return {key: value.to_json() if hasattr(value, "to_json") else value for key, value in settings.items()}
