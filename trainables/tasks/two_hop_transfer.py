"""Transfer of two-hop composition to new facts (arXiv 2601.09049 section 5 and its code; docs/science.md#transfer).

Graph, vocabulary and classes of facts are those of the task `two_hop` with the same options and seed. New atomic facts
are drawn from the (head, relation) pairs that this graph does not use. Trained are the new facts, never composed, and
some of the source's training items again:

- `closure`: facts in random order, each with every trained chain that uses it in either hop, until there are exactly
  `retained` items. This is what the paper's code does. The other hop of such a chain is usually not retained.
- `all_facts`: the same items, and all other atomic facts of the graph: nothing old is missing as a fact.

Test chains join a new fact and an old one in either order, or two new ones; none is ever trained. An old fact is an
in-distribution fact that is retained as an atomic item. So with `closure` these sets are small (read n), and few old
facts are left for each relation: who answers `new_old` with the most frequent tail of r2 is right in .57 to .68 at the
paper's size (with `all_facts` in .01), in .17 to .25 at the default one. Compare with a run from scratch.

Differences from the released code: new facts are uniform over the unused pairs instead of half of them in linked pairs,
so there are about new_facts^2 / entities chains of two; the test sets are not restricted to a sample of the facts.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from grokstudy.trainables.events import Event
from grokstudy.trainables.options import Problem, option
from grokstudy.trainables.randomness import IntArray, Stream
from grokstudy.trainables.tasks.graph import Examples, Graph, GraphData, GraphTask
from grokstudy.trainables.tasks.two_hop import SPLITS, Drawn, TwoHop, TwoHopOptions, refuse_empty

SOURCE_SPLITS = ("test_ii", "test_oo", "atomic_id")
"""Splits of the source that show what is forgotten."""


@dataclass(frozen=True, kw_only=True)
class TransferOptions(TwoHopOptions):
    """Options of the source's graph and regime, and what is new and what is kept."""

    new_facts: int = option(500, "new atomic facts, of (head, relation) pairs that the graph does not use", ge=1)
    retained: int = option(2000, "items of the source's training set that are trained again", ge=1)
    keep: Literal["closure", "all_facts"] = option(
        "closure", "retained items alone (facts with all their chains), or with every other atomic fact"
    )

    @property
    def source_items(self) -> int:
        """Items of the source's training set, without those that the exposure adds."""
        in_distribution = self.atomic_facts - round(self.ood_fraction * self.atomic_facts)
        return self.atomic_facts + round(self.phi * in_distribution)

    def problems(self) -> list[Problem]:
        """What is impossible about the graph and about the transfer, found without drawing it."""
        problems = super().problems()
        unused = self.entities * self.relations - self.atomic_facts
        if self.new_facts > unused:
            pairs = f"{self.entities} x {self.relations} - {self.atomic_facts} = {unused}"
            problems.append(Problem("data.new_facts", f"{self.new_facts} is more than the unused pairs, {pairs}"))
        if self.retained > self.source_items:
            items = f"{self.source_items}, the facts and chains that the source is trained on"
            problems.append(Problem("data.retained", f"{self.retained} is more than {items}"))
        return problems


@dataclass(frozen=True)
class Retained:
    """What of the source's training set is trained again."""

    facts: IntArray
    """Facts, as rows of the graph."""
    chains_ii: IntArray
    """Chains of two I facts, as rows of `Graph.chains()`."""
    exposed: IntArray
    """Chains that the source's regime added."""

    @classmethod
    def choose(cls, drawn: Drawn, options: TransferOptions, seed: int) -> Retained:
        """Go through the facts in random order; a chain belongs to whichever of its facts comes first."""
        n_facts = len(drawn.graph.head)
        rank = np.empty(n_facts, np.int64)
        rank[Stream(seed, "transfer/retained").permutation(n_facts)] = np.arange(n_facts)
        chains = np.concatenate([drawn.trained, drawn.exposed])
        owner = np.concatenate([rank, np.minimum(rank[drawn.first[chains]], rank[drawn.second[chains]])])
        items = np.argsort(owner, kind="stable")[: options.retained]  # of one owner, the fact itself comes first
        facts, rows = items[items < n_facts], items[items >= n_facts] - n_facts
        if options.keep == "all_facts":
            facts = np.arange(n_facts, dtype=np.int64)
        is_ii = rows < len(drawn.trained)
        return cls(facts, chains[rows[is_ii]], chains[rows[~is_ii]])


