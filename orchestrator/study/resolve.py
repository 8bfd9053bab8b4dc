"""From a point of the space and a seed to the configuration of one run.

Later wins: defaults of the options, then `base`, then derived values of `space`, then the axes. Expressions
are computed last, from the values that won. Ten thousand points resolve in well under a second: values were
checked when the file was read, and equal sections are built once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from grokstudy.orchestrator.search.expressions import Expression, ExpressionError, Number
from grokstudy.orchestrator.search.space import START_FROM, Axis, Point, Setting, Value
from grokstudy.orchestrator.study.fields import config_fields
from grokstudy.orchestrator.study.sections import CrossedSeeds, StartFrom
from grokstudy.trainables.config import NUMERICS, RunConfig, default_probes, sections_of
from grokstudy.trainables.functions import Trainable
from grokstudy.trainables.messages import shown
from grokstudy.trainables.options import OptionField, nested

INTEGRAL = 1e-9
"""A derived value this close to a whole number is that number."""


class ResolveError(ValueError):
    """An option whose expression has no usable value at a point."""

    def __init__(self, key: str, message: str) -> None:
        """Keep the dotted name of the option apart from what is wrong."""
        self.key, self.message = key, message
        super().__init__(f"{key}: {message}")


@dataclass(frozen=True)
class Resolver:
    """What a study fixes, and the axes that vary the rest."""

    task: str
    function: str | None
    """Full name of a training function from outside."""
    fixed: Mapping[str, Setting]
    axes: tuple[Axis, ...]
    crossed: bool = False
    """Whether a seed is the number of a combination (`CrossedSeeds`)."""
    _sections: dict[tuple[Any, ...], Any] = field(default_factory=dict, compare=False, repr=False)

    def settings_at(self, point: Mapping[str, Value]) -> dict[str, Setting]:
        """Every option set at a point, expressions not yet computed. ValueError for a foreign point."""
        names = {axis.name for axis in self.axes}
        for name in point.keys() ^ names:
            raise ValueError(f"{name} is not in the point" if name in names else f"{name} is no axis of this study")
        settings = dict(self.fixed)
        for axis in self.axes:
            settings.update(axis.settings(point[axis.name]))
        return settings

    def config_at(self, point: Mapping[str, Value], seed: int) -> RunConfig:
        """The configuration of a run, still from scratch. Raises ResolveError where an expression has no value."""
        settings = self.settings_at(point)
        settings.pop(START_FROM, None)
        evaluation = _Evaluation(settings, config_fields(self.task, self.function))
        computed = {key: evaluation.value(key) for key, value in settings.items() if isinstance(value, Expression)}
        values = nested({"eval.probes": default_probes(self.task, self.function), **settings, **computed})
        numerics = values.pop("numerics", NUMERICS)
        kinds = sections_of(self.task, self.function)
        sections = {name: self._section(name, kind, values.get(name, {})) for name, kind in kinds.items()}
        trainable = None if self.function is None else Trainable.of(self.function)
        graph, init, order = CrossedSeeds.parts(seed) if self.crossed else (seed, seed, seed)
        return RunConfig(
            task=self.task, seed=graph, init_seed=init, order_seed=order,
            trainable=trainable, numerics=numerics, **sections,
        )  # fmt: skip

    def base(self, seed: int) -> RunConfig:
        """The configuration without what the axes set. Raises ResolveError where an expression needs one of them."""
        return replace(self, axes=()).config_at({}, seed)

    def start_from_at(self, point: Mapping[str, Value]) -> StartFrom | None:
        """Where the run at a point begins; None for scratch."""
        start: StartFrom | None = self.settings_at(point).get(START_FROM)
        return start

    def _section(self, section: str, kind: type[Any], values: dict[str, Any]) -> Any:
        known = (section, *values.items())
        if known not in self._sections:
            self._sections[known] = kind(**values)
        return self._sections[known]


class _Evaluation:
    """Computes the expressions of one point, each once, those it depends on first."""

    def __init__(self, settings: Mapping[str, Setting], fields: Mapping[str, OptionField]) -> None:
        self._settings, self._fields = settings, fields
        self._known: dict[str, Number] = {}
        self._open: list[str] = []

    def value(self, key: str) -> Number:
        if key not in self._known:
            self._known[key] = self._derive(key)
        return self._known[key]

    def _derive(self, key: str) -> Number:
        if key in self._open:
            keys = self._open[self._open.index(key) :]
            start = keys.index(min(keys))
            ring = [*keys[start:], *keys[:start], keys[start]]
            raise ResolveError(ring[0], f"depends on itself: {' -> '.join(ring)}")
        self._open.append(key)
        expression = self._settings[key]
        assert isinstance(expression, Expression)
        try:
            result = _fitted(expression.value(self._lookup), self._fields[key])
        except ExpressionError as error:
            raise ResolveError(key, f"{expression.text!r}: {error}") from None
        self._open.pop()
        return result

    def _lookup(self, key: str) -> Number:
        if isinstance(self._settings.get(key), Expression):
            return self.value(key)
        value = self._settings.get(key, self._fields[key].default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ExpressionError(f"{key} has no value to compute with here")
        return value


def _fitted(value: Number, field: OptionField) -> Number:
    if not field.is_integer:
        return float(value)
    if abs(value - round(value)) > INTEGRAL:
        raise ExpressionError(f"gives {value:g}, and a whole number is needed; round(), floor() or ceil() make one")
    return round(value)


def point_text(point: Point) -> str:
    """Spell a point: `data.phi=3.6, depth=shared`."""
    return ", ".join(f"{name}={value if isinstance(value, str) else shown(value)}" for name, value in point.items())
