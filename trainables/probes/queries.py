"""What the probes look at, drawn once per pack: two-hop queries, and for each what it is compared with.

For a query (h, r1, r2) with bridge b and answer t:
- corrupted, one for each place: the token there replaced by one of the same type for which the changed query is a
  real chain with another answer (arXiv 2405.15071 section 3.2);
- context: another chain (h', r1', r2) of two in-distribution facts, with the same r2, another bridge and answer;
- onward: a context likewise for (h, r1, r2*), where (b, r2*) is an in-distribution fact and r2* is not r2;
- facts: in- and out-of-distribution atomic facts (h', r') -> b that lead to the same bridges.

Everything comes from the seed's streams `probe/...`: it is the same in a pack as alone, and a query keeps its
partners when more examples are asked for.

Axes: M member, S query (the splits side by side), T token, P changed place, F fact, G group of facts (one bridge).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grokstudy.trainables.models.members import stacked
from grokstudy.trainables.models.prefixes import Prefixes
from grokstudy.trainables.probes.lookup import Lookup, pick
from grokstudy.trainables.probes.partners import PARTNERED, PartnerDraw, Partners
from grokstudy.trainables.randomness import IntArray, Stream
from grokstudy.trainables.tasks.graph import Examples, GraphData

TWO_HOP_SPLITS = ("train_ii", "test_ii", "test_io", "test_oi", "test_oo", "new_old", "old_new", "new_new")
MAX_GROUPS = 256
"""Largest number of bridges whose facts are compared."""
ID_FACTS, OOD_FACTS = 4, 2
"""Largest number of facts of each kind per bridge."""

Columns = dict[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Queries:
    """The queries of a pack, padded to the longest split of its members."""

    splits: tuple[str, ...]
    split_S: Tensor
    """Index into `splits` of each column."""
    real_MS: Tensor
    """False where padded."""
    tokens_MST: Tensor
    answer_MS: Tensor
    bridge_MS: Tensor
    corrupted_MSPT: Tensor
    corrupted_answer_MSP: Tensor
    """-1 where no replacement exists."""
    context_MST: Tensor
    context_answer_MS: Tensor
    """-1 where no context exists."""
    onward_MST: Tensor
    onward_answer_MS: Tensor
    """Answer of (h, r1, r2*), -1 where no such context exists."""
    group_MS: Tensor
    """Group of the query's bridge, -1 if it has none."""
    own_fact_MS: Tensor
    """Row of the query's first hop among the facts, -1 if it is not there."""
    fact_MFT: Tensor
    fact_group_MF: Tensor
    """-1 where padded."""
    fact_ood_MF: Tensor
    groups: int
    """G, the same for all members."""
    prefixes: Prefixes
    """What all of these sequences, and the partners', begin with."""
    partners: Partners | None = None
    """Untrained chains to exchange states with; None where no probe asks for them."""

    @classmethod
    def build(
        cls,
        data: list[GraphData],
        seeds: list[int],
        cap: int,
        device: torch.device,
        probes: Collection[str] = PARTNERED,
    ) -> Queries:
        """Draw the queries of every member, at most `cap` per split, and what these probes need beside them."""
        splits = tuple(name for name in TWO_HOP_SPLITS if name in data[0].splits)
        cut = [{name: d.splits[name].take(slice(cap)) for name in splits} for d in data]
        members = [_member(d, seed, q) for d, seed, q in zip(data, seeds, cut, strict=True)]
        queries, facts = [m[0] for m in members], [m[1] for m in members]
        tensors = _side_by_side(queries, splits)
        tensors |= {column: stacked((f[column] for f in facts), -1) for column in facts[0]}
        tensors = {column: tensor.to(device) for column, tensor in tensors.items()}
        partners = None
        if not set(probes).isdisjoint(PARTNERED):
            draws = [PartnerDraw(d, seed) for d, seed in zip(data, seeds, strict=True)]
            drawn = [{name: draw.columns(q, name) for name, q in c.items()} for draw, c in zip(draws, cut, strict=True)]
            partners = Partners.of({name: x.to(device) for name, x in _side_by_side(drawn, splits).items()})
        widths = torch.tensor([max(len(q[name]["answer"]) for q in queries) for name in splits])
        sequences = [tensors[name].clamp(min=0) for name in ("tokens", "corrupted", "context", "onward", "fact")]
        if partners is not None:
            sequences += [getattr(partners, f"{name}_MSNT") for name in ("writing", "donor", "reading", "swap")]
        return cls(
            prefixes=_prefixes(sequences),
            splits=splits, split_S=torch.arange(len(splits)).repeat_interleave(widths).to(device),
            real_MS=tensors["answer"] >= 0, groups=max(int(f["fact_group"].max(initial=-1)) + 1 for f in facts),
            tokens_MST=tensors["tokens"].clamp(min=0), answer_MS=tensors["answer"], bridge_MS=tensors["bridge"],
            corrupted_MSPT=tensors["corrupted"].clamp(min=0), corrupted_answer_MSP=tensors["corrupted_answer"],
            context_MST=tensors["context"].clamp(min=0), context_answer_MS=tensors["context_answer"],
            onward_MST=tensors["onward"].clamp(min=0), onward_answer_MS=tensors["onward_answer"],
            group_MS=tensors["group"], own_fact_MS=tensors["own_fact"], fact_MFT=tensors["fact"].clamp(min=0),
            fact_group_MF=tensors["fact_group"], fact_ood_MF=tensors["fact_ood"] == 1, partners=partners,
        )  # fmt: skip


