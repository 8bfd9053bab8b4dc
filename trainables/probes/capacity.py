"""Capacity: could the two hops of this query be composed through the state at r1, whether or not it is answered?

Two halves, each of which is measured without the other, without the query being answered, and on chains that the run
never trained (arXiv 2601.09049 asks for a circuit; the halves follow the patching of 2505.23653):
`writer` = mean over queries of the share of writings that hit: hop 1 of the query leaves a state at r1 that another
query's second hop uses as its bridge;
`reader` = mean over queries of the share of readings that hit: the query's second hop uses a good bridge;
`capacity` = share of queries of which at least half of either hit, over the queries that have both;
`capacity_mean` = mean over them of the product of the two shares.
They can be 1 while no query is answered, and 0 while all are: a model that looks whole chains up has neither half.

`..._chance` is the same with another tail of the same relation as the answer. Per query, the table of answer and
capacity: `answer_with_capacity`, `answer_without_capacity`, `capacity_without_answer`; what is left has neither.
`writing_choices` and `reading_choices` are the untrained second hops and donors that a query has on average, over all.

Rows: `writer`, `reader`, `capacity`, `capacity_mean` at every inner depth at r1. Summaries at (l*, r1) of
`exchanges.py`, and `capacity_depth` = l*. Null on fewer than 30 queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from grokstudy.trainables.probes.base import Measurement, Scene
from grokstudy.trainables.probes.exchanges import LEAST

HALF = 0.5
"""Share of its exchanges that a query needs for a half of the circuit to count as there."""


def capacity(scene: Scene) -> Iterable[Measurement]:
    """Measure every split."""
    e = scene.exchanges
    writing, reading = e.writing, e.reading
    both_MS = writing.defined_MS & reading.defined_MS
    halves = {"writer": (writing.share_KMS, writing.defined_MS), "reader": (reading.share_KMS, reading.defined_MS)}
    joint = {
        "capacity": ((writing.share_KMS >= HALF) & (reading.share_KMS >= HALF), both_MS),
        "capacity_mean": (writing.share_KMS * reading.share_KMS, both_MS),
    }
    for name, (value_KMS, used_MS) in {**halves, **joint}.items():
        for k, depth in enumerate(scene.inner):
            yield from scene.rows(name, (depth, scene.bridge_place), value_KMS[k], used_MS, LEAST)
        yield from scene.rows(name, None, e.at_site(value_KMS), used_MS, LEAST)
    yield from _chances(scene)
    yield from _table(scene, e.at_site(joint["capacity"][0]), both_MS)
    for name, choices_MS in (
        ("writing_choices", e.partners.writing_choices_MS), ("reading_choices", e.partners.reading_choices_MS),
    ):  # fmt: skip
        yield from scene.rows(name, None, choices_MS, scene.queries.real_MS)
    yield depth_row(scene, "capacity_depth")


def depth_row(scene: Scene, name: str) -> Measurement:
    """l* and the number of exchanges that chose it."""
    n_MJ = scene.exchanges.pair_means(scene.exchanges.swap.hit_KMSN[0], scene.exchanges.swap.used_MSN)[1]
    return Measurement(name, scene.queries.splits[0], None, None, scene.exchanges.depth_M, n_MJ[:, 0])


def _chances(scene: Scene) -> Iterator[Measurement]:
    e = scene.exchanges
    compared = {name: x.compared_MSN.any(dim=-1) for name, x in (("writer", e.writing), ("reader", e.reading))}
    chance = {"writer": e.at_site(e.writing.chance_KMS), "reader": e.at_site(e.reading.chance_KMS)}
    for name in chance:
        yield from scene.rows(f"{name}_chance", None, chance[name], compared[name], LEAST)
    both_MS = compared["writer"] & compared["reader"]
    joint_MS = (chance["writer"] >= HALF) & (chance["reader"] >= HALF)
    yield from scene.rows("capacity_chance", None, joint_MS, both_MS, LEAST)


def _table(scene: Scene, capable_MS: Tensor, both_MS: Tensor) -> Iterator[Measurement]:
    right_MS = scene.correct_MS
    cells = {
        "answer_with_capacity": right_MS & capable_MS,
        "answer_without_capacity": right_MS & ~capable_MS,
        "capacity_without_answer": ~right_MS & capable_MS,
    }
    means_CMJ, n_MJ = scene.means(torch.stack(list(cells.values())), both_MS, LEAST)
    for name, mean_MJ in zip(cells, means_CMJ, strict=True):
        yield from scene.split_rows(name, None, mean_MJ, n_MJ)
