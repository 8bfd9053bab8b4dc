"""What the decoder has for sequences: long attention, positions, padding, several fields, real inputs and outputs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from grokstudy.trainables.config import Model
from grokstudy.trainables.models import decoder
from grokstudy.trainables.models.decoder import Transformer, causal_attention, fused_attention, rotated
from grokstudy.trainables.tasks.base import Batch, Shape
from grokstudy.trainables.training.batches import WithOffset
from grokstudy.trainables.training.losses import LOSSES
from grokstudy.trainables.words import choice, fresh

OPTIONS = Model(layers=2, loops=2, width=16, heads=2)
TOKENS = Shape(length=12, fields=(9,), classes=9, answers=3, places=30)
POSITIONS = ["learned", "learned_offset", "rope", "none"]


def noise(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def tokens(*size: int, seed: int = 0) -> Tensor:
    return torch.randint(9, size, generator=torch.Generator().manual_seed(seed))


def made(shape: Shape = TOKENS, members: int = 2, **changes: Any) -> tuple[Transformer, dict[str, Tensor]]:
    """A network of random weights, none of them small."""
    model = Transformer(dataclasses.replace(OPTIONS, **changes), shape)
    flat_MP = torch.stack([model.initial(seed) for seed in range(members)])
    return model, model.unpack(flat_MP + 0.3 * noise(*flat_MP.shape))


AT = torch.tensor([[[11, 4, 4], [0, 7, 10]]] * 2)
"""Three answers of two examples of two members, not in order, one of them asked twice."""


@pytest.mark.parametrize("positions", POSITIONS)
def test_fused_attention_is_the_written_one(positions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, weights = made(positions=positions)
    inputs = tokens(2, 2, 12)
    assert inputs.shape[2] > decoder.WRITTEN_OUT
    fused = model.answer_logits(weights, inputs, AT)
    states = model.residual(weights, inputs)
    one = model.answer_logits(weights, inputs, AT[..., 1])
    monkeypatch.setattr(decoder, "WRITTEN_OUT", 100)
    torch.testing.assert_close(fused, model.answer_logits(weights, inputs, AT), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(states, model.residual(weights, inputs), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one, fused[:, :, 1], rtol=1e-4, atol=1e-5)


def test_attention_itself_at_every_place_and_at_some() -> None:
    q, k, v = (noise(4, 11, 2, 8, seed=seed) for seed in range(3))
    every = torch.arange(11).expand(4, -1)
    written = causal_attention(q, k, v, every)
    torch.testing.assert_close(fused_attention(q, k, v, None), written)
    some = torch.tensor([[10, 3], [0, 0], [5, 9], [2, 7]])
    own = q.take_along_dim(some[:, :, None, None], dim=1)
    wanted = written.take_along_dim(some[:, :, None, None], dim=1)
    torch.testing.assert_close(fused_attention(own, k, v, some), wanted)
    torch.testing.assert_close(causal_attention(own, k, v, some), wanted)


@pytest.mark.parametrize("positions", POSITIONS)
def test_answers_at_several_places_are_the_states_there(positions: str) -> None:
    model, weights = made(positions=positions)
    inputs = tokens(2, 2, 12)
    everywhere = model.unembed(weights, model.residual(weights, inputs))
    wanted = everywhere.take_along_dim(AT[..., None], dim=2)
    torch.testing.assert_close(model.answer_logits(weights, inputs, AT), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("positions", POSITIONS)
def test_patterns_are_what_the_answers_attend_to(positions: str) -> None:
    """Shares that add up to one, none for a later place; and a first block's output made of them is its output."""
    model, weights = made(positions=positions)
    inputs = tokens(2, 2, 12)
    patterns = model.patterns(weights, inputs, AT)
    assert len(patterns) == model.depth
    for pattern in patterns:
        assert pattern.shape == (2, 2, 2, 3, 12)
        torch.testing.assert_close(pattern.sum(-1), torch.ones(2, 2, 2, 3))
        later = torch.arange(12) > AT[..., None]
        assert pattern.masked_select(later[:, :, None]).abs().max() == 0
    normed = model._norm(weights, "0.norm1", model._embed(weights, inputs))
    value = model._heads(weights, "0", normed)[2].view(2, 2, 12, 2, 8)
    mixed = torch.einsum("mbhat,mbthk->mbahk", patterns[0], value).flatten(3)
    wanted = model._attention(weights, "0", normed, AT, 0)
    torch.testing.assert_close(torch.einsum("mbad,mde->mbae", mixed, weights["0.out"]), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("places", [5, 12])
def test_what_is_behind_an_answer_changes_nothing(positions: str, places: int) -> None:
    """As written out as fused, and when padding takes an example from one to the other."""
    model, weights = made(positions=positions)
    inputs, at = tokens(2, 2, places), torch.tensor([[[places - 1, 2, 0]] * 2] * 2)
    padded = torch.cat([inputs, torch.full((2, 2, 7), 8)], dim=2)
    alone = model.answer_logits(weights, inputs, at)
    torch.testing.assert_close(model.answer_logits(weights, padded, at), alone, rtol=1e-4, atol=1e-5)


def test_rotary_scores_depend_on_distances_alone() -> None:
    q, k = noise(1, 40, 2, 8), noise(1, 40, 2, 8, seed=1)

    def scores(shift: int) -> Tensor:
        def moved(x: Tensor) -> Tensor:
            whole = torch.zeros(1, 40 + shift, 2, 8)
            whole[:, shift:] = x
            return rotated(whole, 100.0)[:, shift:]

        return torch.einsum("nthk,nshk->nhts", moved(q), moved(k))

    torch.testing.assert_close(scores(0), scores(17), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rotated(q, 100.0).norm(dim=-1), q.norm(dim=-1))
    unturned = torch.einsum("nthk,nshk->nhts", q, k)
    assert not torch.allclose(scores(0), unturned, atol=0.1)


def test_rotary_attention_of_equal_tokens_shifts_with_them() -> None:
    """Over the places that both have, the pattern is the same once softmax sees only them."""
    model, weights = made(positions="rope", layers=1, loops=1)
    inner = tokens(2, 1, 6)
    inputs = torch.cat([tokens(2, 1, 5, seed=1), inner], dim=2)
    far = model.patterns(weights, inputs, torch.tensor([[[10]]] * 2))[0][..., 5:11]
    near = model.patterns(weights, inner, torch.tensor([[[5]]] * 2))[0]
    torch.testing.assert_close(far / far.sum(-1, keepdim=True), near, rtol=1e-4, atol=1e-5)


class Fixed:
    """A source of one set of tokens."""

    def __init__(self, inputs: Tensor) -> None:
        self.inputs = inputs

    def __call__(self, word_MB: Tensor) -> Batch:
        first = self.inputs[..., :1]
        return Batch(self.inputs, torch.zeros_like(first), first)

    def tables(self) -> list[Tensor]:
        return []

    def keep(self, rows: Tensor) -> None:
        self.inputs = self.inputs[rows]


def test_a_drawn_offset_is_where_the_places_begin() -> None:
    model, weights = made(positions="learned_offset")
    inputs, word = tokens(2, 2, 12), fresh(torch.tensor([[5], [6]]), torch.arange(2))
    batch = WithOffset(Fixed(inputs), 12, 30)(word)
    assert torch.equal(batch.inputs_MBx[..., 0], inputs)
    begin = batch.inputs_MBx[:, :, 0, 1]
    assert len(set(begin.flatten().tolist())) > 1
    embedded = model._embed(weights, batch.inputs_MBx)
    for m in range(2):
        for b in range(2):
            own = weights["position"][m, begin[m, b] : begin[m, b] + 12]
            torch.testing.assert_close(embedded[m, b], weights["embed"][m, inputs[m, b]] + own)
    plain = model._embed(weights, inputs)
    torch.testing.assert_close(
        plain, model._embed(weights, torch.stack([inputs, torch.arange(12).expand_as(inputs)], 3))
    )


def test_offsets_are_all_that_fit_and_no_other() -> None:
    word = fresh(torch.tensor([[3]]), torch.arange(2000))
    batch = WithOffset(Fixed(tokens(1, 1, 12).expand(1, 2000, 12)), 12, 30)(word)
    place = batch.inputs_MBx[..., 1]
    assert set(place[..., 0].flatten().tolist()) == set(range(19))
    assert int(place.max()) == 29
    assert (place.diff(dim=2) == 1).all()
    assert not torch.equal(place[..., 0], choice(word, 19)), "an offset's word is not the example's own"


@pytest.mark.parametrize("positions", ["learned", "none"])
def test_several_integer_fields_of_a_place_add_up(positions: str) -> None:
    shape = Shape(length=4, fields=(5, 3, 2), classes=7)
    model, weights = made(shape, positions=positions)
    inputs = torch.stack([torch.randint(size, (2, 3, 4)) for size in shape.fields], dim=3)
    embedded = model._embed(weights, inputs)
    table = weights["embed"]
    assert table.shape[1] == 10
    for m in range(2):
        own = table[m, inputs[m, ..., 0]] + table[m, 5 + inputs[m, ..., 1]] + table[m, 8 + inputs[m, ..., 2]]
        torch.testing.assert_close(embedded[m], own + (weights["position"][m] if positions == "learned" else 0))
    assert "unembed" in weights, "outputs are not the tokens of the inputs, so the unembedding is its own"


def test_offsets_go_with_several_fields() -> None:
    shape = Shape(length=4, fields=(5, 3), classes=7, places=9)
    model, weights = made(shape, positions="learned_offset")
    inputs = torch.stack([torch.randint(size, (2, 3, 4)) for size in shape.fields], dim=3)
    moved = torch.cat([inputs, (torch.arange(4) + 5).expand(2, 3, 4)[..., None]], dim=3)
    difference = model._embed(weights, moved) - model._embed(weights, inputs)
    wanted = weights["position"][:, None, 5:9] - weights["position"][:, None, :4]
    torch.testing.assert_close(difference, wanted.expand_as(difference))


def test_real_inputs_go_through_one_linear_map_and_real_outputs_come_out() -> None:
    shape = Shape(length=12, reals=3, outputs=2, answers=2)
    model, weights = made(shape, positions="learned", bias=True, norm="layernorm")
    inputs, at = noise(2, 4, 12, 3), torch.tensor([[[11, 3]] * 4] * 2)
    embedded = model._embed(weights, inputs)
    wanted = inputs @ weights["input"][:, None] + weights["input.bias"][:, None, None] + weights["position"][:, None]
    torch.testing.assert_close(embedded, wanted)
    output = model.answer_logits(weights, inputs, at)
    assert output.shape == (2, 4, 2, 2)
    batch = Batch(inputs, at, target := noise(2, 4, 2, 2, seed=3), torch.tensor([[[1.0, 0.0]] * 4] * 2))
    half = 0.5 * (output - target).square().sum(-1)[:, :, 0].mean(dim=1)
    torch.testing.assert_close(LOSSES["answer"](model, weights, batch), half)


def test_weights_say_how_much_an_answer_counts_and_nothing_of_one_that_is_not_there() -> None:
    model, weights = made()
    inputs = tokens(2, 2, 12)
    target = inputs.gather(2, AT)
    weight = torch.tensor([[[2.0, 1.0, 0.0], [1.0, 0.0, 0.0]]] * 2)
    other = target.where(weight > 0, (target + 1) % 9)
    losses = [LOSSES["answer"](model, weights, Batch(inputs, AT, t, weight)) for t in (target, other)]
    assert torch.equal(*losses)
    surprise = -model.answer_logits(weights, inputs, AT).log_softmax(-1).gather(3, target[..., None])[..., 0]
    torch.testing.assert_close(losses[0], (surprise * weight).sum((1, 2)) / 4)
