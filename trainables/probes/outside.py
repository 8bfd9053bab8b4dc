"""A probe from outside: the contract that `grokstudy check` tries, on small models without training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch

from grokstudy.trainables.config import Model
from grokstudy.trainables.measurements import Measured
from grokstudy.trainables.models import build
from grokstudy.trainables.probes.base import Measurement, Scene
from grokstudy.trainables.probes.queries import Queries
from grokstudy.trainables.probes.splits import stack_splits
from grokstudy.trainables.probes.subject import Subject
from grokstudy.trainables.tasks.two_hop import TwoHop, TwoHopOptions

SMALL = TwoHopOptions(entities=20, relations=8, out_degree=5, ood_fraction=0.2, phi=2.0)
SEEDS = (3, 4)
LARGE_WEIGHTS = 10.0
"""Times the initial weights, so that states differ."""


def contract(probe: Callable[[Any], Iterable[Measurement]]) -> Iterator[tuple[str, str | None]]:
    """Try a probe: each promise, and how this one breaks it (None: it keeps it)."""
    scene = _seen(probe, SEEDS)
    before = {name: value.clone() for name, value in scene.weights.items()}
    measurements = _measured(probe, scene)
    strange = [m for m in measurements if not isinstance(m, Measurement)]
    yield (
        "it gives measurements",
        f"{type(strange[0]).__name__} is none" if strange else None if measurements else "none came",
    )
    if strange or not measurements:
        return
    yield "it measures what it says, where it says", _undeclared(probe, measurements)
    shapes = {(tuple(m.value_M.shape), tuple(m.n_M.shape)) for m in measurements} - {((2,), (2,))}
    yield "it gives one number for each member of a pack", f"shapes {sorted(shapes)} for 2 members" if shapes else None
    infinite = [m.probe for m in measurements if m.value_M.isinf().any()]
    yield "a number that is not defined is NaN", f"{infinite[0]} is infinite" if infinite else None
    changed = [name for name, value in before.items() if not torch.equal(value, scene.weights[name])]
    yield "it leaves the weights as they are", f"{', '.join(changed)} changed" if changed else None
    yield (
        "it measures the same again",
        None if _same(measurements, _measured(probe, _seen(probe, SEEDS))) else "the values differ",
    )
    if not shapes:
        alone = [_measured(probe, _seen(probe, (seed,))) for seed in SEEDS]
        packed = all(_same(measurements, one, row) for row, one in enumerate(alone))
        yield "a member of a pack measures what it does alone", None if packed else "the values differ"


def _seen(probe: Any, seeds: Sequence[int]) -> Scene | Subject:
    data = [TwoHop.build(SMALL, seed, 60) for seed in seeds]
    model = build(Model(width=16, heads=2), TwoHop.shape(SMALL))
    flat_MP = torch.stack([LARGE_WEIGHTS * model.initial(seed) for seed in seeds])
    if not probe.measured.of_graph:
        return Subject(model, model.unpack(flat_MP), stack_splits(data, torch.device("cpu")), 40)
    queries = Queries.build(data, list(seeds), 40, torch.device("cpu"))
    return Scene(model, model.unpack(flat_MP), queries, data[0].entities)


def _measured(probe: Callable[[Any], Iterable[Measurement]], scene: Scene | Subject) -> list[Measurement]:
    with torch.no_grad():
        return list(probe(scene))


def _undeclared(probe: Any, measurements: list[Measurement]) -> str | None:
    declared: Measured = probe.measured
    for m in measurements:
        names = declared.summaries if m.layer is None else declared.sites
        where = "as a summary" if m.layer is None else "at sites"
        if m.probe not in names:
            return f"{m.probe} {where} is not in @measures"
        if m.split not in TwoHop.splits:
            return f"{m.split} is no split"
        if (m.layer is None) != (m.position is None):
            return f"{m.probe} has half a site"
    missing = {*declared.summaries, *declared.sites} - {m.probe for m in measurements}
    return f"{', '.join(sorted(missing))} did not come" if missing else None


def _same(measurements: list[Measurement], other: list[Measurement], row: int | None = None) -> bool:
    """Whether two measure alike; with `row`, whether that member does what the other's only one does."""
    if [(m.probe, m.split, m.layer, m.position) for m in measurements] != [
        (m.probe, m.split, m.layer, m.position) for m in other
    ]:
        return False
    pairs = [
        (a.value_M if row is None else a.value_M[row : row + 1], b.value_M)
        for a, b in zip(measurements, other, strict=True)
    ]
    return all(a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4, equal_nan=True) for a, b in pairs)
