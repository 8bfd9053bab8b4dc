"""Whom `capacity` and `mediation` exchange states with: chains that were never trained in the run.

For a query (h, r1, r2) with bridge b and answer t, up to N = 4 of each:
- writing: r2* of an in-distribution fact (b, r2*) -> t*, r2* not r2, such that (h, r1, r2*) was not trained; and a
  receiver (h', r1', r2*), a chain of two in-distribution facts with another bridge and another answer than t*.
- reading: a donor (h", r1"), another in-distribution fact that leads to b, such that (h", r1", r2) was not trained;
  and a receiver (h', r1', r2) as above, with another answer than t.
- swap: a donor chain (h_d, r1_d, r2), of the query's own class of facts in both hops, with another bridge and answer,
  that was not trained.
Each has, to compare with, another tail of the same relation: what an exchange without content would give as often.

The partner's own half is always in-distribution: where it was not, one number would measure two hops. What was trained
is `GraphData.composed`. Partners come from the seed's streams `probe/...`: they are the same in a pack as alone, and a
query keeps its own when more examples are asked for.

Axes: M member, S query, N partner, T token, F fact, R relation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from grokstudy.trainables.probes.lookup import Bools, Lookup, pick, pick_several
from grokstudy.trainables.randomness import IntArray, Stream
from grokstudy.trainables.tasks.graph import Examples, GraphData

PARTNERED = ("capacity", "mediation")
"""The probes that need partners."""
MOST = 4
"""N, how many partners of a kind a query has at most."""

Columns = dict[str, IntArray]


@dataclass(frozen=True)
class Partners:
    """The partners of a pack's queries. Where there is none its answer is -1."""

    writing_MSNT: Tensor
    """Receivers (h', r1', r2*)."""
    writing_answer_MSN: Tensor
    """t*."""
    writing_other_MSN: Tensor
    """Another tail of r2*, neither t* nor the receiver's own answer; -1 where there is none."""
    writing_choices_MS: Tensor
    """Number of untrained r2* that there are."""
    donor_MSNT: Tensor
    """Donors (h", r1", r2)."""
    reading_MSNT: Tensor
    """Receivers (h', r1', r2)."""
    reading_answer_MSN: Tensor
    """t."""
    reading_other_MSN: Tensor
    reading_choices_MS: Tensor
    """Number of untrained donors that there are."""
    swap_MSNT: Tensor
    """Donor chains (h_d, r1_d, r2)."""
    swap_answer_MSN: Tensor
    """Their answers."""
    swap_other_MSN: Tensor
    guessed_MS: Tensor
    """1 where t is the tail with which r2 was trained most often."""

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Partners:
        """From what `PartnerDraw.columns` gave, stacked."""
        tokens = {f"{name}_MSNT": tensors[name].clamp(min=0) for name in ("writing", "donor", "reading", "swap")}
        numbers = {
            f"{name}_{column}_MSN": tensors[f"{name}_{column}"]
            for name in ("writing", "reading", "swap")
            for column in ("answer", "other")
        }
        counts = {f"{name}_MS": tensors[name] for name in ("writing_choices", "reading_choices", "guessed")}
        return cls(**tokens, **numbers, **counts)