def _prefixes(sequences: Sequence[Tensor]) -> Prefixes:
    """The beginnings of all sequences (M, x, T), of different lengths T."""
    rows = [x.flatten(1, -2) for x in sequences]
    longest = max(x.shape[2] for x in rows)
    last = [torch.full_like(x[:, :, 0], x.shape[2] - 1) for x in rows]
    padded = [torch.nn.functional.pad(x, (0, longest - x.shape[2])) for x in rows]
    return Prefixes.of(torch.cat(padded, dim=1), torch.cat(last, dim=1))


def _side_by_side(members: Sequence[Mapping[str, Columns]], splits: Sequence[str]) -> dict[str, Tensor]:
    """Each column of all members (M, S, x), the splits beside each other, padded with -1."""
    return {
        column: torch.cat([stacked((m[name][column] for m in members), -1) for name in splits], dim=1)
        for column in members[0][splits[0]]
    }


def _member(data: GraphData, seed: int, queries: dict[str, Examples]) -> tuple[dict[str, Columns], Columns]:
    """Columns of each split, and columns of the facts."""
    lookup = Lookup(data)
    chosen = _facts(lookup, np.concatenate([q.bridge for q in queries.values()]), seed)
    group_of = np.full(data.entities, -1, np.int64)
    bridges = np.unique(data.graph.tail[chosen])
    group_of[bridges] = np.arange(len(bridges))
    row_of = np.full(len(data.graph.head), -1, np.int64)
    row_of[chosen] = np.arange(len(chosen))
    columns = {
        name: {
            "tokens": q.tokens, "answer": q.answer, "bridge": q.bridge, "group": group_of[q.bridge],
            "own_fact": row_of[lookup.fact(q.tokens[:, 0], q.tokens[:, 1] - data.entities)],
            **_corrupted(lookup, q, seed, name), **_onward(lookup, q, seed, name),
            **dict(zip(("context", "context_answer"), _contexts(lookup, q, seed, f"{name}/context"), strict=True)),
        }
        for name, q in queries.items()
    }  # fmt: skip
    facts = data.graph.atomic(chosen)
    ood = data.graph.ood[chosen].astype(np.int64)
    return columns, {"fact": facts.tokens, "fact_group": group_of[facts.answer], "fact_ood": ood}