class TwoHopTransfer(GraphTask):
    """The task `two_hop_transfer`."""

    Options = TransferOptions
    splits: ClassVar[dict[str, str]] = {
        **{name: SPLITS[name] for name in ("train_ii", *SOURCE_SPLITS)},
        "new": "transfer: atomic facts that the source did not have (trained as facts, never composed)",
        "new_old": "transfer: two-hop facts, hop 1 new, hop 2 an old in-distribution fact that is retained",
        "old_new": "transfer: two-hop facts, hop 1 an old in-distribution fact that is retained, hop 2 new",
        "new_new": "transfer: two-hop facts, both hops new",
    }
    headline = "new_old"
    shown = ("train_ii", "test_oo", "new_old", "new_new")
    events: ClassVar[dict[str, Event]] = {
        "learnt": Event(metric="accuracy", split=("new",), at_least=0.95),
        "new_old": Event(metric="accuracy", split=("new_old",), at_least=0.5),
        "old_new": Event(metric="accuracy", split=("old_new",), at_least=0.5),
        "new_new": Event(metric="accuracy", split=("new_new",), at_least=0.5),
        "writer": Event(metric="writer", split=("new_old",), at_least=0.5),
        "reader": Event(metric="reader", split=("old_new",), at_least=0.5),
    }
    """About new facts in either hop."""
    earlier_events: ClassVar[dict[str, Event]] = {
        "writer": Event(metric="hop1_writer", split=("new_old",), at_least=0.5),
        "reader": Event(metric="hop2_reader", split=("old_new",), at_least=0.5),
    }

    @staticmethod
    def check(options: TransferOptions, seed: int) -> list[Problem]:
        """What this seed's graph makes impossible."""
        return TwoHop.check(options, seed)

    @classmethod
    def build(cls, options: TransferOptions, seed: int, max_examples: int) -> GraphData:
        """Draw graph, new facts, training set and splits.

        Raises ValueError when phi is above what the graph of this seed has, or an evaluation split is empty.
        """
        drawn = TwoHop.draw(options, seed)
        graph = with_new_facts(drawn.graph, options, seed)
        kept = Retained.choose(drawn, options, seed)
        new = np.arange(len(drawn.graph.head), len(graph.head), dtype=np.int64)
        source = drawn.splits(seed, max_examples)
        splits = {
            "train_ii": drawn.examples(kept.chains_ii[:max_examples]),
            **{name: source[name] for name in SOURCE_SPLITS},
            "new": graph.atomic(new[:max_examples]),
            **_new_chains(graph, kept.facts[~graph.ood[kept.facts]], new, seed, max_examples),
        }
        refuse_empty(splits, seed, "new_facts or retained")
        chains = drawn.examples(np.concatenate([kept.chains_ii, kept.exposed]))
        train = Examples.concatenate([graph.atomic(kept.facts), graph.atomic(new), chains])
        sizes = {"atomic": len(drawn.graph.head), "new": len(new), "retained_atomic": len(kept.facts),
                 "retained_chains": len(chains), "train": len(train)}  # fmt: skip
        return GraphData(train, splits, sizes, options.entities, graph, drawn.composed())


def with_new_facts(graph: Graph, options: TransferOptions, seed: int) -> Graph:
    """The graph with the new facts after its own. They count as out-of-distribution: no probe takes them as known.

    Fewer new facts are the beginning of more. `chains()` of the result is not defined.
    """
    pair = graph.head * options.relations + graph.relation
    unused = np.setdiff1d(np.arange(options.entities * options.relations, dtype=np.int64), pair)
    chosen = unused[Stream(seed, "transfer/pairs").permutation(len(unused))[: options.new_facts]]
    tail = Stream(seed, "transfer/tails").integers(options.entities, len(chosen))
    return dataclasses.replace(
        graph,
        head=np.concatenate([graph.head, chosen // options.relations]),
        relation=np.concatenate([graph.relation, chosen % options.relations]),
        tail=np.concatenate([graph.tail, tail]),
        ood=np.concatenate([graph.ood, np.ones(len(chosen), dtype=bool)]),
    )


def _new_chains(graph: Graph, old: IntArray, new: IntArray, seed: int, most: int) -> dict[str, Examples]:
    """The three sets of test chains, first word hop 1, each in a random order and at most so large."""
    chains = {}
    for name, left, right in (("new_old", new, old), ("old_new", old, new), ("new_new", new, new)):
        first, second = _joined(graph, left, right)
        chosen = Stream(seed, f"transfer/{name}").permutation(len(first))[:most]
        chains[name] = graph.two_hop(first[chosen], second[chosen])
    return chains


def _joined(graph: Graph, left: IntArray, right: IntArray) -> tuple[IntArray, IntArray]:
    """All (hop-1 fact, hop-2 fact) pairs of these facts."""
    right = right[np.argsort(graph.head[right], kind="stable")]
    start = np.searchsorted(graph.head[right], graph.tail[left], side="left")
    count = np.searchsorted(graph.head[right], graph.tail[left], side="right") - start
    within = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
    return np.repeat(left, count), right[np.repeat(start, count) + within]
