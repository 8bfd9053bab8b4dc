"""Looks for where an outcome turns over, and puts its runs there: the critical value of one axis along the others.

The outcome is an event that comes within the horizon, or a class of decoupling. Each run is one point with one seed. A
Gaussian-process classifier (`analysis.statistics.boundary`) says how likely the side of each place of a lattice is told
wrong; the next run is the one that lowers the mean of that most, going by what its outcome may be, with the runs that
are on their way counted as done. The search ends when the 95 % band of the critical value is narrower than `width`.

Axes of words, and those named in `grid`, get a boundary for each combination. Point i is asked for by the scores of the
points up to i - `batch`, as by every searcher that adapts (docs/decisions/0011).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from grokstudy.orchestrator.search.base import Goal, Proposals, Scores, Searcher, cells, corners
from grokstudy.orchestrator.search.space import Arms, Axis, Choices, Point, Range, Value
from grokstudy.trainables.options import option

LATTICE, FEWEST, MOST_PLACES = {1: 41, 2: 15, 3: 7}, 4, 600
"""Places along a range, by how many numeric axes there are, else the fewest; and of a lattice at most."""
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(5)


@dataclass(frozen=True, kw_only=True)
class BoundaryOptions:
    """Where an outcome turns over: runs go where it is least certain, until the critical value is known well enough."""

    outcome: str = option("generalised", "event that comes within the horizon, or a class such as latent")
    axis: str | None = option(None, "numeric axis whose critical value is sought; null for the first")
    width: float = option(0.15, "ends the search: width of the 95 % band, as a share of the axis", gt=0, lt=1)
    trials: int = option(60, "runs at most, of each combination of `grid`", ge=1)
    least: int = option(10, "runs at least, of each combination of `grid`", ge=1)
    batch: int = option(4, "runs on their way at a time: each is chosen by the outcomes of those that far before", ge=1)
    repeats: int = option(1, "seeds of the study that one point may be run with", ge=1)
    seed: int = option(0, "seed of the search, not of the runs", ge=0, lt=2**31)
    grid: tuple[str, ...] = option((), "numeric axes that are swept in full; axes of words always are")

    @property
    def goals(self) -> tuple[Goal, ...]:
        """The outcome."""
        return (Goal("outcome", self.outcome),)


@dataclass(frozen=True)
class Critical:
    """The critical value at one place of the other axes, as shares of its axis."""

    at: Point
    low: float
    value: float
    high: float


@dataclass
class _Cell:
    """The boundary at one combination of the axes that are swept in full."""

    fixed: Point
    numbers: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)


class Boundary(Searcher):
    """The searcher `boundary`."""

    Options = BoundaryOptions

    def __init__(self, axes: tuple[Axis, ...], options: Any) -> None:
        """Start before the first point. Raises ValueError where no axis is numeric."""
        super().__init__(axes, options)
        numeric = [axis for axis in axes if is_numeric(axis) and axis.name not in options.grid]
        if not numeric:
            raise ValueError("boundary needs a numeric axis that is not in `grid`")
        sought = next((axis for axis in numeric if axis.name == options.axis), numeric[0])
        self.numeric = [sought, *(axis for axis in numeric if axis is not sought)]
        names = {axis.name for axis in self.numeric}
        self._cells = [_Cell(point) for point in cells(axes, [axis.name for axis in axes if axis.name not in names])]
        most = LATTICE.get(len(self.numeric), FEWEST)
        self._values = [_lattice(axis, most) for axis in self.numeric]
        self.shape = tuple(len(values) for values in self._values)
        if math.prod(self.shape) > MOST_PLACES:
            self._values = [_lattice(axis, FEWEST, False) for axis in self.numeric]
            self.shape = tuple(len(values) for values in self._values)
        self.shares = [np.array(_shares(values)) for values in self._values]
        grids = np.meshgrid(*self.shares, indexing="ij")
        self.places = np.stack([grid.ravel() for grid in grids], axis=1)
        self._uses: dict[int, int] = {}
        self._seeds: dict[int, int] = {}

    @classmethod
    def count(cls, axes: tuple[Axis, ...], options: Any) -> int:
        """At most."""
        swept = [axis.name for axis in axes if not is_numeric(axis) or axis.name in options.grid]
        return int(options.trials) * len(cells(axes, swept))

    def preview(self) -> Proposals:
        """The corners of the space: where the search goes is not known yet."""
        return corners(self.axes)

    def seeds(self, number: int, seeds: tuple[int, ...]) -> tuple[int, ...]:
        """One: another for each run of the same point."""
        return (seeds[self._seeds.get(number, 0) % len(seeds)],)

    def next_points(self, scores: Scores) -> Proposals:
        """The runs that can be asked for now."""
        batch: Proposals = []
        while not self.finished:
            number = self._asked
            indices = range(max(0, number - self.options.batch + 1))
            if any(index not in scores for index in indices):
                break
            chosen = self._choose(scores, len(indices))
            if chosen is None:
                self.finished = True
                break
            cell, place = chosen
            used = self._uses.get((key := self._key(cell, place)), 0)
            self._uses[key] = used + 1
            self._seeds[number] = number + used if self.options.repeats == 1 else used
            cell.numbers.append(number)
            cell.places.append(place)
            batch.append((number, self._point(cell, place)))
        return batch

    def critical(self, scores: Scores) -> list[Critical]:
        """The critical value with its band, along the other axes, by all outcomes that there are."""
        critical_values = []
        for cell in self._cells:
            low, value, high = self._band(cell, scores, self._asked)
            rest = self._values[1:]
            for index in range(low.size):
                at = dict(cell.fixed)
                for axis, values, position in zip(
                    self.numeric[1:], rest, np.unravel_index(index, self.shape[1:]) if rest else (), strict=True
                ):
                    at[axis.name] = values[int(position)]
                critical_values.append(Critical(at, float(low[index]), float(value[index]), float(high[index])))
        return critical_values

    def side(self, scores: Scores, number: int) -> np.ndarray[Any, np.dtype[Any]]:
        """The mean latent surface on the lattice of the n-th combination, by all outcomes that there are."""
        mean: np.ndarray[Any, np.dtype[Any]] = self._posterior(self._cells[number], scores, self._asked)[0]
        return mean

    @property
    def _asked(self) -> int:
        return sum(len(cell.numbers) for cell in self._cells)

    def _key(self, cell: _Cell, place: int) -> int:
        return self._cells.index(cell) * len(self.places) + place

    def _point(self, cell: _Cell, place: int) -> Point:
        position = np.unravel_index(place, self.shape)
        numeric = {
            axis.name: values[int(i)] for axis, values, i in zip(self.numeric, self._values, position, strict=True)
        }
        point = {**cell.fixed, **numeric}
        return {axis.name: point[axis.name] for axis in self.axes}

    def _known(self, cell: _Cell, scores: Scores, count: int) -> tuple[list[int], list[float]]:
        """Places and outcomes that are known, of the first so many points."""
        rows = [(p, scores.get(n)) for n, p in zip(cell.numbers, cell.places, strict=True) if n < count]
        known = [(place, score.numbers[0]) for place, score in rows if score is not None]
        return [place for place, _ in known], [outcome for _, outcome in known]

    def _posterior(self, cell: _Cell, scores: Scores, count: int) -> tuple[Any, Any]:
        from grokstudy.analysis.statistics.boundary import Surface

        places, outcomes = self._known(cell, scores, count)
        surface = Surface.fit(self.places[places], np.array(outcomes))
        return surface.latent(self.places)

    def _band(self, cell: _Cell, scores: Scores, count: int) -> Any:
        from grokstudy.analysis.statistics.boundary import critical

        mean, covariance = self._posterior(cell, scores, count)
        return critical(mean, covariance, self.shape, self.shares[0], self.options.seed)

    def _choose(self, scores: Scores, count: int) -> tuple[_Cell, int] | None:
        """The cell and the place of the next run; None when every boundary is known well enough or runs are used up."""
        best: tuple[float, _Cell, int] | None = None
        for cell in self._cells:
            if len(cell.numbers) >= self.options.trials or self._is_known(cell, scores, count):
                continue
            mean, covariance = self._posterior(cell, scores, count)
            for number, place in zip(cell.numbers, cell.places, strict=True):
                if number >= count or scores.get(number) is None:
                    covariance = _conditioned(mean, covariance, place)
            gain = _gain(mean, covariance)
            full = [p for p in range(len(self.places)) if self._uses.get(self._key(cell, p), 0) >= self.options.repeats]
            gain[full] = -1.0
            place = int(np.argmax(gain))
            if gain[place] >= 0 and (best is None or gain[place] > best[0]):
                best = (float(gain[place]), cell, place)
        return None if best is None else best[1:]

    def _is_known(self, cell: _Cell, scores: Scores, count: int) -> bool:
        if len(self._known(cell, scores, count)[0]) < self.options.least:
            return False
        low, _, high = self._band(cell, scores, count)
        return bool(float((high - low).mean()) <= self.options.width)


def is_numeric(axis: Axis) -> bool:
    """Whether the values of an axis have an order."""
    if isinstance(axis, Choices):
        return len(axis.values) > 1 and all(type(value) in (int, float) for value in axis.values)
    return not isinstance(axis, Arms)


def _lattice(axis: Axis, most: int, as_declared: bool = True) -> list[Value]:
    """The values that a numeric axis is looked at, in order."""
    if isinstance(axis, Range):
        if as_declared and (axis.points or (axis.step and len(axis.grid()) <= most)):
            return list(axis.grid())
        values = dataclasses.replace(axis, points=most, step=None).grid()
        return list(dict.fromkeys(axis.rounded(float(value or 0)) for value in values))
    return sorted(axis.grid(), key=lambda value: float(value or 0))


def _shares(values: list[Value]) -> list[float]:
    """Places of these values on their axis, 0 to 1: in decades where they spread over more than half of one."""
    numbers = [float(value or 0) for value in values]
    if numbers[0] > 0 and numbers[-1] / numbers[0] >= 3:
        numbers = [math.log(number) for number in numbers]
    return [(number - numbers[0]) / (numbers[-1] - numbers[0]) for number in numbers]


def _noise(mean: Any, variance: Any) -> Any:
    """1 / W: what one outcome leaves unknown of the latent value, in the units of its variance."""
    chance = 1 / (1 + np.exp(-mean / np.sqrt(1 + math.pi * variance / 8)))
    return 1 / np.maximum(chance * (1 - chance), 0.01)


def _conditioned(mean: Any, covariance: Any, place: int) -> Any:
    """The covariance once the outcome at a place is known, whatever it is."""
    column, variance = covariance[:, place], covariance[place, place]
    return covariance - np.outer(column, column) / (variance + _noise(mean[place], variance))


def _gain(mean: Any, covariance: Any) -> Any:
    """By how much an outcome at each place lowers the mean chance that a place is told to be on the wrong side."""
    from scipy.special import ndtr

    variance = np.maximum(np.diag(covariance), 1e-9)
    now = float(ndtr(-np.abs(mean) / np.sqrt(variance)).mean())
    lowered = np.minimum(covariance**2 / (variance + _noise(mean, variance))[None, :], 0.999 * variance[:, None])
    spread, left = np.sqrt(lowered), np.sqrt(variance[:, None] - lowered)
    after = functools.reduce(
        lambda total, node: total + node[1] * ndtr(-np.abs(mean[:, None] + node[0] * spread) / left),
        zip(NODES, WEIGHTS / WEIGHTS.sum(), strict=True),
        np.zeros_like(covariance),
    )
    return now - after.mean(axis=0)
