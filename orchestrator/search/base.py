"""What every searcher has in common. The contract is told in the package's docstring."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from grokstudy.orchestrator.search.space import Axis, Point
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
        self._asked: Batch = []

    def next_points(self, values: Mapping[int, float | None]) -> Batch:
        """The next batch of (number, point). Raises ValueError when an earlier point has no value."""
        missing = [number for number, _ in self._asked if number not in values]
        if missing:
            raise ValueError(f"point {missing[0]} has no value yet; give None for one that failed")
        batch = self._batch(values)
        self._asked = [*self._asked, *batch]
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
        """The batch after `self._asked`, all of which have values."""


def corners(axes: tuple[Axis, ...]) -> Batch:
    """The ends of the space, the first 1,000 of them."""
    names = [axis.name for axis in axes]
    product = itertools.product(*(axis.corners() for axis in axes))
    return list(enumerate(dict(zip(names, values, strict=True)) for values in itertools.islice(product, MAX_CORNERS)))