class PartnerDraw:
    """Draws the partners of one member's queries."""

    def __init__(self, data: GraphData, seed: int) -> None:
        """Index the facts and the chains that were trained."""
        self.graph, self.seed, self.lookup = data.graph, seed, Lookup(data)
        self.offset = np.array([0, data.entities, data.entities])
        self.known = np.flatnonzero(~data.graph.ood)
        self.trained = np.unique(self._key(*(data.composed.tokens - self.offset).T))
        self.guess_R = self._most_frequent_tail(data.composed)

    def columns(self, queries: Examples, name: str) -> Columns:
        """The partners of one split's queries, by column, (S, N) or (S, N, T)."""
        h, r1, r2 = (queries.tokens - self.offset).T
        graph = self.graph
        untrained_SF = ~self._was_trained(graph.head[None], graph.relation[None], r2[:, None])
        guessed = {"guessed": (self.guess_R[r2] == queries.answer).astype(np.int64)}
        return {
            **self._writing(queries, h, r1, r2, f"probe/{name}/writing"),
            **self._reading(queries, h, r1, r2, untrained_SF, f"probe/{name}/reading"),
            **self._swap(queries, h, r1, r2, untrained_SF, f"probe/{name}/swap"),
            **guessed,
        }

    def _writing(self, queries: Examples, h: IntArray, r1: IntArray, r2: IntArray, name: str) -> Columns:
        relation_1R = np.arange(self.graph.relations)[None]
        onward_SR = self.lookup.fact(queries.bridge[:, None], relation_1R)
        untrained_SR = ~self._was_trained(h[:, None], r1[:, None], relation_1R)
        valid_SR = (onward_SR >= 0) & ~self.graph.ood[onward_SR] & (relation_1R != r2[:, None]) & untrained_SR
        relation_SN = _again(pick_several(valid_SR, Stream(self.seed, name), MOST))
        answer_SN = self._tails(onward_SR, relation_SN)
        exchanged = self._receivers(queries.bridge, relation_SN, answer_SN, "writing", name)
        return {**exchanged, "writing_choices": valid_SR.sum(axis=1)}

    def _reading(
        self, queries: Examples, h: IntArray, r1: IntArray, r2: IntArray, untrained_SF: Bools, name: str
    ) -> Columns:
        graph, own = self.graph, self.lookup.fact(h, r1)
        same_SF = (graph.tail == queries.bridge[:, None]) & (np.arange(len(graph.tail)) != own[:, None])
        valid_SF = same_SF & ~graph.ood & untrained_SF
        donor_SN = _again(pick_several(valid_SF, Stream(self.seed, name), MOST))
        relation_SN = np.where(donor_SN >= 0, r2[:, None], -1)
        answer_SN = np.where(donor_SN >= 0, queries.answer[:, None], -1)
        exchanged = self._receivers(queries.bridge, relation_SN, answer_SN, "reading", name)
        return {**exchanged, "donor": self._chains(donor_SN, r2), "reading_choices": valid_SF.sum(axis=1)}

    def _swap(
        self, queries: Examples, h: IntArray, r1: IntArray, r2: IntArray, untrained_SF: Bools, name: str
    ) -> Columns:
        graph, own, answering = self.graph, self.lookup.fact(h, r1), self.lookup.fact(queries.bridge, r2)
        second_SF = self.lookup.fact(graph.tail[None], r2[:, None])
        alike_SF = (graph.ood == graph.ood[own][:, None]) & (graph.ood[second_SF] == graph.ood[answering][:, None])
        differs_SF = (graph.tail != queries.bridge[:, None]) & (graph.tail[second_SF] != queries.answer[:, None])
        valid_SF = (second_SF >= 0) & alike_SF & differs_SF & untrained_SF
        donor_SN = pick_several(valid_SF, Stream(self.seed, name), MOST)
        answer_SN = self._tails(second_SF, donor_SN)
        own_SN = np.repeat(queries.answer[:, None], MOST, axis=1)
        other_SN = self._others(np.where(donor_SN >= 0, r2[:, None], -1), answer_SN, own_SN, name)
        return {"swap": self._chains(donor_SN, r2), "swap_answer": answer_SN, "swap_other": other_SN}

    def _receivers(self, bridge: IntArray, relation_SN: IntArray, answer_SN: IntArray, kind: str, name: str) -> Columns:
        """Receivers of N states that should give N answers: chains of known facts with another bridge and answer."""
        graph = self.graph
        tokens_SNT, own_SN = np.full((*answer_SN.shape, 3), -1, np.int64), np.full_like(answer_SN, -1)
        for k in range(MOST):
            second_SF = self.lookup.fact(graph.tail[self.known][None], relation_SN[:, k, None])
            other_SF = (graph.tail[self.known] != bridge[:, None]) & (graph.tail[second_SF] != answer_SN[:, k, None])
            valid_SF = (second_SF >= 0) & ~graph.ood[second_SF] & other_SF & (answer_SN[:, k, None] >= 0)
            rows, choice = pick(valid_SF, Stream(self.seed, f"{name}/receiver/{k}"))
            second = second_SF[rows, choice]
            tokens_SNT[rows, k] = graph.two_hop(self.known[choice], second).tokens
            own_SN[rows, k] = graph.tail[second]
        answer_SN = np.where(own_SN >= 0, answer_SN, -1)
        other_SN = self._others(relation_SN, answer_SN, own_SN, name)
        return {kind: tokens_SNT, f"{kind}_answer": answer_SN, f"{kind}_other": other_SN}

    def _others(self, relation_SN: IntArray, answer_SN: IntArray, own_SN: IntArray, name: str) -> IntArray:
        """Tails of the relations that are neither of two, -1 where there is none."""
        graph, other_SN = self.graph, np.full_like(answer_SN, -1)
        for k in range(MOST):
            differs_SF = (graph.tail != answer_SN[:, k, None]) & (graph.tail != own_SN[:, k, None])
            valid_SF = (graph.relation == relation_SN[:, k, None]) & differs_SF & (answer_SN[:, k, None] >= 0)
            rows, choice = pick(valid_SF, Stream(self.seed, f"{name}/other/{k}"))
            other_SN[rows, k] = graph.tail[choice]
        return other_SN

    def _chains(self, first_SN: IntArray, r2: IntArray) -> IntArray:
        """Tokens (S, N, T) of these facts with the second relation of the query behind them, -1 for none."""
        graph, r2_token_S1 = self.graph, r2[:, None] + self.offset[2]
        r1_token_SN = graph.relation[first_SN] + self.offset[1]
        tokens_SNT = np.stack([graph.head[first_SN], r1_token_SN, np.broadcast_to(r2_token_S1, first_SN.shape)], axis=2)
        return np.where(first_SN[..., None] >= 0, tokens_SNT, -1)

    def _tails(self, fact_SC: IntArray, column_SN: IntArray) -> IntArray:
        """Tails of the facts in these columns, -1 for none."""
        fact_SN = np.take_along_axis(fact_SC, column_SN.clip(min=0), axis=1)
        return np.where(column_SN >= 0, self.graph.tail[fact_SN], -1)

    def _key(self, h: IntArray, r1: IntArray, r2: IntArray) -> IntArray:
        relations = self.graph.relations
        return (h * relations + r1) * relations + r2

    def _was_trained(self, h: IntArray, r1: IntArray, r2: IntArray) -> Bools:
        """Whether each of these chains was trained."""
        key = self._key(h, r1, r2)
        if not len(self.trained):
            return np.zeros(key.shape, np.bool_)
        place = np.searchsorted(self.trained, key)  # sorted already: isin would sort it anew, each time
        mask: Bools = self.trained[place.clip(max=len(self.trained) - 1)] == key
        return mask

    def _most_frequent_tail(self, composed: Examples) -> IntArray:
        """The tail (R,) with which each relation was trained most often, as an atomic fact and as second hop."""
        graph = self.graph
        relation = np.concatenate([graph.relation, composed.tokens[:, 2] - self.offset[2]])
        tail = np.concatenate([graph.tail, composed.answer])
        count = np.bincount(relation * graph.entities + tail, minlength=graph.relations * graph.entities)
        most: IntArray = count.reshape(graph.relations, graph.entities).argmax(axis=1)
        return most


def _again(choice_SN: IntArray) -> IntArray:
    """Where there are fewer than K choices, take the same ones again: each with a receiver of its own."""
    count_S1 = (choice_SN >= 0).sum(axis=1, keepdims=True)
    column_SN = np.arange(MOST)[None] % count_S1.clip(min=1)
    return np.take_along_axis(choice_SN, column_SN, axis=1)
