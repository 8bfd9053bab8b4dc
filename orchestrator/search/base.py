"""What every searcher has in common. The contract is told in the package's docstring."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from grokstudy.orchestrator.search.space import Axis, Point, Value
from grokstudy.trainables.options import option

Batch = list[tuple[int, Point]]
MAX_CORNERS = 1000


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The number that a search drives up or down: its last value, averaged over the seeds of a point."""

    metric: str = option("accuracy", "accuracy, loss or margin, or the name of a probe's measurement")
    split: str = option("test_oo", "evaluation split")


class Searcher(ABC):
    """Chooses the points of a study's space, batch by batch."""

    Options: ClassVar[type[Any]]

    def __init__(self, axes: tuple[Axis, ...], options: Any) -> None:
        """Start before the first batch."""
        self.axes, self.options = axes, options
        self._chosen: Batch = []

    def next_points(self, values: Mapping[int, float | None]) -> Batch:
        """The next batch of (number, point). Raises ValueError when an earlier point has no value."""
        missing = [number for number, _ in self._chosen if number not in values]
        if missing:
            raise ValueError(f"point {missing[0]} has no value yet; give None for one that failed")
        batch = self._batch(values)
        self._chosen = [*self._chosen, *batch]
        return batch

    @classmethod
    @abstractmethod
    def count(cls, axes: tuple[Axis, ...], options: Any) -> int:
        """How many points there will be."""

    @abstractmethod
    def preview(self) -> Iterable[tuple[int, Point]]:
        """Points to check before anything is trained."""

    @abstractmethod
    def _batch(self, values: Mapping[int, float | None]) -> Batch:
        """The batch after `self._chosen`, all of which have values."""


def combinations(axes: tuple[Axis, ...], values: Iterable[Iterable[Value]]) -> Iterator[tuple[int, Point]]:
    """Every combination of the values of each axis, as numbered points. The last axis turns fastest."""
    names = [axis.name for axis in axes]
    return enumerate(dict(zip(names, point, strict=True)) for point in itertools.product(*values))


def corners(axes: tuple[Axis, ...]) -> Batch:
    """The ends of the space, the first 1,000 of them."""
    return list(itertools.islice(combinations(axes, [axis.corners() for axis in axes]), MAX_CORNERS))
