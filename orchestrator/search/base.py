"""What every searcher has in common. The contract is told in the package's docstring."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from grokstudy.orchestrator.search.space import Axis, Point, Value
from grokstudy.trainables.options import option

Proposals = list[tuple[int, Point]]
MAX_CORNERS = 1000


@dataclass(frozen=True)
class Goal:
    """One number that a search looks at, of each point."""

    kind: Literal["metric", "event", "outcome"]
    """A last value; log10 of the steps until an event; or whether an event came, or a class of decoupling."""
    name: str
    split: str | None = None
    maximise: bool = True


@dataclass(frozen=True)
class Score:
    """What a point came to: a number per goal."""

    numbers: tuple[float, ...]
    beyond: tuple[bool, ...] = (False,)
    """Whether the number is only a bound, as an event that has not come by then gives it: the true one is larger."""


Scores = Mapping[int, Score | None]
"""By number of the point; None for one that failed."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The number that a search drives up or down: a metric's last value or an event's time, averaged over seeds."""

    metric: str = option("accuracy", "accuracy, loss or margin, or the name of a probe's measurement")
    split: str | None = option(None, "evaluation split; where none is named, the headline of the task")
    event: str | None = option(
        None,
        "instead of a metric: an event of the study, the earlier the better; one that has not come counts as later",
    )


class Searcher(ABC):
    """Chooses the points of a study's space."""

    Options: ClassVar[type[Any]]

    def __init__(self, axes: tuple[Axis, ...], options: Any) -> None:
        """Start before the first point."""
        self.axes, self.options = axes, options
        self.finished = False
        """Whether there will be no more points."""

    @property
    def goals(self) -> tuple[Goal, ...]:
        """What it wants to know of every point."""
        return getattr(self.options, "goals", ())

    @abstractmethod
    def next_points(self, scores: Scores) -> Proposals:
        """The points that can be asked for now. Each is given once, numbered from 0 on."""

    def seeds(self, number: int, seeds: tuple[int, ...]) -> tuple[int, ...]:
        """Which of the study's seeds a point is run with."""
        return seeds

    @classmethod
    @abstractmethod
    def count(cls, axes: tuple[Axis, ...], options: Any) -> int:
        """How many points there will be at most."""

    @abstractmethod
    def preview(self) -> Iterable[tuple[int, Point]]:
        """Points to check before anything is trained."""


class AllAtOnce(Searcher):
    """A searcher that needs no scores: its preview is all its points."""

    def next_points(self, scores: Scores) -> Proposals:
        """Every point, the first time."""
        if self.finished:
            return []
        self.finished = True
        return list(self.preview())


def combinations(axes: tuple[Axis, ...], values: Iterable[Iterable[Value]]) -> Iterator[tuple[int, Point]]:
    """Every combination of the values of each axis, as numbered points. The last axis turns fastest."""
    names = [axis.name for axis in axes]
    return enumerate(dict(zip(names, point, strict=True)) for point in itertools.product(*values))


def corners(axes: tuple[Axis, ...]) -> Proposals:
    """The ends of the space, the first 1,000 of them."""
    return list(itertools.islice(combinations(axes, [axis.corners() for axis in axes]), MAX_CORNERS))


def cells(axes: tuple[Axis, ...], grid: Iterable[str]) -> list[Point]:
    """Every combination of the axes that are swept as a grid; one empty point where there is none."""
    swept = tuple(axis for axis in axes if axis.name in set(grid))
    return [point for _, point in combinations(swept, [axis.grid() for axis in swept])]
