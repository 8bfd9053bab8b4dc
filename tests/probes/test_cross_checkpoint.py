"""Transplants between checkpoints, on models whose weights are set by hand and on checkpoints of a real run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from handmade import Handmade, circuit, graph, lookup, values

from grokstudy.trainables.probes import PROBES
from grokstudy.trainables.probes.base import Scene
from grokstudy.trainables.probes.cross_checkpoint import DONORS, RECEIVERS, cross_checkpoint
from grokstudy.trainables.probes.lookup import Lookup

SPLITS = ("train_ii", "test_ii", "test_io", "test_oi", "test_oo")
DATA = graph()
SHIFT = 3


def recoded() -> Handmade:
    """A circuit that calls each bridge by the name of another entity, in both hops alike."""
    made = circuit(DATA)
    order_E = (torch.arange(DATA.entities) + SHIFT) % DATA.entities
    out, fetched = made.part("out").start, made.part("fetched").start
    down, up = made.weights["0.down"][0], made.weights["1.up"][0]
    down[:, out + order_E] = down[:, out + torch.arange(DATA.entities)].clone()
    up[fetched + order_E] = up[fetched + torch.arange(DATA.entities)].clone()
    return made


def measured(early: Handmade, late: Handmade) -> dict[tuple[str, str], float]:
    """The summaries, by measurement and split; the untrained donor knows nothing."""
    blank = Handmade.empty(DATA)
    queries = late.scene().queries
    models = {"early": early, "late": late, "untrained": blank}
    scenes = {name: Scene(made.model, made.weights, queries, DATA.entities) for name, made in models.items()}
    found = values(list(cross_checkpoint(scenes)))
    assert {probe for probe, *_ in found} == {f"{donor}_into_{to}" for donor in DONORS for to in RECEIVERS}
    return {(probe, split): value for (probe, split, layer, _), value in found.items() if layer is None}


def shares(found: dict[tuple[str, str], float], name: str) -> list[float]:
    return [found[name, split] for split in SPLITS]


def test_a_circuit_understands_itself_in_both_directions() -> None:
    found = measured(circuit(DATA), circuit(DATA))
    for name in ("early_into_late", "late_into_early", "early_into_early", "late_into_late"):
        assert shares(found, name) == [1, 1, 1, 1, 1], name
    assert shares(found, "untrained_into_late") == shares(found, "untrained_into_early") == [0, 0, 0, 0, 0]


def test_a_lookup_has_nothing_to_say_at_r1() -> None:
    found = measured(lookup(DATA), circuit(DATA))
    assert shares(found, "early_into_late") == [0, 0, 0, 0, 0]
    assert shares(found, "late_into_early") == [0, 0, 0, 0, 0]
    assert shares(found, "early_into_early") == [0, 0, 0, 0, 0]
    assert shares(found, "late_into_late") == [1, 1, 1, 1, 1]


def test_a_circuit_with_another_code_is_whole_by_itself_and_not_understood() -> None:
    """Across, the receiver reads the name of another entity: it is right only where that one leads to the same tail."""
    found = measured(recoded(), circuit(DATA))
    assert shares(found, "early_into_early") == shares(found, "late_into_late") == [1, 1, 1, 1, 1]
    q, lookup_of = circuit(DATA).scene().queries, Lookup(DATA)
    bridge, answer, r2 = q.bridge_MS[0].numpy(), q.answer_MS[0].numpy(), q.tokens_MST[0, :, 2].numpy() - DATA.entities
    used = q.context_answer_MS[0].numpy() >= 0
    for name, shift in (("early_into_late", SHIFT), ("late_into_early", -SHIFT)):
        mistaken = lookup_of.tail((bridge + shift) % DATA.entities, r2) == answer
        for number, split in enumerate(SPLITS):
            here = used & (q.split_S.numpy() == number)
            assert found[name, split] == pytest.approx(mistaken[here].mean())
            assert found[name, split] < 0.15


def test_within_one_checkpoint_it_is_cqsp() -> None:
    half = np.zeros(len(DATA.graph.head), bool)
    half[::2] = True
    made = circuit(DATA, first=half)
    found = measured(circuit(DATA), made)
    known = values(list(PROBES["cqsp"](made.scene())))
    assert shares(found, "late_into_late") == [known["cqsp", split, None, None] for split in SPLITS]
    assert 0 < found["late_into_late", "test_ii"] < 1
    assert shares(found, "early_into_late") == [1, 1, 1, 1, 1], "the late second hop is whole"
