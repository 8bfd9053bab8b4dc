"""Real facts with synthetic ones beside them, at a matched number of chains per fact (arXiv 2504.20752).

A fact is (head, relation) -> tail, a chain infers something from two of them:

- `comparison`: two facts of one relation; said as relation, e1, e2, answered by a label of that relation (<, =, >, or
  same, different). Facts are said entity first, comparisons relation first.
- `composition`: (h, r1) -> b and (b, r2) -> t give (h, r1, r2) -> t.

Real facts are few, and a share of them, per relation, is out-of-distribution (O): trained as facts and in no chain.
Tests ask about real facts alone, and are the same whatever synthetic facts there are. Those come in arms:

- `none`: the base; phi is what the real facts have (`phi_real`).
- `true`: synthetic entities, whose tails are drawn as the world's are.
- `false_consistent`: every synthetic tail is another one than in `true`; chains follow it. In a world without structure
  this is the same law as `true`, so it is a placebo: a model that begins with nothing knows no truth that they break.
- `false_conflicting`: facts about real entities take the place of as many synthetic ones, at most of half of a
  relation's: they contradict real I facts that are trained too; chains follow the false tail. No chain has the words
  of a chain of real facts.
- `false_rule`: as `true`, and a share of the synthetic chains (`noise`) is trained with a wrong answer.

All arms but `none` train the same number of facts and of chains per relation, so that phi_r = chains / facts of each
relation r (of a composition, of its last) is the same to the chain. A generated world that has fewer chains is refused;
of a file's, every arm trains what the arm with the fewest has.

A world has structure where tails follow from an entity's type, with probability `purity`: each type has a value of each
relation, or in compositions each relation leads from a type to a type. Types are never said.

What guessing gives. One label for all is right in (1 - 1/N) / 2 of comparisons, one known value in
sum_v max(v, N-1-v) / N^2; `near_*` have values at most one apart, each label equally often: 1/3 and N / (3 (N-1)). Of
`same`, they have both labels equally often: 1/2. Of compositions, they have each answer of a last relation once, so
that one answer for each relation is right in (relations) / (rows).

The paper publishes no code, and what was read of it are summaries: which facts are O, what is compared and how
synthetic facts were written (there by a language model) are choices made here. So are types, arms, `near_*`, and the
exchanges. Where facts come from says `fact_world.py`.

Axes: E entity, R relation, N row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from grokstudy.trainables.events import Event
from grokstudy.trainables.options import Problem, option
from grokstudy.trainables.randomness import IntArray, Stream
from grokstudy.trainables.tasks.base import Mechanism, Shape, StoredRows, Task, TaskData, placed
from grokstudy.trainables.tasks.fact_world import BoolArray, Facts, World, of_file
from grokstudy.trainables.tasks.triples import TRIPLES

MATCHED = ("true", "false_consistent", "false_conflicting")
"""Arms whose worlds differ; `false_rule` has that of `true`."""
LENGTH = 3


@dataclass(frozen=True, kw_only=True)
class SyntheticFactsOptions:
    """The real facts, the synthetic ones beside them, and which chains are trained.

    Paper: comparison of 120 facts and 60 chains, with synthetic ones 1,000 and 8,000 (the defaults here, in 4 relations
    of 10 values); composition of 200 and 100, with synthetic ones 800 and 5,000: real_entities 20, synthetic_entities
    60, relations 10, phi 6.25. How many relations and values there are, and how many facts are O, is not known.
    """

    form: Literal["comparison", "composition"] = option("comparison", "what a chain of two facts says")
    synthetic: Literal["none", "true", "false_consistent", "false_conflicting", "false_rule"] = option(
        "true", "synthetic facts: none, true, or false in one of three ways"
    )
    noise: float = option(1.0, "false_rule: share of the synthetic chains with a wrong answer", gt=0, le=1)
    conflicts: float = option(1.0, "false_conflicting: share of the real I facts that are contradicted", gt=0, le=1)
    real_entities: int = option(30, "real entities, each with a fact of every relation", ge=4)
    synthetic_entities: int = option(220, "synthetic entities, likewise", ge=4)
    relations: int = option(4, "relations; of a file, those with the most facts", ge=1)
    values: int = option(10, "comparison: values N that tails are of", ge=2)
    labels: Literal["order", "same"] = option("order", "comparison: smaller, equal or larger; or same or different")
    purity: float = option(0.0, "structure: share of the tails that follow from the type of the head", ge=0, le=1)
    types: int = option(5, "types of entities, in a world with structure", ge=1)
    ood_fraction: float = option(0.3, "share of the real facts of each relation that are in no chain", gt=0, lt=1)
    holdout: float = option(0.2, "share of the chains of two real I facts held out as test_id", gt=0, lt=1)
    phi_real: float = option(0.5, "trained chains of real facts, per real fact of each relation", gt=0)
    phi: float = option(8.0, "trained chains of all facts, per fact of each relation", gt=0)
    triples: str | None = option(None, "file with the real facts, as 2WikiMultiHopQA has them", file=TRIPLES)

    @cached_property
    def world(self) -> tuple[int, int, int]:
        """Real entities, relations, and values (0 for compositions)."""
        if self.triples is None:
            values = self.values if self.form == "comparison" else 0
            return self.real_entities, self.relations, values
        file_facts = of_file(self.triples, self.form, self.relations)
        return file_facts.entities, file_facts.relations, file_facts.values

    @property
    def entities(self) -> int:
        """Entities E: real ones, and behind them synthetic ones, which have their tokens in every arm."""
        return self.world[0] + self.synthetic_entities

    @property
    def kinds(self) -> int:
        """Labels of a relation; 0 for compositions."""
        return 0 if self.form == "composition" else 3 if self.labels == "order" else 2

    @property
    def first_value(self) -> int:
        """Token of value 0. Before it come entities and relations, behind it values, labels by relation, padding."""
        return self.entities + self.world[1]

    @property
    def first_label(self) -> int:
        """Token of the first label of relation 0."""
        return self.first_value + self.world[2]

    @property
    def padding(self) -> int:
        """Token of no meaning."""
        return self.first_label + self.kinds * self.world[1]

    @property
    def vocabulary(self) -> int:
        """Tokens: entities, relations, values and labels of comparisons, padding."""
        return self.padding + 1

    def problems(self) -> list[Problem]:
        """What is impossible, found without drawing anything."""
        problems = []
        if self.triples is not None and (self.purity or (self.form == "comparison" and self.labels == "order")):
            key, remedy = ("purity", "leave it out") if self.purity else ("labels", "write labels: same")
            message = f"the tails of a file are names, without types or order that are known; {remedy}"
            problems.append(Problem(f"data.{key}", message))
        if self.purity and self.types > min(self.real_entities, self.synthetic_entities):
            message = f"{self.types} types need as many real and synthetic entities"
            problems.append(Problem("data.types", message))
        ood = round(self.ood_fraction * self.real_entities)
        if self.triples is None and min(ood, self.real_entities - ood) < 2:
            message = f"{self.ood_fraction:g} of {self.real_entities} entities leaves no pair of two in one class"
            problems.append(Problem("data.ood_fraction", message))
        if self.synthetic != "none" and self.phi < self.phi_real:
            message = f"{self.phi:g} is below data.phi_real, {self.phi_real:g}, which is of the real facts alone"
            problems.append(Problem("data.phi", message))
        return problems


@dataclass(frozen=True)
class Chains:
    """Pairs of facts by number, each with the relation that it counts for."""

    first: IntArray
    second: IntArray
    relation: IntArray

    def __len__(self) -> int:
        return len(self.first)

    def take(self, rows: IntArray | BoolArray | slice) -> Chains:
        """The chosen ones."""
        return Chains(self.first[rows], self.second[rows], self.relation[rows])

    def shuffled(self, stream: Stream) -> Chains:
        """In a random order."""
        return self.take(stream.permutation(len(self)))

    def first_of_each(self, most_R: IntArray) -> Chains:
        """The first so many of each relation."""
        return self.take(_rank(self.relation) < most_R[self.relation])


def _rank(group: IntArray) -> IntArray:
    """How many of the same group stand before each."""
    order = np.argsort(group, kind="stable")
    sorted_ = group[order]
    rank = np.empty_like(order)
    rank[order] = np.arange(len(group)) - np.searchsorted(sorted_, sorted_)
    return rank


@dataclass(frozen=True)
class Inference:
    """What follows from the facts of a world, how it is said, and what probes look for in it."""

    world: World

    @property
    def options(self) -> SyntheticFactsOptions:
        """Those of the world."""
        return self.world.options

    @property
    def facts(self) -> Facts:
        """Those of the world."""
        return self.world.facts

    @property
    def compares(self) -> bool:
        """Whether chains are comparisons."""
        return self.options.form == "comparison"

    def chains(self, first: BoolArray, second: BoolArray) -> Chains:
        """All chains of a fact of `first` and one of `second`. Comparisons: in both orders, a mirror behind each."""
        facts = self.facts
        if not self.compares:
            i, j = np.flatnonzero(first), np.flatnonzero(second)
            j = j[np.argsort(facts.head[j], kind="stable")]
            begin = np.searchsorted(facts.head[j], facts.tail[i], side="left")
            many = np.searchsorted(facts.head[j], facts.tail[i], side="right") - begin
            within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
            i, j = np.repeat(i, many), j[np.repeat(begin, many) + within]
            return Chains(i, j, facts.relation[j])
        parts = []
        for r in range(self.options.world[1]):
            of = np.flatnonzero((first | second) & (facts.relation == r))
            i, j = (of[side] for side in np.triu_indices(len(of), 1))
            kept = (first[i] & second[j]) | (first[j] & second[i])
            parts.append(np.stack([np.stack([i, j], axis=1), np.stack([j, i], axis=1)], axis=1)[kept].reshape(-1, 2))
        pairs = np.concatenate(parts)
        return Chains(pairs[:, 0], pairs[:, 1], facts.relation[pairs[:, 0]])

    def synthetic(self) -> Chains:
        """Chains that an arm may train: none has the words of a chain of real facts, none an O fact.

        Of compositions the second may be a real I fact that nothing contradicts: only in a file's world do synthetic
        facts lead there.
        """
        facts = self.facts
        made = ~facts.real & (facts.head >= self.options.world[0])
        if self.compares:
            return self.chains(made, ~facts.real)
        keys = facts.head * self.options.world[1] + facts.relation
        kept = facts.real & ~facts.ood & ~np.isin(keys, keys[~facts.real])
        return self.chains(made, ~facts.real | kept)

    def label(self, v1: IntArray, v2: IntArray) -> IntArray:
        """Number of a comparison's label: <, =, > or same, different."""
        label: IntArray = np.sign(v1 - v2) + 1 if self.options.labels == "order" else (v1 != v2).astype(np.int64)
        return label

    def answers(self, chains: Chains) -> IntArray:
        """Tokens of the right answers."""
        o, tail = self.options, self.facts.tail
        if not self.compares:
            return tail[chains.second]
        return o.first_label + o.kinds * chains.relation + self.label(tail[chains.first], tail[chains.second])

    def wrong(self, chains: Chains, answer: IntArray, stream: Stream) -> IntArray:
        """Other answers of the same kind; uniform."""
        o = self.options
        if not self.compares:
            return self.world.other_tails(chains.second, answer, stream)
        low = o.first_label + o.kinds * chains.relation
        return low + (answer - low + 1 + stream.integers(o.kinds - 1, len(chains))) % o.kinds

    def said(self, chains: Chains) -> IntArray:
        """Tokens (N, 3) of chains."""
        o, f = self.options, self.facts
        if self.compares:
            parts = [o.entities + chains.relation, f.head[chains.first], f.head[chains.second]]
        else:
            parts = [f.head[chains.first], o.entities + f.relation[chains.first], o.entities + chains.relation]
        return np.stack(parts, axis=1)

    def fact_rows(self, fact_N: IntArray) -> StoredRows:
        """Rows of facts."""
        o, f = self.options, self.facts
        tokens = np.full((len(fact_N), LENGTH), o.padding, np.int64)
        tokens[:, 0], tokens[:, 1] = f.head[fact_N], o.entities + f.relation[fact_N]
        target = f.tail[fact_N] + (o.first_value if self.compares else 0)
        return StoredRows(tokens, np.ones((len(fact_N), 1), np.int64), target[:, None])

    def rows(self, chains: Chains, answer: IntArray) -> StoredRows:
        """Rows of chains, answered so."""
        return StoredRows(self.said(chains), np.full((len(chains), 1), LENGTH - 1, np.int64), answer[:, None])


