"""Where an outcome that is yes or no turns over: a Gaussian-process classifier, and the critical value with its band.

The latent surface has a constant, a slope per axis and a smooth part (squared exponential), and the chance of `yes` is
its logistic function. The posterior is Laplace's (Rasmussen & Williams 2006, algorithms 3.1 and 3.2); length and height
of the smooth part are those of the largest marginal likelihood. Places are shares of the axes, 0 to 1.

The critical value is where the chance is one half: the share of the axis that lies on the side of its lower end, so
that it is defined for a boundary of any shape. Its band is that of surfaces drawn from the posterior.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

Array = np.ndarray[Any, np.dtype[Any]]
LENGTHS, HEIGHTS = (0.15, 0.25, 0.4, 0.7), (2.0, 5.0)
CONSTANT, SLOPE = 4.0, 36.0
"""Variances: of the constant, and of the slope along each axis."""
FEWEST = 8
"""Runs from which on a boundary is drawn through their outcomes."""
DRAWS = 200
JITTER = 1e-6


@dataclass(frozen=True)
class Surface:
    """The latent surface, given some outcomes."""

    places: Array
    """Of the outcomes, n x axes."""
    length: float
    height: float
    gradient: Array
    """Of the log likelihood at the mode."""
    precision: Array
    """(K + W^-1)^-1."""

    @classmethod
    def fit(cls, places: Array, outcomes: Array) -> Surface:
        """From outcomes of 0 and 1 at places of n x axes; n may be 0."""
        return _fitted(places.astype(float).tobytes(), places.shape, outcomes.astype(float).tobytes())

    def latent(self, at: Array) -> tuple[Array, Array]:
        """Mean and covariance of the surface at m places: m and m x m."""
        cross = _kernel(at, self.places, self.length, self.height)
        own = _kernel(at, at, self.length, self.height)
        return cross @ self.gradient, own - cross @ self.precision @ cross.T


@functools.lru_cache(maxsize=4)
def _fitted(places: bytes, shape: tuple[int, ...], outcomes: bytes) -> Surface:
    """The likeliest surface. A report asks twice, for its table and its figure: of 1,000 runs it takes seconds."""
    at, known = np.frombuffer(places).reshape(shape), np.frombuffer(outcomes)
    options = itertools.product(LENGTHS, HEIGHTS) if len(known) > 5 else [(LENGTHS[2], HEIGHTS[0])]
    fits = [_laplace(at, known, length, height) for length, height in options]
    return max(fits, key=lambda fit: fit[0])[1]


def critical(mean: Array, covariance: Array, shape: tuple[int, ...], shares: Array, seed: int = 0) -> Array:
    """Share of the first axis before the boundary: low, median and high end of the 95 % band, for each other place.

    `mean` and `covariance` are those of the latent surface on a lattice of this `shape`, whose first axis stands at
    `shares`. Returns 3 x (places of the other axes).
    """
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky(covariance + (JITTER + 1e-9 * np.trace(covariance)) * np.eye(len(mean)))
    drawn = (mean + rng.standard_normal((DRAWS, len(mean))) @ root.T).reshape(DRAWS, shape[0], -1)
    middle = mean.reshape(shape[0], -1)
    before = _below(drawn if float((middle[-1] - middle[0]).sum()) >= 0 else -drawn, shares)
    return np.quantile(before, [0.025, 0.5, 0.975], axis=0)


def critical_values(trials: pl.DataFrame, axes: Sequence[str], outcome: str = "outcome") -> pl.DataFrame:
    """Where an outcome (0 or 1) turns over along the first numeric axis, with its 95 % band, along the others.

    `trials` hold a row per run with its axes. Columns: the axes that are left, `axis`, `value`, `low`, `high` (in the
    units of the axis) and `n`, the runs behind the surface. A limit is null where the boundary may lie beyond the axis.
    Empty where no axis has three numbers, where every run has the same outcome, and below `FEWEST` runs.
    """
    numeric = [axis for axis in axes if trials[axis].dtype.is_numeric() and trials[axis].n_unique() >= 3]
    words = [axis for axis in axes if axis not in numeric]
    schema: dict[str, Any] = {axis: trials.schema[axis] for axis in (*words, *numeric[1:])} | {"axis": pl.String}
    schema |= {**dict.fromkeys(("value", "low", "high"), pl.Float64), "n": pl.Int64}
    rows: list[dict[str, Any]] = []
    parts = trials.partition_by(words, maintain_order=True) if words else [trials]
    for part in parts if numeric and len(trials) >= FEWEST and trials[outcome].n_unique() > 1 else []:
        lattice = [np.linspace(0, 1, 25), *(np.unique(_share(part[axis].to_numpy())) for axis in numeric[1:])]
        grids = np.meshgrid(*lattice, indexing="ij")
        places = np.stack([_share(part[axis].to_numpy()) for axis in numeric], axis=1)
        surface = Surface.fit(places, part[outcome].to_numpy().astype(float))
        mean, covariance = surface.latent(np.stack([grid.ravel() for grid in grids], axis=1))
        shape = tuple(len(values) for values in lattice)
        low, value, high = critical(mean, covariance, shape, lattice[0])
        others = [part[axis].unique().sort().to_list() for axis in numeric[1:]]
        for index, at in enumerate(itertools.product(*others)):
            ends = [_unit(part[numeric[0]].to_numpy(), each[index]) for each in (low, value, high)]
            known = {**{axis: part[axis][0] for axis in words}, **dict(zip(numeric[1:], at, strict=True))}
            rows.append(
                {**known, "axis": numeric[0], "value": ends[1], "low": ends[0], "high": ends[2], "n": len(part)}
            )
    return pl.DataFrame(rows, schema=schema)


def is_log(values: Array) -> bool:
    """Whether an axis is taken in decades: its values are positive and spread over more than half of one."""
    low, high = float(values.min()), float(values.max())
    return low > 0 and high / low >= 3


def _share(values: Array) -> Array:
    """Places on the axis, 0 to 1: in decades where it spreads over more than half of one."""
    numbers = np.log(values) if is_log(values) else values.astype(float)
    return np.asarray((numbers - numbers.min()) / (numbers.max() - numbers.min()))


def _unit(values: Array, share: float) -> float | None:
    """The value at which so large a share of the axis says `no`; None at its ends: it may lie beyond."""
    if not 0.005 < share < 0.995:
        return None
    low, high = float(values.min()), float(values.max())
    return low * (high / low) ** share if is_log(values) else low + share * (high - low)


def _below(values: Array, shares: Array) -> Array:
    """Length of the first axis (of draws x axis x others) on which the values are below 0, interpolated linearly."""
    first, second = values[:, :-1], values[:, 1:]
    widths = np.diff(shares)[None, :, None]
    total = np.abs(first) + np.abs(second) + 1e-12
    part = (np.maximum(-first, 0) + np.maximum(-second, 0)) / total
    return np.asarray((part * widths).sum(axis=1))


def _kernel(a: Array, b: Array, length: float, height: float) -> Array:
    distance = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2)
    linear = (a - 0.5) @ (b - 0.5).T
    return np.asarray(CONSTANT + SLOPE * linear + height**2 * np.exp(-0.5 * distance / length**2))


def _laplace(places: Array, outcomes: Array, length: float, height: float) -> tuple[float, Surface]:
    """Log marginal likelihood, and the surface."""
    n = len(outcomes)
    kernel = _kernel(places, places, length, height) + JITTER * np.eye(n)
    latent, sign = np.zeros(n), 2.0 * outcomes - 1.0
    for _ in range(30):
        chance = 1 / (1 + np.exp(-latent))
        weight = np.maximum(chance * (1 - chance), 1e-9)
        gradient = outcomes - chance
        root = np.sqrt(weight)
        inner = np.eye(n) + root[:, None] * kernel * root[None, :]
        right = weight * latent + gradient
        solved = right - root * np.linalg.solve(inner, root * (kernel @ right))
        step = kernel @ solved - latent
        latent = latent + step
        if n == 0 or float(np.abs(step).max()) < 1e-6:
            break
    chance = 1 / (1 + np.exp(-latent))
    weight = np.maximum(chance * (1 - chance), 1e-9)
    root = np.sqrt(weight)
    inner = np.eye(n) + root[:, None] * kernel * root[None, :]
    precision = root[:, None] * np.linalg.inv(inner) * root[None, :] if n else np.zeros((0, 0))
    fit = -0.5 * float(latent @ (outcomes - chance)) - float(np.logaddexp(0, -sign * latent).sum())
    fit -= 0.5 * float(np.linalg.slogdet(inner)[1]) if n else 0.0
    return fit, Surface(places, length, height, outcomes - chance, precision)
