"""Facts of the task `synthetic_facts`: real ones, drawn or read from a file, and the synthetic ones of an arm.

Axes: F fact, N row, R relation, T type of an entity.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from grokstudy.trainables import plugins
from grokstudy.trainables.randomness import IntArray, Stream

if TYPE_CHECKING:
    from grokstudy.trainables.tasks.synthetic_facts import SyntheticFactsOptions

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Facts:
    """Facts by number: what is said of them, which are real, and which real ones are O."""

    head: IntArray
    relation: IntArray
    tail: IntArray
    """An entity, of comparisons a value."""
    real: BoolArray
    ood: BoolArray

    def count(self, relations: int, of: BoolArray) -> IntArray:
        """How many of these there are of each relation."""
        return np.bincount(self.relation[of], minlength=relations)


@dataclass(frozen=True)
class OfFile:
    """The real facts of a file of triples, numbered: heads and tails by the order of their names."""

    head: IntArray
    relation: IntArray
    tail: IntArray
    entities: int
    relations: int
    values: int


@lru_cache(maxsize=8)
def of_file(name: str, form: str, relations: int) -> OfFile:
    """The facts of the relations that have the most, of those with two tails or more. Raises PluginError, ValueError.

    Names become numbers: of a composition heads and tails together, of a comparison each for themselves.
    """
    triples = [tuple(triple) for triple in json.loads(plugins.text_of(name))]
    tails: dict[str, list[str]] = {}
    for _, relation, tail in triples:
        tails.setdefault(relation, []).append(tail)
    usable = [relation for relation, relation_tails in tails.items() if len(set(relation_tails)) > 1]
    chosen = sorted(usable, key=lambda relation: (-len(tails[relation]), relation))[:relations]
    if not chosen:
        raise ValueError(f"{plugins.word_of(name)} has no relation with two different tails; it needs more triples")
    facts = sorted(triple for triple in triples if triple[1] in chosen)
    heads, ends = sorted({h for h, _, _ in facts}), sorted({t for _, _, t in facts})
    if form == "composition":
        heads = ends = sorted({*heads, *ends})
    numbers = [{word: i for i, word in enumerate(words)} for words in (heads, chosen, ends)]
    head, relation, tail = (np.array([number[fact[i]] for fact in facts], np.int64) for i, number in enumerate(numbers))
    return OfFile(head, relation, tail, len(heads), len(chosen), 0 if form == "composition" else len(ends))


@dataclass(frozen=True)
class World:
    """What is true, and what is said: the real facts, then the synthetic ones of an arm."""

    options: SyntheticFactsOptions
    facts: Facts
    ranges: tuple[tuple[IntArray, IntArray], ...]
    """Of each relation, the tails that real and that synthetic facts can have."""

    @classmethod
    def draw(cls, options: SyntheticFactsOptions, seed: int, arm: str) -> World:
        """Real facts do not depend on the arm, nor on how many synthetic ones there are."""
        entities, relations, values = options.world
        if options.triples is None:
            real = _table(options, seed, "real", entities, 0)
            spans = [np.arange(values)] * 2 if values else [np.arange(entities), np.arange(entities, options.entities)]
            ranges = ((spans[0], spans[1]),) * relations
            synthetic = _table(options, seed, "synthetic", options.synthetic_entities, entities)
        else:
            file_facts = of_file(options.triples, options.form, options.relations)
            real = (file_facts.head, file_facts.relation, file_facts.tail)
            spans = [np.unique(file_facts.tail[file_facts.relation == r]) for r in range(relations)]
            ranges = tuple((span, span) for span in spans)
            synthetic = _copies(file_facts, seed, options.synthetic_entities)
        ood = np.zeros(len(real[0]), dtype=bool)
        for r in range(relations):
            of = np.flatnonzero(real[1] == r)
            ood[of[Stream(seed, f"ood/{r}").permutation(len(of))[: round(options.ood_fraction * len(of))]]] = True
        n = 0 if arm == "none" else len(synthetic[0])
        columns = [np.concatenate([a, b[:n]]) for a, b in zip(real, synthetic, strict=True)]
        is_real = np.arange(len(columns[0])) < len(ood)
        facts = Facts(columns[0], columns[1], columns[2], is_real, np.concatenate([ood, np.zeros(n, dtype=bool)]))
        world = cls(options, facts, ranges)
        if arm == "false_consistent":
            return world._said(np.flatnonzero(~is_real), Stream(seed, "false"))
        return world._contradicted(seed) if arm == "false_conflicting" else world

    def other_tails(self, fact_N: IntArray, tail_N: IntArray, stream: Stream) -> IntArray:
        """For each of these facts a tail that it could have, and that is not this one; uniform."""
        other = tail_N.copy()
        of_real_N = self.facts.head[fact_N] < self.options.world[0]  # said truly or not
        for r in range(len(self.ranges)):
            for real in (True, False):
                of = np.flatnonzero((self.facts.relation[fact_N] == r) & (of_real_N == real))
                span = self.ranges[r][0 if real else 1]
                place = np.searchsorted(span, tail_N[of])
                other[of] = span[(place + 1 + stream.integers(len(span) - 1, len(of))) % len(span)]
        return other

    def _said(self, fact_N: IntArray, stream: Stream) -> World:
        """The world with another tail of these facts."""
        tail = self.facts.tail.copy()
        tail[fact_N] = self.other_tails(fact_N, tail[fact_N], stream)
        return replace(self, facts=replace(self.facts, tail=tail))

    def _contradicted(self, seed: int) -> World:
        """The world in which facts about real entities stand where synthetic ones stood.

        Compositions in a generated world: synthetic facts lead to real entities as often as there are those, as else
        no chain would run over a contradiction.
        """
        options, facts = self.options, self.facts
        head, tail = facts.head.copy(), facts.tail.copy()
        changed = []
        for r in range(options.world[1]):
            known = np.flatnonzero(facts.real & ~facts.ood & (facts.relation == r))
            free = np.flatnonzero(~facts.real & (facts.relation == r))
            n = min(round(options.conflicts * len(known)), len(free) // 2)
            known = known[Stream(seed, f"conflict/{r}").permutation(len(known))[:n]]
            free = free[Stream(seed, f"conflict/place/{r}").permutation(len(free))[:n]]
            head[free], tail[free] = facts.head[known], facts.tail[known]
            changed.append(free)
        places = np.concatenate(changed)
        if options.form == "composition" and options.triples is None:
            chance = options.world[0] / options.entities
            leads = ~facts.real & (Stream(seed, "conflict/leads").uniform(len(head)) < chance)
            leads[places] = False
            tail[leads] = Stream(seed, "conflict/to").integers(options.world[0], len(head))[leads]
        return replace(self, facts=replace(facts, head=head, tail=tail))._said(places, Stream(seed, "conflict/tail"))


def _table(options: SyntheticFactsOptions, seed: int, kind: str, n: int, first: int) -> tuple[IntArray, ...]:
    """A fact of every relation for each of n entities from `first` on: heads, relations, tails."""
    relations, size = options.relations, n * options.relations
    head, relation = np.divmod(np.arange(size), relations)
    type_F = head % options.types
    among = options.values if options.form == "comparison" else n
    tail = Stream(seed, f"{kind}/tails").integers(among, size)
    if options.purity:
        choices = options.values if options.form == "comparison" else options.types
        of_type = Stream(seed, "types").integers(choices, options.types * relations)[type_F * relations + relation]
        if options.form == "composition":
            many = (n - of_type + options.types - 1) // options.types
            of_type = of_type + options.types * (Stream(seed, f"{kind}/typed").uniform(size) * many).astype(np.int64)
        tail = np.where(Stream(seed, f"{kind}/pure").uniform(size) < options.purity, of_type, tail)
    return head + first, relation, tail + (first if options.form == "composition" else 0)


def _copies(file_facts: OfFile, seed: int, n: int) -> tuple[IntArray, ...]:
    """Synthetic entities of a file's world: each has the relations and the tails of a real head."""
    heads = np.unique(file_facts.head)
    like = heads[Stream(seed, "synthetic/like").integers(len(heads), n)]
    pairs = [np.flatnonzero(file_facts.head == head) for head in like]
    fact = np.concatenate(pairs)
    head = np.repeat(np.arange(n) + file_facts.entities, list(map(len, pairs)))
    return head, file_facts.relation[fact], file_facts.tail[fact]
