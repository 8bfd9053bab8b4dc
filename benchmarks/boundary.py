"""Where is the boundary, for how many runs? `python -m benchmarks.boundary [SEEDS]`, one JSON line per diagram.

Three phase diagrams whose boundary is known, on axes from 0 to 1, with outcomes that are drawn: the chance of `yes`
goes from 0 to 1 within about 0.1 of the boundary. A full grid of 12 x 12 runs against searchers with a quarter of these
runs, 36. All outcomes are read by the same classifier; what counts is the share of a fine lattice on the wrong side,
median over seeds. TPE is asked for the largest outcome, as a person has to who has nothing better.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from grokstudy.analysis.statistics.boundary import Surface
from grokstudy.orchestrator.search import SEARCHERS
from grokstudy.orchestrator.search.base import Score
from grokstudy.orchestrator.search.space import Axis, Range

FULL, FEW = 144, 36
DIAGRAMS: dict[str, Callable[[Any, Any], Any]] = {
    "slope": lambda x, y: x - (0.7 - 0.4 * y),
    "valley": lambda x, y: x - (0.25 + 1.6 * (y - 0.5) ** 2),
    "plateau": lambda x, y: x - (0.35 + 0.35 / (1 + np.exp(-18 * (y - 0.5)))),
}
"""Signed distance to the boundary, along the first axis."""
SHARP = 0.025
"""The logistic scale of the chance; small enough that a run at a distance of 0.1 is sure to 98 %."""


def axes(points: int | None = None) -> tuple[Axis, ...]:
    """Two axes from 0 to 1."""
    return tuple(Range(name, "uniform", 0.0, 1.0, points, False) for name in ("x", "y"))


def outcome(diagram: str, x: float, y: float, rng: np.random.Generator) -> float:
    """Drawn: 0 or 1."""
    return float(rng.random() < 1 / (1 + np.exp(-DIAGRAMS[diagram](x, y) / SHARP)))


def error(diagram: str, search: str, seed: int) -> float:
    """Share of a lattice of 60 x 60 that is told to be on the wrong side."""
    options: dict[str, Any] = {} if search.startswith("grid") else {"trials": FEW, "seed": seed}
    if search == "boundary":
        options |= {"width": 0.001, "batch": 2}
    points = {"grid": 12, "grid_few": 6}.get(search)
    searcher = SEARCHERS[search.removesuffix("_few")](
        axes(points), SEARCHERS[search.removesuffix("_few")].Options(**options)
    )
    rng, scores, places = np.random.default_rng(seed), dict[int, Score | None](), []
    while not searcher.finished:
        for number, point in searcher.next_points(scores):
            x, y = float(point["x"] or 0), float(point["y"] or 0)
            scores[number] = Score((outcome(diagram, x, y, rng),))
            places.append((x, y))
    outcomes = np.array([score.numbers[0] for _, score in sorted(scores.items()) if score is not None])
    fine = (np.arange(60) + 0.5) / 60
    x, y = (axis.ravel() for axis in np.meshgrid(fine, fine, indexing="ij"))
    surface = Surface.fit(np.array(places), outcomes)
    mean = np.concatenate([surface.latent(part)[0] for part in np.array_split(np.stack([x, y], axis=1), 12)])
    return float(((mean > 0) != (DIAGRAMS[diagram](x, y) > 0)).mean())


def main() -> None:
    """Measure and print."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    for diagram in DIAGRAMS:
        began, found = time.monotonic(), {}
        for search in ("grid", "grid_few", "random", "sobol", "tpe", "boundary"):
            errors = [error(diagram, search, seed) for seed in range(seeds)]
            low, _, high = statistics.quantiles(errors, n=4)
            found[search] = [round(value, 4) for value in (statistics.median(errors), low, high)]
        about = {"benchmark": "boundary", "diagram": diagram, "runs": {"grid": FULL, "others": FEW}, "seeds": seeds}
        print(json.dumps({**about, "wrong": found, "seconds": round(time.monotonic() - began, 1)}), flush=True)


if __name__ == "__main__":
    main()
