"""Scrambled Sobol points (Owen 1998): they fill the space more evenly than random ones. In one batch."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from grokstudy.orchestrator.search.base import AllAtOnce, Proposals
from grokstudy.orchestrator.search.space import Axis
from grokstudy.trainables.options import option


@dataclass(frozen=True, kw_only=True)
class SobolOptions:
    """Options of the Sobol sequence; a power of two of trials fills the space best."""

    trials: int = option(32, "points to draw; each is run for every seed", ge=1)
    seed: int = option(0, "seed of the search, not of the runs", ge=0)


class Sobol(AllAtOnce):
    """The searcher `sobol`."""

    Options = SobolOptions

    @classmethod
    def count(cls, axes: tuple[Axis, ...], options: Any) -> int:
        """As many as asked for."""
        return int(options.trials)

    def preview(self) -> Proposals:
        """All points."""
        from scipy.stats import qmc

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about numbers that are no power of two
            shares = qmc.Sobol(len(self.axes), rng=self.options.seed).random(self.options.trials)
        return [
            (number, {axis.name: axis.at(float(share)) for axis, share in zip(self.axes, row, strict=True)})
            for number, row in enumerate(shares)
        ]
