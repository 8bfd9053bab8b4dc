"""Training functions from outside: what one declares, and the registry of them. There is none of ours.

A study names one by `base: {trainable: ./train.py:train}` and then trains with it instead of the built-in loop
(`training/function.py` has what it is called with). What it is (its name with the digest of its code, its columns,
whether a shorter training is the beginning of a longer one) goes into the configuration of a run, so that ids and
tables can be told without its code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from grokstudy.trainables.measurements import Measured, measured, measurements
from grokstudy.trainables.options import option_faults
from grokstudy.trainables.registry import Registry
from grokstudy.trainables.schema import METRICS, TABLES, Column

Made = TypeVar("Made", bound=Callable[..., Any])
KINDS = {float: "float64", int: "int64", str: "string"}
"""What a column of one's own can hold."""
OPTIONAL = ("grad_norm", "weight_norm", "lr")
"""Columns of `steps` that it may leave out."""
_COLUMN = re.compile(r"[a-z][a-z0-9_]*")

TRAINABLES: Registry[Callable[..., Any]] = Registry(
    "training function", {}, group="grokstudy.trainables", fault="trainables.functions:fault"
)


@dataclass(frozen=True)
class NoOptions:
    """Of a function that has no options of its own."""


@dataclass(frozen=True)
class Trainable:
    """The training function of a run, as its configuration tells it."""

    function: str
    """Its full name."""
    prefix_stable: bool = False
    """Whether a shorter training is exactly the beginning of a longer one."""
    measures: bool = False
    """Whether each evaluation leaves rows in the table `probes`."""
    columns: tuple[tuple[str, str], ...] = ()
    """Name and kind (`schema.Column.kind`) of the columns that it adds to the table `steps`."""

    @classmethod
    def of(cls, name: str) -> Trainable:
        """What the function of a full name declares. Raises KeyError when its code is not here."""
        declared = declared_by(name)
        columns = tuple((column, KINDS[kind]) for column, kind in declared.columns.items())
        return cls(name, declared.prefix_stable, any(measured(name)[:2]), columns)

    @classmethod
    def from_json(cls, raw: Any) -> Trainable:
        """Read what `to_json` wrote. Raises ValueError."""
        try:
            name, stable, measures, columns = (raw[key] for key in ("function", "prefix_stable", "measures", "columns"))
            if not (isinstance(name, str) and type(stable) is type(measures) is bool):
                raise TypeError
            if not {*columns.values()} <= {*KINDS.values()}:
                raise TypeError
            return cls(name, stable, measures, tuple(columns.items()))
        except (TypeError, KeyError, AttributeError):
            raise ValueError(f"trainable: {raw!r} is no training function with its columns") from None

    def to_json(self) -> dict[str, Any]:
        """Plain values, as configurations and study.json have them."""
        about = {"function": self.function, "prefix_stable": self.prefix_stable, "measures": self.measures}
        return {**about, "columns": dict(self.columns)}

    def schema(self, table: str) -> tuple[Column, ...]:
        """The columns of a table of its runs: it may leave out all but the loss, and adds its own to `steps`."""
        if table != "steps":
            return TABLES[table]
        ours = (Column(c.name, c.kind, c.meaning, c.unit, c.nullable or c.name in OPTIONAL) for c in TABLES[table])
        own = (Column(name, kind, "column of the training function", nullable=True) for name, kind in self.columns)
        return (*ours, *own)


@dataclass(frozen=True)
class Declared:
    """What a training function says of itself."""

    options: type[Any]
    uses: tuple[str, ...]
    columns: Mapping[str, type[Any]]
    prefix_stable: bool


def trainable(
    options: type[Any] = NoOptions, uses: tuple[str, ...] = (), measures: tuple[str, ...] = (),
    sites: tuple[str, ...] = (), columns: Mapping[str, type[Any]] | None = None, prefix_stable: bool = False,
) -> Callable[[Made], Made]:  # fmt: skip
    """Say what a training function needs and gives.

    `options` is a frozen dataclass of `option(...)` fields, the section `own` of a study. `uses` are options of ours
    that it reads (`model.width`, `optim.lr`, `train.batch`): a study that sets others is refused. `measures` and
    `sites` are the names that it gives to `run.measure`, as summaries of a split and at layers or positions. `columns`
    are numbers or words of each update beyond ours. `prefix_stable`: a run of 100 steps is the beginning of one of 200,
    so that lengths share their training; leave it out where a schedule looks at the length.
    """

    def declared(function: Made) -> Made:
        function.declared = Declared(options, tuple(uses), dict(columns or {}), prefix_stable)  # type: ignore[attr-defined]
        function.measured = Measured(tuple(measures), tuple(sites))  # type: ignore[attr-defined]
        return function

    return declared


def declared_by(name: str) -> Declared:
    """What the function of a full name says of itself. Raises KeyError when its code is not here."""
    declaration: Declared = TRAINABLES[name].declared  # type: ignore[attr-defined]
    return declaration


def fault(function: Any) -> str | None:
    """What keeps something from outside from being a training function; None where it is one."""
    declared = getattr(function, "declared", None)
    if not callable(function) or isinstance(function, type):
        return f"it is {'a class' if isinstance(function, type) else type(function).__name__}, and should be a function"
    if not isinstance(declared, Declared):
        return "it does not say what it needs; write @trainable() above it (grokstudy.trainables.functions)"
    if reason := option_faults(declared.options):
        return reason
    if type(declared.prefix_stable) is not bool:
        return f"its prefix_stable is {declared.prefix_stable!r}, and should be True or False"
    taken = {column.name for columns in TABLES.values() for column in columns} | {"run_id", "trial_id", "seed"}
    for name, kind in declared.columns.items():
        if not isinstance(name, str) or not _COLUMN.fullmatch(name) or name in taken:
            return f"{name!r} cannot be a column of its own; use a name of a-z, 0-9 and _ that no table of ours has"
        if kind not in KINDS:
            return f"column {name} is {getattr(kind, '__name__', kind)}; a column is float, int or str"
    known = {*METRICS, *measurements()}
    for name in (*function.measured.summaries, *function.measured.sites):
        if not isinstance(name, str) or not _COLUMN.fullmatch(name):
            return f"{name!r} is no name for a measurement; use lower-case letters, digits and _"
        if name in known:
            return f"{name} is measured by ours already; give yours another name"
    return None