@dataclass(frozen=True)
class Drawn:
    """What a seed gives under an arm: chains that are trained and tested."""

    infer: Inference
    real: Chains
    """Trained chains of real facts."""
    synthetic: Chains
    """Trained chains of the arm."""
    answer: IntArray
    """What the arm's chains are trained to say."""
    test_id: Chains
    test_oo: Chains
    lacking: list[Problem]
    """Chains that a generated world does not have."""

    @classmethod
    def of(cls, options: SyntheticFactsOptions, seed: int) -> Drawn:
        """Choose the chains."""
        arm = options.synthetic
        infer = Inference(World.draw(options, seed, arm))
        facts, relations = infer.facts, options.world[1]
        tested, real, lacking = cls._real(infer, seed)
        oo = infer.chains(facts.real & facts.ood, facts.real & facts.ood)
        oo = _pairs(oo, infer.compares, Stream(seed, "pool/oo"))
        none = np.empty(0, np.int64)
        made, answer = Chains(none, none, none), none
        if arm != "none":
            n_R = facts.count(relations, np.ones_like(facts.real))
            real_R = np.bincount(real.relation, minlength=relations)
            pool = infer.synthetic()
            most_R = np.bincount(pool.relation, minlength=relations)
            if options.triples is not None:
                most_R = cls.limit(options, seed)
            wanted_R = np.maximum(_times(options.phi, n_R) - real_R, 0)
            lacking += _lacking("phi", options, wanted_R + real_R, most_R + real_R, n_R, seed)
            pool = _alternating(infer, pool.shuffled(Stream(seed, "pool/synthetic")))
            made = pool.first_of_each(np.minimum(wanted_R, most_R))
            answer = infer.answers(made)
        if arm == "false_rule":
            stream = Stream(seed, "noise")
            wrong = stream.permutation(len(made))[: round(options.noise * len(made))]
            answer[wrong] = infer.wrong(made.take(wrong), answer[wrong], stream)
        return cls(infer, real, made, answer, tested, oo, lacking)

    @staticmethod
    def _real(infer: Inference, seed: int) -> tuple[Chains, Chains, list[Problem]]:
        """Tested and trained chains of real I facts, and what is lacking. A test has both facts in a trained chain."""
        o, facts = infer.options, infer.facts
        i_facts = facts.real & ~facts.ood
        ii = _pairs(infer.chains(i_facts, i_facts), infer.compares, Stream(seed, "pool/ii"))
        per = 2 if infer.compares else 1
        n_out = per * int(np.ceil(o.holdout * len(ii) / per))
        held_out, free = ii.take(slice(n_out)), ii.take(slice(n_out, None))
        n_R = facts.count(o.world[1], facts.real)
        wanted_R, most_R = _times(o.phi_real, n_R), np.bincount(free.relation, minlength=o.world[1])
        trained = _alternating(infer, free.shuffled(Stream(seed, "train"))).first_of_each(wanted_R)
        used = np.zeros(len(facts.real), dtype=bool)
        used[trained.first] = used[trained.second] = True
        tested = held_out.take(used[held_out.first] & used[held_out.second])
        return tested, trained, _lacking("phi_real", o, wanted_R, most_R, n_R, seed)

    @staticmethod
    def limit(options: SyntheticFactsOptions, seed: int) -> IntArray:
        """Of each relation, the synthetic chains that every arm has."""
        counts = []
        for arm in MATCHED:
            chains = Inference(World.draw(options, seed, arm)).synthetic()
            counts.append(np.bincount(chains.relation, minlength=options.world[1]))
        least: IntArray = np.min(counts, axis=0)
        return least


