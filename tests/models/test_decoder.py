"""The transformer: causality, sharing, members that do not see each other, equality with plain torch modules."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grokstudy.trainables.config import Model
from grokstudy.trainables.models import parameter_count
from grokstudy.trainables.models.decoder import Transformer
from grokstudy.trainables.models.network import IGNORED, at_position
from grokstudy.trainables.tasks.base import Batch
from grokstudy.trainables.tasks.graph import chain_shape
from grokstudy.trainables.training.losses import LOSSES

VOCABULARY = 13
SHAPE = chain_shape(VOCABULARY, VOCABULARY)
VARIANTS = {
    "default": Model(width=16, heads=2),
    "untied": Model(width=16, heads=2, layers=3, loops=1, tied=False),
    "gpt2": Model(width=16, heads=2, norm="layernorm", bias=True, init="gpt2"),
    "post_norm": Model(width=16, heads=2, norm_place="post", activation="relu"),
    "injected": Model(width=16, heads=2, layers=1, loops=3, input_injection=True, positions="none"),
}


@pytest.fixture(params=VARIANTS)
def options(request: pytest.FixtureRequest) -> Model:
    return VARIANTS[request.param]


def tokens(members: int, batch: int = 5) -> Tensor:
    return torch.randint(VOCABULARY, (members, batch, 3), generator=torch.Generator().manual_seed(0))


def rows(model: Transformer, seeds: list[int]) -> Tensor:
    flat_MP = torch.stack([model.initial(seed) for seed in seeds])
    noise = torch.randn(flat_MP.shape, generator=torch.Generator().manual_seed(1))
    return flat_MP + 0.1 * noise


def test_no_position_sees_a_later_token(options: Model) -> None:
    model = Transformer(options, SHAPE)
    weights = model.unpack(rows(model, [0]))
    before = tokens(1)
    after = before.clone()
    after[:, :, 2] = (after[:, :, 2] + 1) % VOCABULARY
    first, second = model.residual(weights, before), model.residual(weights, after)
    torch.testing.assert_close(first[:, :, :2], second[:, :, :2])
    assert not torch.allclose(first[:, :, 2], second[:, :, 2])


def test_members_of_a_pack_are_independent(options: Model) -> None:
    model = Transformer(options, SHAPE)
    flat_MP, inputs = rows(model, [0, 1, 2]), tokens(3)
    together = model.residual(model.unpack(flat_MP), inputs)
    for member in range(3):
        alone = model.residual(model.unpack(flat_MP[member : member + 1]), inputs[member : member + 1])
        torch.testing.assert_close(together[member], alone[0])


def test_edit_sees_every_depth_and_what_it_returns_is_used(options: Model) -> None:
    model = Transformer(options, SHAPE)
    weights = model.unpack(rows(model, [0]))
    seen: list[int] = []

    def blank_last(depth: int, resid: Tensor) -> Tensor:
        seen.append(depth)
        return torch.zeros_like(resid) if depth == model.depth else resid

    assert torch.count_nonzero(model.residual(weights, tokens(1), blank_last)) == 0
    assert seen == list(range(options.layers * options.loops + 1))


def test_parameter_count_is_the_length_of_a_row(options: Model) -> None:
    model = Transformer(options, SHAPE)
    assert len(model.initial(0)) == parameter_count(options, SHAPE) == len(model.matrix_mask())


def test_shared_blocks_cost_no_parameters() -> None:
    looped = Model(layers=2, loops=4)
    once = dataclasses.replace(looped, loops=1)
    assert parameter_count(looped, SHAPE) == parameter_count(once, SHAPE)


def test_equals_a_decoder_written_with_torch_modules() -> None:
    options = Model(width=16, heads=2, layers=2, loops=1, norm="layernorm", bias=True)
    model = Transformer(options, SHAPE)
    flat_MP = rows(model, [3])
    weights = {name: value[0] for name, value in model.unpack(flat_MP).items()}
    inputs = tokens(1)
    resid = weights["embed"][inputs[0]] + weights["position"]
    for block in ("0", "1"):
        resid = resid + _reference_attention(weights, block, _reference_norm(weights, f"{block}.norm1", resid))
        normed = _reference_norm(weights, f"{block}.norm2", resid)
        hidden = normed @ weights[f"{block}.up"] + weights[f"{block}.up.bias"]
        resid = resid + F.gelu(hidden) @ weights[f"{block}.down"] + weights[f"{block}.down.bias"]
    torch.testing.assert_close(model.residual(model.unpack(flat_MP), inputs)[0], resid, rtol=1e-4, atol=1e-5)


def _reference_norm(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], weights[name], weights[f"{name}.bias"])


def _reference_attention(weights: dict[str, Tensor], block: str, x: Tensor) -> Tensor:
    attention = nn.MultiheadAttention(16, 2, batch_first=True)
    with torch.no_grad():
        attention.in_proj_weight.copy_(weights[f"{block}.qkv"].T)
        attention.in_proj_bias.copy_(weights[f"{block}.qkv.bias"])
        attention.out_proj.weight.copy_(weights[f"{block}.out"].T)
        attention.out_proj.bias.copy_(weights[f"{block}.out.bias"])
        future = torch.ones(3, 3, dtype=torch.bool).triu(1)
        result: Tensor = attention(x, x, x, attn_mask=future, need_weights=False)[0]
    return result


def test_losses_against_hand_counted_targets() -> None:
    batch = Batch(
        torch.tensor([[[4, 7, 8], [5, 9, 12]]]), torch.tensor([[2, 1]])[..., None], torch.tensor([[1, 3]])[..., None]
    )
    model = Transformer(Model(width=16, heads=2), SHAPE)
    targets = model.targets(batch.inputs_MBx, batch.at_MBA[..., 0], batch.target_MBAx[..., 0])
    assert targets.tolist() == [[[7, 8, 1], [9, 3, IGNORED]]]
    weights = model.unpack(rows(model, [0]))
    logits = model.unembed(weights, model.residual(weights, batch.inputs_MBx))[0].log_softmax(-1)
    answer = -(logits[0, 2, 1] + logits[1, 1, 3]) / 2
    every = -(logits[0, 0, 7] + logits[0, 1, 8] + logits[0, 2, 1] + logits[1, 0, 9] + logits[1, 1, 3]) / 5
    torch.testing.assert_close(LOSSES["answer"](model, weights, batch)[0], answer)
    torch.testing.assert_close(LOSSES["all_tokens"](model, weights, batch)[0], every)


def test_at_position_picks_one_state_per_example() -> None:
    resid = torch.arange(12.0).view(1, 2, 3, 2)
    assert at_position(resid, torch.tensor([[2, 0]])).tolist() == [[[4.0, 5.0], [6.0, 7.0]]]


def test_trimmed_last_block_gives_the_same_answer(options: Model) -> None:
    model = Transformer(options, SHAPE)
    weights, inputs, at = model.unpack(rows(model, [0, 1])), tokens(2), torch.tensor([[2, 1, 0, 2, 1]] * 2)
    full = model.answer_logits(weights, inputs, at, lambda _, resid: resid)
    torch.testing.assert_close(model.answer_logits(weights, inputs, at), full)


@pytest.mark.parametrize("members", [1, 2])
def test_a_first_place_computed_once_per_token_changes_no_answer_and_no_gradient(
    options: Model, members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Transformer(options, SHAPE)
    flat_MP, inputs = rows(model, [0, 1][:members]).requires_grad_(), tokens(members, 2 * VOCABULARY)
    at_MBA = torch.arange(2 * VOCABULARY).remainder(3).expand(members, -1)[..., None]
    pays = []

    def answered() -> tuple[Tensor, Tensor]:
        pays.append(model._first_once_pays(inputs))
        output = model.answer_logits(model.unpack(flat_MP), inputs, at_MBA)
        mark = torch.randn(output.shape, generator=torch.Generator().manual_seed(2))
        return output.detach(), torch.autograd.grad((output * mark).sum(), flat_MP)[0]

    launched = answered()
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(answered(), launched, rtol=1e-4, atol=1e-5)
    one = model.answer_logits(model.unpack(flat_MP), inputs, at_MBA[..., 0])
    torch.testing.assert_close(one, launched[0][:, :, 0], rtol=1e-4, atol=1e-5)
    assert pays == [False, True]


@pytest.mark.parametrize(
    ("options", "batch", "length"),
    [(Model(width=16, heads=2, positions="rope"), 26, 3), (VARIANTS["default"], 25, 3), (VARIANTS["default"], 26, 1)],
)
def test_it_is_left_where_places_turn_or_few_examples_share_one(
    options: Model, batch: int, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    model = Transformer(options, SHAPE)
    assert not model._first_once_pays(tokens(1, batch)[..., :length])
    assert not model._first_once_pays(tokens(1, 26).to("meta"))
