"""Capacity, mediation and decodability of models whose mechanism is known: the three can come apart."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from handmade import Handmade, circuit, graph, keyed_lookup, lookup, overridden, values

from grokstudy.trainables import probes
from grokstudy.trainables.probes.base import Scene
from grokstudy.trainables.tasks.graph import Examples

DATA = graph(entities=40, ood_fraction=0.3, phi=0.5, exposure="both_hops", mixed_holdout=0.6)
ID = ~DATA.graph.ood
NONE = np.zeros(len(ID), bool)
SPLIT = "test_oo"
CAP = 100
KNOWN = DATA.splits[SPLIT].take(slice(CAP))
"""The queries of the split that the scenes look at."""


def found(scene: Scene, split: str = SPLIT) -> dict[str, float]:
    """Summaries of the three on one split."""
    with torch.no_grad():
        measured = [m for name in ("capacity", "mediation", "logit_lens") for m in probes.PROBES[name](scene)]
    return {probe: round(v, 3) for (probe, s, layer, _), v in values(measured).items() if s == split and layer is None}


def without(scene: Scene, unwanted: Callable[[torch.Tensor], torch.Tensor]) -> Scene:
    """The scene without the partners whose chain (donor or receiver, tokens (..., T)) is unwanted."""
    p = scene.queries.partners
    assert p is not None
    own_MS1T = scene.queries.tokens_MST[:, :, None]
    written_MSNT = torch.cat([own_MS1T.expand_as(p.writing_MSNT)[..., :2], p.writing_MSNT[..., 2:]], dim=-1)
    gone = {
        "writing": unwanted(p.writing_MSNT) | unwanted(written_MSNT),
        "reading": unwanted(p.reading_MSNT) | unwanted(p.donor_MSNT),
        "swap": unwanted(p.swap_MSNT),
    }
    kept = {
        f"{kind}_{column}_MSN": getattr(p, f"{kind}_{column}_MSN").masked_fill(mask, -1)
        for kind, mask in gone.items()
        for column in ("answer", "other")
    }
    queries = dataclasses.replace(scene.queries, partners=dataclasses.replace(p, **kept))
    return dataclasses.replace(scene, queries=queries)


def among(queries: Examples, columns: list[int]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Whether these tokens of a chain are those of one of the queries."""
    known = torch.unique(torch.as_tensor(queries.tokens[:, columns]), dim=0)
    return lambda tokens: (tokens[..., None, columns] == known).all(dim=-1).any(dim=-1)


@functools.cache
def measured(name: str) -> dict[str, float]:
    """A model by name."""
    trained_and_asked = Examples.concatenate([DATA.composed, KNOWN])
    made: dict[str, Callable[[], Handmade]] = {
        "bridge": lambda: circuit(DATA),
        "no writer": lambda: circuit(DATA, first=ID),
        "no reader": lambda: circuit(DATA, second=ID),
        "skips r1": lambda: lookup(DATA),
        "keyed": lambda: keyed_lookup(DATA, trained_and_asked),
        "latent": lambda: overridden(DATA, KNOWN),
    }
    scene = made[name]().scene(CAP)
    if name == "keyed":  # each query as if it were the only one outside of the training set that is known
        scene = without(scene, among(KNOWN, [0, 1, 2]))
    if name == "latent":  # receivers that answer
        scene = without(scene, among(KNOWN, [0, 2]))
    accuracy = scene.means(scene.correct_MS, scene.queries.real_MS)[0]
    return {**found(scene), "accuracy": float(accuracy[0, scene.queries.splits.index(SPLIT)])}


def test_a_bridge_has_all_three() -> None:
    m = measured("bridge")
    for name in ("accuracy", "writer", "reader", "capacity", "capacity_mean", "iia", "donor_right", "necessity"):
        assert m[name] == 1, name
    assert m["bridge_hit"] == 1
    assert m["answer_with_capacity"] == 1
    assert max(m["writer_chance"], m["reader_chance"], m["capacity_chance"], m["iia_chance"]) == 0


@pytest.mark.parametrize(("name", "writer", "reader"), [("no writer", 0, 1), ("no reader", 1, 0)])
def test_the_half_that_is_missing_is_told(name: str, writer: int, reader: int) -> None:
    m = measured(name)
    assert (m["writer"], m["reader"], m["capacity"], m["capacity_mean"]) == (writer, reader, 0, 0)
    assert np.isnan(m["iia"])
    assert m["donor_right"] == 0
    assert np.isnan(m["necessity"])


def test_a_lookup_that_skips_r1_is_fake() -> None:
    """It answers everything, and neither writes, nor reads, nor needs the state at r1."""
    m = measured("skips r1")
    assert m["accuracy"] == 1
    assert (m["writer"], m["reader"], m["capacity"]) == (0, 0, 0)
    assert (m["donor_right"], m["iia"], m["necessity"]) == (1, 0, 0)
    assert m["answer_without_capacity"] == 1


def test_a_lookup_keyed_on_r1_has_no_capacity() -> None:
    """The answer needs the state at r1, but no chain outside of those that are known can be made with it."""
    m = measured("keyed")
    assert m["accuracy"] == 1
    assert (m["writer"], m["reader"], m["capacity"]) == (0, 0, 0)
    assert np.isnan(m["iia"]), "no chain but those known could be a right donor: null, never 0"
    assert m["necessity"] == 1


def test_the_measure_that_this_replaces_took_the_keyed_lookup_for_a_circuit() -> None:
    """`hop1_writer` may use chains that were trained."""
    known = Examples.concatenate([DATA.composed, KNOWN])
    with torch.no_grad():
        old = values(list(probes.PROBES["circuit"](keyed_lookup(DATA, known).scene(CAP))))
    assert old["hop1_writer", SPLIT, None, None] > 0.3


def test_a_latent_circuit_has_capacity_and_no_answer() -> None:
    m = measured("latent")
    assert m["accuracy"] == 0
    assert (m["writer"], m["reader"], m["capacity"]) == (1, 1, 1)
    assert m["capacity_without_answer"] == 1


@pytest.mark.parametrize(
    ("name", "hit"), [("bridge", 1), ("no writer", 0), ("no reader", 1), ("skips r1", 0), ("keyed", 0), ("latent", 1)]
)
def test_the_lens_reads_the_bridge_where_there_is_one(name: str, hit: int) -> None:
    """Decodable is neither capacity (no reader) nor the answer (skips r1)."""
    m = measured(name)
    assert m["bridge_hit"] == hit
    assert m["bridge_hit_permuted"] < 0.15


def test_there_are_enough_queries_to_mean_something() -> None:
    assert len(KNOWN) >= 90