def _times(phi: float, n_R: IntArray) -> IntArray:
    """Chains for so many facts."""
    wanted_R: IntArray = np.rint(phi * n_R).astype(np.int64)
    return wanted_R


def _lacking(
    key: str, options: SyntheticFactsOptions, wanted_R: IntArray, most_R: IntArray, n_R: IntArray, seed: int
) -> list[Problem]:
    """The problem that generated worlds have fewer chains than are wanted of some relation."""
    if options.triples is not None or (wanted_R <= most_R).all():
        return []
    whose = "of real I facts that are not held out" if key == "phi_real" else "that the world has"
    limit = (most_R / n_R).min()
    message = f"{getattr(options, key):g} is above {limit:.4g}, the chains per fact {whose} for seed {seed}"
    return [Problem(f"data.{key}", message)]


def _pairs(chains: Chains, mirrored: bool, stream: Stream) -> Chains:
    """In a random order; those of comparisons with their mirror right behind them."""
    if not mirrored:
        return chains.shuffled(stream)
    order = stream.permutation(len(chains) // 2)
    return chains.take((2 * order[:, None] + np.arange(2)).reshape(-1))


def _alternating(infer: Inference, chains: Chains) -> Chains:
    """Where labels are same and different, both in turn as far as there are any, of each relation."""
    if infer.options.labels == "order" or not infer.compares:
        return chains
    return chains.take(np.argsort(_rank(infer.answers(chains)), kind="stable"))


def near(infer: Inference, chains: Chains, most: int) -> Chains:
    """Of these, at most so many, chosen such that guessing pays least (see the module)."""
    answer, tail = infer.answers(chains), infer.facts.tail
    if not infer.compares:
        return chains.take(_rank(answer * infer.options.world[1] + chains.relation) == 0).take(slice(most))
    label = infer.label(tail[chains.first], tail[chains.second])
    if infer.options.labels == "order":
        is_near = np.abs(tail[chains.first] - tail[chains.second]) <= 1
        chains, label = chains.take(is_near), label[is_near]
    kinds = infer.options.kinds
    size = min(most // kinds, *np.bincount(label, minlength=kinds))
    rank = _rank(label)
    order = np.lexsort((label, rank))
    return chains.take(order[rank[order] < size])


@dataclass(frozen=True)
class Donors:
    """Looks for facts whose state stands for another intermediate, which then decides the answer."""

    infer: Inference
    trained: IntArray
    """Words of the trained chains as numbers, sorted."""
    seed: int

    @classmethod
    def of(cls, drawn: Drawn, seed: int) -> Donors:
        """Lay out what is trained."""
        infer = drawn.infer
        words = np.concatenate([_code(infer.options, infer.said(chains)) for chains in (drawn.real, drawn.synthetic)])
        return cls(infer, np.unique(words), seed)

    def rows(self, split: str, chains: Chains, answer: IntArray) -> StoredRows:
        """Rows of a split's chains, with what probes look for in them."""
        infer, rows, o, tail = self.infer, self.infer.rows(chains, answer), self.infer.options, self.infer.facts.tail
        add = o.first_value if infer.compares else 0
        latent = {"first": placed(1, tail[chains.first] + add)}
        if infer.compares:
            latent["second"] = placed(2, tail[chains.second] + add)
        donor, swap = {}, {}
        for kind in ("same_kind", "other_kind") if o.synthetic != "none" else ("same_kind",):
            donor[kind], expected = self._found(split, kind, chains)
            swap[kind] = placed(1, expected)
        return replace(rows, mechanism=Mechanism(latent=latent, donor=donor, swap=swap))

    def _found(self, split: str, kind: str, chains: Chains) -> tuple[IntArray, IntArray]:
        """(N, 3) words of a donor for each chain, its own where there is none; and the answer with its state, or -1.

        A donor is a fact of another relation (comparison) or of another head (composition) in the place of the first
        fact. It is real or synthetic, as the kind says; a real one of the class (I, O) of the first fact, of a
        synthetic chain I. Its answer is another one, and its own chain is not trained; of near pairs it is near again.
        """
        infer, o, f = self.infer, self.infer.options, self.infer.facts
        of_test = not split.endswith("synthetic")
        wants_real = of_test == (kind == "same_kind")
        pool = np.flatnonzero(f.real if wants_real else ~f.real & (f.head >= o.world[0]))
        stream = Stream(self.seed, f"donor/{kind}/{split}")
        pool = pool[stream.permutation(len(pool))]
        begin_N = stream.integers(len(pool), len(chains))[:, None]
        i = pool[(begin_N + np.arange(min(len(pool), MOST_LOOKED_AT))) % len(pool)]
        first, second = chains.first[:, None], chains.second[:, None]
        of_class = f.ood[i] == f.ood[first] if of_test and wants_real else ~f.ood[i]
        fit = (f.head[i] != f.head[first]) & of_class
        if infer.compares:
            expected = infer.label(f.tail[i], f.tail[second])
            fit &= (f.relation[i] != f.relation[first]) & (f.head[i] != f.head[second])
            fit &= expected != infer.label(f.tail[first], f.tail[second])
            expected = o.first_label + o.kinds * chains.relation[:, None] + expected
            if split.startswith("near") and o.labels == "order":
                fit &= np.abs(f.tail[i] - f.tail[second]) <= 1
            words = [o.entities + f.relation[i], f.head[i], np.broadcast_to(f.head[second], i.shape)]
        else:
            then = self._fact_of[f.tail[i], np.broadcast_to(chains.relation[:, None], i.shape)]
            then = np.where(wants_real | (then[..., 0] < 0), then[..., 1], then[..., 0])
            expected = f.tail[then]
            fit &= (then >= 0) & (expected != f.tail[second])
            fit &= f.ood[then] == f.ood[second] if of_test and wants_real else ~f.ood[then]
            last = np.broadcast_to(o.entities + chains.relation[:, None], i.shape)
            words = [f.head[i], o.entities + f.relation[i], last]
        candidates = np.stack(words, axis=2)
        fit &= ~np.isin(_code(o, candidates), self.trained)
        row, chosen = np.arange(len(chains)), fit.argmax(axis=1)
        mask = fit[row, chosen]
        words_N3 = np.where(mask[:, None], candidates[row, chosen], infer.said(chains))
        return words_N3, np.where(mask, expected[row, chosen], -1)

    @cached_property
    def _fact_of(self) -> IntArray:
        """(E, R, 2): of an entity and a relation the synthetic fact, and the real one; -1 for none."""
        o, f = self.infer.options, self.infer.facts
        table = np.full((o.entities, o.world[1], 2), -1, np.int64)
        table[f.head, f.relation, f.real.astype(np.int64)] = np.arange(len(f.head))
        return table


MOST_LOOKED_AT = 256
"""Facts that are looked at for a donor."""


def _code(options: SyntheticFactsOptions, words_Nx: IntArray) -> IntArray:
    """Three words as one number."""
    a, b, c = np.moveaxis(words_Nx, -1, 0)
    code: IntArray = (a * options.vocabulary + b) * options.vocabulary + c
    return code


class SyntheticFacts(Task):
    """The task `synthetic_facts`."""

    Options = SyntheticFactsOptions
    splits: ClassVar[dict[str, str]] = {
        "train_real": "trained chains of real facts",
        "train_synthetic": "trained chains of synthetic facts, with the answers that are trained",
        "test_id": "held-out chains of two real facts, each of which is in some trained chain",
        "test_oo": "chains of two real facts that are in no trained chain",
        "near_id": "of test_id, those on which guessing pays least: near values, each label or answer equally often",
        "near_oo": "of test_oo, likewise",
        "atomic_real": "real facts",
        "atomic_ood": "those of them that are in no trained chain",
        "atomic_synthetic": "synthetic facts, as they are trained",
    }
    headline = "near_oo"
    shown = ("train_real", "near_id", "near_oo", "atomic_ood")
    latents: ClassVar[dict[str, str]] = {
        "first": "value of e1 at e1, or the bridge entity at r1",
        "second": "value of e2 at e2; not of compositions",
    }
    swaps: ClassVar[dict[str, str]] = {
        "same_kind": "the state at the second word from a fact of the same kind, real or synthetic: another relation's "
        "value (comparison), another bridge (composition)",
        "other_kind": "the same from a fact of the other kind: whether real and synthetic facts share what reads it",
    }
    events: ClassVar[dict[str, Event]] = {
        "memorised": Event(metric="accuracy", split=("train_real",), at_least=0.95),
        "facts": Event(metric="accuracy", split=("atomic_ood",), at_least=0.95),
        "generalised": Event(metric="accuracy", split=("near_oo",), at_least=0.5),
        "generalised_ii": Event(metric="accuracy", split=("near_id",), at_least=0.5),
        "circuit": Event(metric="swap_same_kind", split=("train_synthetic",), at_least=0.5),
    }
    """`circuit`: half of the answers about synthetic facts follow a state that was exchanged. Whether that is so before
    questions about real facts that were in no chain are answered is what the task is for."""
    default_probes = ("lens", "swap")

    @staticmethod
    def shape(options: SyntheticFactsOptions) -> Shape:
        """Three tokens and one answer: a value or a label, or an entity."""
        compares = options.form == "comparison"
        candidates = (options.first_value, options.padding) if compares else (0, options.entities)
        static = (options.form, options.synthetic != "none")
        return Shape(LENGTH, (options.vocabulary,), classes=options.vocabulary, candidates=candidates, static=static)

    @staticmethod
    def check(options: SyntheticFactsOptions, seed: int) -> list[Problem]:
        """What the worlds of this seed have too few chains for."""
        return [] if options.triples is not None else Drawn.of(options, seed).lacking

    @staticmethod
    def memory(options: SyntheticFactsOptions) -> tuple[float, str, frozenset[str]]:
        """A chain takes 50 bytes while the data are drawn."""
        real, relations, _ = options.world
        chains = relations * (real + options.synthetic_entities) ** 2
        if options.form == "composition":
            chains = (real + options.synthetic_entities) * relations**2
        keys = frozenset({"data.real_entities", "data.synthetic_entities", "data.relations"})
        return 50.0 * chains, f"worlds of {chains:,} chains", keys

    @classmethod
    def build(cls, options: SyntheticFactsOptions, seed: int, max_examples: int) -> TaskData:
        """Draw the worlds, the training set and the splits. Raises ValueError for too high a phi, or an empty split."""
        drawn = Drawn.of(options, seed)
        if drawn.lacking:
            raise ValueError(str(drawn.lacking[0]))
        infer, donors = drawn.infer, Donors.of(drawn, seed)
        facts, relations = infer.facts, options.world[1]
        order = Stream(seed, "atomic").permutation(len(facts.head))
        splits = {name: donors.rows(name, *request) for name, request in _asked(drawn, seed, max_examples)}
        for name, of in (("real", facts.real), ("ood", facts.ood), ("synthetic", ~facts.real)):
            if name != "synthetic" or options.synthetic != "none":
                splits[f"atomic_{name}"] = infer.fact_rows(order[of[order]][:max_examples])
        if empty := [name for name, rows in splits.items() if not len(rows)]:
            message = f"data: split {', '.join(empty)} is empty for seed {seed}; enlarge real_entities, ood_fraction"
            raise ValueError(f"{message} or eval.max_examples, take fewer values, or a file with more triples")
        parts = [
            infer.fact_rows(np.arange(len(facts.head))),
            infer.rows(drawn.real, infer.answers(drawn.real)),
            infer.rows(drawn.synthetic, drawn.answer),
        ]
        inputs, at, target = (
            np.concatenate([getattr(rows, name) for rows in parts]) for name in ("inputs", "at", "target")
        )
        trained = np.concatenate([drawn.real.relation, drawn.synthetic.relation])
        sizes = {
            "real": int(facts.real.sum()), "real_ood": int(facts.ood.sum()), "synthetic": int((~facts.real).sum()),
            "trained_real": len(drawn.real), "trained_synthetic": len(drawn.synthetic),
            "test_id": len(drawn.test_id), "test_oo": len(drawn.test_oo),
            **{f"facts_{r}": int(n) for r, n in enumerate(facts.count(relations, np.ones_like(facts.real)))},
            **{f"chains_{r}": int(n) for r, n in enumerate(np.bincount(trained, minlength=relations))},
        }  # fmt: skip
        return TaskData(StoredRows(inputs, at, target), splits, sizes)


def _asked(drawn: Drawn, seed: int, most: int) -> Iterator[tuple[str, tuple[Chains, IntArray]]]:
    """Chains of each split with their answers, at most so many."""
    infer = drawn.infer

    def right(chains: Chains) -> tuple[Chains, IntArray]:
        return chains, infer.answers(chains)

    yield "train_real", right(drawn.real.take(slice(most)))
    if infer.options.synthetic != "none":
        shown = Stream(seed, "shown").permutation(len(drawn.synthetic))[:most]
        yield "train_synthetic", (drawn.synthetic.take(shown), drawn.answer[shown])
    for name, chains in (("id", drawn.test_id), ("oo", drawn.test_oo)):
        yield f"test_{name}", right(chains.take(slice(most)))
    for name, chains in (("id", drawn.test_id), ("oo", drawn.test_oo)):
        yield f"near_{name}", right(near(infer, chains, most))
