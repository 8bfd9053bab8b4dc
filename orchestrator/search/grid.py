"""Every combination of every axis, in one batch. The last axis of the file turns fastest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grokstudy.orchestrator.search.base import Batch, Searcher, combinations
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
        return list(combinations(self.axes, [axis.grid() for axis in self.axes]))

    def _batch(self, values: Mapping[int, float | None]) -> Batch:
        return [] if self._chosen else self.preview()
