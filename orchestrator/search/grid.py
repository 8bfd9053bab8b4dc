"""Every combination of every axis, in one batch. The last axis of the file turns fastest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grokstudy.orchestrator.search.base import Batch, Searcher
from grokstudy.orchestrator.search.space import Axis


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """A grid has no options: the axes say it all."""


class Grid(Searcher):
    """The searcher `grid`."""

    Options = GridOptions

    @classmethod
    def count(cls, axes: tuple[Axis, ...], options: Any) -> int:
        """The product of the lengths of the axes."""
        return math.prod(len(axis.grid()) for axis in axes)

    def preview(self) -> Batch:
        """All points."""
        names = [axis.name for axis in self.axes]
        product = itertools.product(*(axis.grid() for axis in self.axes))
        return list(enumerate(dict(zip(names, values, strict=True)) for values in product))

    def _batch(self, values: Mapping[int, float | None]) -> Batch:
        return [] if self._asked else self.preview()
