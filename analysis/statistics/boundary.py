"""Where an outcome that is yes or no turns over: a Gaussian-process classifier, and the critical value with its band.

The latent surface has a constant, a slope per axis and a smooth part (squared exponential), and the chance of `yes` is
its logistic function. The posterior is Laplace's (Rasmussen & Williams 2006, algorithms 3.1 and 3.2); length and height
of the smooth part are those of the largest marginal likelihood. Places are shares of the axes, 0 to 1.

The critical value is where the chance is one half: the share of the axis that lies on the `no` side, so that it is
defined for a boundary of any shape. Its band is that of surfaces drawn from the posterior.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
LENGTHS, HEIGHTS = (0.15, 0.25, 0.4, 0.7), (2.0, 5.0)
CONSTANT, SLOPE = 4.0, 36.0
"""Variances: of the constant, and of the slope along each axis."""
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
        options = itertools.product(LENGTHS, HEIGHTS) if len(outcomes) > 5 else [(LENGTHS[2], HEIGHTS[0])]
        fits = [_laplace(places, outcomes, length, height) for length, height in options]
        return max(fits, key=lambda fit: fit[0])[1]

    def latent(self, at: Array) -> tuple[Array, Array]:
        """Mean and covariance of the surface at m places: m and m x m."""
        cross = _kernel(at, self.places, self.length, self.height)
        own = _kernel(at, at, self.length, self.height)
        return cross @ self.gradient, own - cross @ self.precision @ cross.T


def critical(mean: Array, covariance: Array, shape: tuple[int, ...], shares: Array, seed: int = 0) -> Array:
    """Share of the first axis on the `no` side: low, median and high end of the 95 % band, for each other place.

    `mean` and `covariance` are those of the latent surface on a lattice of this `shape`, whose first axis stands at
    `shares`. Returns 3 x (places of the other axes).
    """
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky(covariance + (JITTER + 1e-9 * np.trace(covariance)) * np.eye(len(mean)))
    drawn = (mean + rng.standard_normal((DRAWS, len(mean))) @ root.T).reshape(DRAWS, shape[0], -1)
    middle = mean.reshape(shape[0], -1)
    no = _below(drawn if float((middle[-1] - middle[0]).sum()) >= 0 else -drawn, shares)
    return np.quantile(no, [0.025, 0.5, 0.975], axis=0)


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
