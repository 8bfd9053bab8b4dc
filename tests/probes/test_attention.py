"""Probes of attention on models made by hand: one that looks where it should, one that does not, one head of two."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from grokstudy.trainables.config import Model
from grokstudy.trainables.models.decoder import Transformer
from grokstudy.trainables.probes.attention import attention_mass, head_ablation
from grokstudy.trainables.probes.base import Measurement
from grokstudy.trainables.probes.splits import SplitBatch
from grokstudy.trainables.probes.subject import Subject
from grokstudy.trainables.tasks.base import Mechanism, Shape, StoredRows

SYMBOLS, PLACES, SHARP = 6, 12, 40.0
SHAPE = Shape(length=PLACES, fields=(SYMBOLS,), classes=SYMBOLS, answers=2)
SAID = SYMBOLS + PLACES
HEAD = SAID + SYMBOLS
"""Width of a head. A state holds the symbol, the place, and behind them what heads bring."""
Site = tuple[str, str, int | None, str | None]


def looking(*back: int | None) -> tuple[Transformer, dict[str, Tensor]]:
    """One member, one block, a head for each distance: it looks so many places back, or evenly for None.

    A head copies the symbol that it looks at into the answer; the symbol at the answer's own place says nothing.
    """
    heads = len(back)
    width = heads * HEAD
    options = Model(layers=1, loops=1, width=width, heads=heads, mlp_ratio=1, tied=False)
    model = Transformer(options, SHAPE)
    weights = {p.name: torch.zeros(1, *p.shape) for p in model.parameters}
    for name in ("0.norm1", "0.norm2", "norm_final"):
        weights[name] += 1.0
    weights["embed"][0, :, :SYMBOLS] = torch.eye(SYMBOLS)
    weights["position"][0, :, SYMBOLS:SAID] = torch.eye(PLACES)
    query, key, value = weights["0.qkv"][0].view(width, 3, heads, HEAD).unbind(1)
    for head, distance in enumerate(back):
        if distance is not None:
            query[SYMBOLS + torch.arange(distance, PLACES), head, SYMBOLS + torch.arange(PLACES - distance)] = SHARP
        key[SYMBOLS + torch.arange(PLACES), head, SYMBOLS + torch.arange(PLACES)] = 1.0
        value[torch.arange(SYMBOLS), head, torch.arange(SYMBOLS)] = 1.0
        weights["0.out"][0, head * HEAD + torch.arange(SYMBOLS), SAID + torch.arange(SYMBOLS)] = 1.0
    weights["unembed"][0, SAID + torch.arange(SYMBOLS), torch.arange(SYMBOLS)] = SHARP
    return model, weights


def subject(made: tuple[Transformer, dict[str, Tensor]], most: int = 100) -> Subject:
    """Examples with two answers, each the symbol three places back; half of the second ones are not there."""
    rng = np.random.default_rng(0)
    n = 40
    inputs = rng.integers(SYMBOLS, size=(n, PLACES))
    at = rng.integers(3, PLACES, size=(n, 2))
    holder = at - 3
    target = np.take_along_axis(inputs, holder, axis=1)
    weight = np.stack([np.ones(n), np.arange(n) % 2], axis=1).astype(np.float32)
    target[weight == 0] = 0
    look = np.arange(PLACES) == holder[..., None]
    nowhere = np.zeros_like(look)
    nowhere[:10] = look[:10]
    rows = StoredRows(inputs, at, target, weight, Mechanism(look={"answer": look, "some": nowhere}))
    return Subject(*made, {"test": SplitBatch.stack([rows], torch.device("cpu"))}, most)


def values(found: list[Measurement]) -> dict[Site, float]:
    return {(m.probe, m.split, m.layer, m.position): m.value_M.item() for m in found}


def masses(*back: int | None) -> dict[Site, float]:
    return values(list(attention_mass(subject(looking(*back)))))


def test_a_head_that_looks_where_the_answer_is_has_all_of_its_mass_there() -> None:
    found = masses(3, 1)
    assert found["mass_answer", "test", 1, "head0"] == pytest.approx(1.0, abs=1e-4)
    assert found["mass_answer", "test", 1, "head1"] == pytest.approx(0.0, abs=1e-4)
    assert found["mass_answer", "test", None, None] == found["mass_answer", "test", 1, "head0"]


def test_a_model_that_looks_elsewhere_has_none_and_one_that_looks_everywhere_its_share() -> None:
    assert masses(1, 2)["mass_answer", "test", None, None] == pytest.approx(0.0, abs=1e-4)
    made = subject(looking(None))
    rows = made.splits["test"].batch()
    there, weight = 1.0 / (rows.at_MBA[0] + 1.0), rows.weight_MBA
    assert weight is not None
    even = ((there * weight[0]).sum(1) / weight[0].sum(1)).mean()
    assert values(list(attention_mass(made)))["mass_answer", "test", 1, "head0"] == pytest.approx(even.item(), rel=1e-4)


def test_mass_is_of_the_examples_that_have_such_a_place_and_says_how_many() -> None:
    found = list(attention_mass(subject(looking(3))))
    counts = {m.probe: int(m.n_M) for m in found}
    assert counts == {"mass_answer": 40, "mass_some": 10}
    assert values(found)["mass_some", "test", None, None] == pytest.approx(1.0, abs=1e-4)
    assert {int(m.n_M) for m in attention_mass(subject(looking(3), most=5))} == {5}


def test_without_the_head_that_answers_nothing_is_right_and_without_the_idle_one_everything() -> None:
    """A head is idle where nothing of what it brings is written."""
    model, weights = looking(3, 1)
    weights["0.out"][:, HEAD : 2 * HEAD] = 0.0
    found = values(list(head_ablation(subject((model, weights)))))
    assert found["ablated_accuracy", "test", 1, "head1"] == 1.0
    assert found["ablated_loss", "test", 1, "head1"] < 0.01
    assert found["ablated_accuracy", "test", 1, "head0"] < 0.4
    assert found["ablated_loss", "test", 1, "head0"] == pytest.approx(np.log(SYMBOLS), rel=1e-3)


def test_two_heads_that_do_the_same_replace_each_other() -> None:
    found = values(list(head_ablation(subject(looking(3, 3)))))
    assert [found["ablated_accuracy", "test", 1, f"head{head}"] for head in range(2)] == [1.0, 1.0]


def test_ablation_leaves_the_weights_as_they_are() -> None:
    made = looking(3, 1)
    before = {name: weight.clone() for name, weight in made[1].items()}
    list(head_ablation(subject(made)))
    assert all(torch.equal(weight, before[name]) for name, weight in made[1].items())