def _facts(lookup: Lookup, bridges: IntArray, seed: int) -> IntArray:
    """Facts whose tail is a bridge with at least two in-distribution facts, a few of each kind per bridge."""
    graph = lookup.graph
    order = Stream(seed, "probe/facts").permutation(len(graph.tail))
    kind = 2 * graph.tail + graph.ood
    order = order[np.argsort(kind[order], kind="stable")]
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order)) - np.searchsorted(kind[order], kind[order], side="left")
    incoming = np.bincount(graph.tail[~graph.ood], minlength=lookup.entities)
    entities = Stream(seed, "probe/entities").permutation(lookup.entities)
    chosen = entities[np.isin(entities, bridges) & (incoming[entities] >= 2)][:MAX_GROUPS]
    limit = np.where(graph.ood, OOD_FACTS, ID_FACTS)
    return np.flatnonzero((rank < limit) & np.isin(graph.tail, chosen))


def _corrupted(lookup: Lookup, queries: Examples, seed: int, name: str) -> Columns:
    """For each place the query with another token there, and its answer."""
    heads, relations = np.arange(lookup.entities)[None], np.arange(lookup.relations)[None]
    h, r1, r2 = queries.tokens.T[:, :, None] - np.array([0, lookup.entities, lookup.entities])[:, None, None]
    answers = (
        lookup.tail(lookup.tail(heads, r1), r2),
        lookup.tail(lookup.tail(h, relations), r2),
        lookup.tail(queries.bridge[:, None], relations),
    )
    tokens = np.repeat(queries.tokens[:, None], 3, axis=1)
    changed = np.full((len(queries), 3), -1, np.int64)
    for place, answer_SC in enumerate(answers):
        valid_SC = (answer_SC >= 0) & (answer_SC != queries.answer[:, None])
        rows, choice = pick(valid_SC, Stream(seed, f"probe/{name}/corrupted/{place}"))
        tokens[rows, place, place] = choice + (lookup.entities if place else 0)
        changed[rows, place] = answer_SC[rows, choice]
    return {"corrupted": tokens, "corrupted_answer": changed}


def _contexts(lookup: Lookup, queries: Examples, seed: int, name: str) -> tuple[IntArray, IntArray]:
    """For each query another in-distribution chain that ends in the same relation, and its answer, -1 for none."""
    graph = lookup.graph
    first = np.flatnonzero(~graph.ood)
    bridge_1F = graph.tail[first][None]
    second_SF = lookup.fact(bridge_1F, queries.tokens[:, 2:] - lookup.entities)
    answer_SF = graph.tail[second_SF]
    known_SF = (second_SF >= 0) & ~graph.ood[second_SF]
    other_SF = (bridge_1F != queries.bridge[:, None]) & (answer_SF != queries.answer[:, None])
    rows, choice = pick(known_SF & other_SF, Stream(seed, f"probe/{name}"))
    tokens, answer = queries.tokens.copy(), np.full(len(queries), -1, np.int64)
    tokens[rows, 0] = graph.head[first[choice]]
    tokens[rows, 1] = lookup.entities + graph.relation[first[choice]]
    answer[rows] = answer_SF[rows, choice]
    return tokens, answer


def _onward(lookup: Lookup, queries: Examples, seed: int, name: str) -> Columns:
    """For each query the context of another, in-distribution, second hop from its bridge, and that hop's answer."""
    relations = np.arange(lookup.relations)[None]
    fact_SR = lookup.fact(queries.bridge[:, None], relations)
    other_SR = relations != queries.tokens[:, 2:] - lookup.entities
    valid_SR = (fact_SR >= 0) & ~lookup.graph.ood[fact_SR] & other_SR
    rows, choice = pick(valid_SR, Stream(seed, f"probe/{name}/onward"))
    tokens, answer = queries.tokens.copy(), np.full(len(queries), -1, np.int64)
    tokens[rows, 2] = lookup.entities + choice
    answer[rows] = lookup.graph.tail[fact_SR[rows, choice]]
    onward = Examples(tokens, queries.answer_at, answer, queries.bridge)
    context, context_answer = _contexts(lookup, onward, seed, f"{name}/onward_context")
    return {"onward": context, "onward_answer": np.where(context_answer >= 0, answer, -1)}
