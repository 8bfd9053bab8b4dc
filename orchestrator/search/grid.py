"""Every combination of every axis, in one batch. The last axis of the file turns fastest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from grokstudy.orchestrator.search.base import AllAtOnce, Proposals, combinations
from grokstudy.orchestrator.search.space import Axis


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """A grid has no options: the axes say it all."""


class Grid(AllAtOnce):
    """The searcher `grid`."""

    Options = GridOptions

    @classmethod
    def count(cls, axes: tuple[Axis, ...], options: Any) -> int:
        """The product of the lengths of the axes."""
        return math.prod(len(axis.grid()) for axis in axes)

    def preview(self) -> Proposals:
        """All points."""
        return list(combinations(self.axes, [axis.grid() for axis in self.axes]))
