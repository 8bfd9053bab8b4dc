"""Independent random points (Bergstra & Bengio 2012, JMLR 13), in one batch.

Each coordinate is a pure function of the search's seed, the number of the point and the name of the axis:
more trials only add points, and another axis leaves the coordinates of the others as they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grokstudy.orchestrator.search.base import AllAtOnce, Proposals
from grokstudy.orchestrator.search.space import Axis
from grokstudy.trainables.options import option
from grokstudy.trainables.randomness import Stream


@dataclass(frozen=True, kw_only=True)
class RandomOptions:
    """Options of the random search."""

    trials: int = option(20, "points to draw; each is run for every seed", ge=1)
    seed: int = option(0, "seed of the search, not of the runs", ge=0)


class Random(AllAtOnce):
    """The searcher `random`."""

    Options = RandomOptions

    @classmethod
    def count(cls, axes: tuple[Axis, ...], options: Any) -> int:
        """As many as asked for."""
        return int(options.trials)

    def preview(self) -> Proposals:
        """All points."""
        return [
            (number, {axis.name: axis.at(self._share(number, axis.name)) for axis in self.axes})
            for number in range(self.options.trials)
        ]

    def _share(self, number: int, name: str) -> float:
        return float(Stream(self.options.seed, f"search/{number}/{name}").uniform(1)[0])
