"""Beginnings of sequences, each once: which there are, where they are found, and that a model says the same of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decoder import VARIANTS, VOCABULARY, rows
from torch import Tensor

from grokstudy.trainables.config import Model
from grokstudy.trainables.models.decoder import Transformer
from grokstudy.trainables.models.members import keep_members
from grokstudy.trainables.models.prefixes import Prefixes
from grokstudy.trainables.probes.base import states_of
from grokstudy.trainables.tasks.graph import chain_shape


def test_three_chains_by_hand() -> None:
    tokens = torch.tensor([[[5, 1, 2], [5, 1, 3], [4, 1, 9]]])
    prefixes = Prefixes.of(tokens, torch.tensor([[2, 2, 1]]))
    assert prefixes.token_MR[0, :6].tolist() == [4, 5, 1, 1, 2, 3]  # 4, 5; 4 1, 5 1; 5 1 2, 5 1 3
    assert prefixes.place_MR[0, :6].tolist() == [0, 0, 1, 1, 2, 2]
    assert prefixes.count == prefixes.most
    assert prefixes.before_MRT[0, 5].tolist() == [1, 3, 5]
    assert prefixes.rows(tokens)[0, :2].tolist() == [[1, 3, 4], [1, 3, 5]]
    assert prefixes.rows(tokens[:, :, :2])[0].tolist() == [[1, 3], [1, 3], [0, 2]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=12), st.data())
def test_each_row_spells_its_sequence_and_none_is_there_twice(chains: list[list[int]], data: st.DataObject) -> None:
    last = [data.draw(st.integers(0, 2)) for _ in chains]
    tokens = torch.tensor([chains, chains[::-1]])
    prefixes = Prefixes.of(tokens, torch.tensor([last, last]))
    for m, sequences in enumerate((chains, chains[::-1])):
        read = {tuple(chain[: t + 1]) for chain, end in zip(sequences, last, strict=True) for t in range(end + 1)}
        spelled = [
            tuple(prefixes.token_MR[m, before[: place + 1]].tolist())
            for before, place in zip(prefixes.before_MRT[m].tolist(), prefixes.place_MR[m].tolist(), strict=True)
        ][: len(read)]
        assert set(spelled) == read
        assert len(spelled) == len(read)
        found = prefixes.rows(tokens)[m]
        for s, (chain, end) in enumerate(zip(sequences, last, strict=True)):
            for t in range(end + 1):
                assert spelled[found[s, t]] == tuple(chain[: t + 1])


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_a_model_says_the_same_of_beginnings_as_of_whole_sequences(options: Model) -> None:
    model = Transformer(options, chain_shape(VOCABULARY, VOCABULARY))
    weights, tokens, at = _several(model)
    prefixes = Prefixes.of(tokens, at.amax(dim=2))
    row_MST = prefixes.rows(tokens)
    wanted = model.answer_logits(weights, tokens, at)
    found = model.answers_of_prefixes(weights, prefixes, row_MST.gather(2, at))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)

    states = states_of(model, weights, tokens)
    read = torch.arange(3) <= at.amax(dim=2)[..., None]
    for own_MRD, wanted_MSTD in zip(model.states_of_prefixes(weights, prefixes, model.depth), states, strict=True):
        found_MSTD = own_MRD.take_along_dim(row_MST.flatten(1)[..., None], dim=1).view(wanted_MSTD.shape)
        torch.testing.assert_close(found_MSTD[read], wanted_MSTD[read], rtol=1e-4, atol=1e-5)


def test_a_member_that_stays_keeps_its_own_beginnings() -> None:
    model = Transformer(VARIANTS["default"], chain_shape(VOCABULARY, VOCABULARY))
    weights, tokens, at = _several(model)
    prefixes = Prefixes.of(tokens, at.amax(dim=2))
    second = keep_members(prefixes, torch.tensor([1]))
    weights = {name: weight[1:] for name, weight in weights.items()}
    found = model.answers_of_prefixes(weights, second, second.rows(tokens[1:]).gather(2, at[1:]))
    torch.testing.assert_close(found, model.answer_logits(weights, tokens[1:], at[1:]), rtol=1e-4, atol=1e-5)


def test_a_run_is_measured_alike_in_a_pack_whose_other_member_has_more_beginnings() -> None:
    model = Transformer(VARIANTS["default"], chain_shape(VOCABULARY, VOCABULARY))
    weights = model.unpack(rows(model, [0, 1]))
    random = torch.Generator().manual_seed(4)
    few, many = (torch.randint(high, (1, 1000, 3), generator=random) for high in (5, VOCABULARY))
    at = torch.full((1, 1000, 1), 2)

    def answers(weights: dict[str, Tensor], tokens: Tensor, at: Tensor) -> Tensor:
        prefixes = Prefixes.of(tokens, at[..., 0])
        return model.answers_of_prefixes(weights, prefixes, prefixes.rows(tokens).gather(2, at))

    together = answers(weights, torch.cat([few, many]), torch.cat([at, at]))
    alone = answers({name: weight[:1] for name, weight in weights.items()}, few, at)
    assert Prefixes.of(few, at[..., 0]).count < Prefixes.of(many, at[..., 0]).count
    assert torch.equal(together[:1], alone)


def test_rotated_places_and_channels_are_not_taken() -> None:
    shape = chain_shape(VOCABULARY, VOCABULARY)
    tokens = torch.zeros(1, 2, 3, dtype=torch.int64)
    assert Transformer(VARIANTS["default"], shape).takes_prefixes(tokens)
    assert not Transformer(VARIANTS["default"], shape).takes_prefixes(tokens[..., None])
    for positions in ("rope", "learned_offset"):
        assert not Transformer(Model(width=16, heads=2, positions=positions), shape).takes_prefixes(tokens)


def _several(model: Transformer) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Weights of two members, chains that begin alike, and two answers each."""
    random = torch.Generator().manual_seed(3)
    tokens = torch.randint(4, (2, 40, 3), generator=random)
    at = torch.randint(3, (2, 40, 2), generator=random)
    return model.unpack(rows(model, [0, 1])), tokens, at
