"""Two-hop composition over a random knowledge graph (arXiv 2405.15071 section 2; 2601.09049 appendix B and C).

An atomic fact is (h, r) -> t. A two-hop fact chains two: (h, r1) -> b, (b, r2) -> t gives (h, r1, r2) -> t.
Facts are split one by one into in-distribution (I) and out-of-distribution (O); every atomic fact is trained,
chains of two I facts are trained except for a held-out share, and the exposure regime adds chains with one O fact.

Differences from the released generator: held-out shares are exact counts, not coin flips; chains with exactly
one O fact are kept, a fixed share of them as test sets (`test_oi`, `test_io`) that no regime trains on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from grokstudy.trainables.events import Event
from grokstudy.trainables.options import Problem, option
from grokstudy.trainables.randomness import IntArray, Stream
from grokstudy.trainables.tasks.graph import Examples, Graph, GraphData, GraphTask


@dataclass(frozen=True, kw_only=True)
class TwoHopOptions:
    """Options of the knowledge graph, its splits and the data regime."""

    entities: int = option(100, "entities E", ge=2)
    relations: int = option(20, "relations R", ge=1)
    out_degree: int = option(10, "facts per head entity d, over distinct relations", ge=1)
    ood_fraction: float = option(0.1, "share of atomic facts that are out-of-distribution", gt=0, lt=1)
    holdout: float = option(0.1, "share of the I-I chains held out as test_ii", gt=0, lt=1)
    mixed_holdout: float = option(0.1, "share of O-I and I-O chains held out as test_oi and test_io", gt=0, lt=1)
    phi: float = option(8.0, "trained I-I chains per in-distribution atomic fact", gt=0)
    exposure: Literal["natural", "first_hop", "second_hop", "both_hops"] = option(
        "natural", "in which hop the out-of-distribution facts of the test are seen composed"
    )
    exposure_ratio: float = option(1.0, "share of those facts that are exposed", gt=0, le=1)
    exposure_k: int | None = option(None, "chains added per exposed fact, null for all there are", ge=1)

    @property
    def atomic_facts(self) -> int:
        """Number of atomic facts C = E * d."""
        return self.entities * self.out_degree

    @property
    def chains(self) -> int:
        """Number of chains of two facts, E d^2."""
        return self.atomic_facts * self.out_degree

    @property
    def vocabulary(self) -> int:
        """Tokens: entities, relations, padding."""
        return self.entities + self.relations + 1

    @property
    def phi_max(self) -> float:
        """Expected largest phi: d (1 - ood_fraction) (1 - holdout)."""
        return self.out_degree * (1 - self.ood_fraction) * (1 - self.holdout)

    def problems(self) -> list[Problem]:
        """What is impossible about the graph, found without drawing it."""
        problems = []
        if self.out_degree > self.relations:
            message = f"{self.out_degree} distinct relations per head, but only {self.relations} exist"
            problems.append(Problem("data.out_degree", message))
        if 0 < self.holdout < 1 and 0 < self.ood_fraction < 1 and self.phi > 1.05 * self.phi_max:
            formula = f"out_degree * (1 - ood_fraction) * (1 - holdout) = {self.phi_max:.4g}"
            problems.append(Problem("data.phi", f"{self.phi:g} is above its maximum for this graph, {formula}"))
        if 0 < self.ood_fraction < 1 and round(self.ood_fraction * self.atomic_facts) < 1:
            message = f"{self.ood_fraction:g} of {self.atomic_facts} facts leaves none out-of-distribution"
            problems.append(Problem("data.ood_fraction", message))
        return problems


@dataclass(frozen=True)
class Pools:
    """Chains by class, as row numbers of `Graph.chains()`, each in a random order fixed by the seed.

    The orders do not depend on phi or on the exposure, so that regimes of one seed share their test sets and a
    smaller phi trains on a subset of a larger one.
    """

    train_ii: IntArray
    test_ii: IntArray
    train_oi: IntArray
    test_oi: IntArray
    train_io: IntArray
    test_io: IntArray
    test_oo: IntArray

    @classmethod
    def split(cls, graph: Graph, first: IntArray, second: IntArray, options: TwoHopOptions, seed: int) -> Pools:
        """Shuffle each class and hold out its share (rounded up for the mixed classes, so that none is empty)."""
        kind = 2 * graph.ood[first].astype(np.int64) + graph.ood[second]
        shuffled = []
        for code, name in enumerate(("ii", "io", "oi", "oo")):
            rows = np.flatnonzero(kind == code)
            shuffled.append(rows[Stream(seed, f"pool/{name}").permutation(len(rows))])
        ii, io, oi, oo = shuffled
        n_ii, n_io, n_oi = (
            int(np.ceil(share * len(rows)))
            for share, rows in ((options.holdout, ii), (options.mixed_holdout, io), (options.mixed_holdout, oi))
        )
        return cls(ii[n_ii:], ii[:n_ii], oi[n_oi:], oi[:n_oi], io[n_io:], io[:n_io], oo)


@dataclass(frozen=True)
class Drawn:
    """What a seed gives: the graph, its chains by class, and the rows of `Graph.chains()` that are trained."""

    graph: Graph
    first: IntArray
    second: IntArray
    pools: Pools
    trained: IntArray
    """Chains of two I facts."""
    exposed: IntArray
    """Chains that the regime adds."""

    def examples(self, rows: IntArray) -> Examples:
        """Token rows of chains."""
        return self.graph.two_hop(self.first[rows], self.second[rows])

    def composed(self) -> Examples:
        """The chains that are trained."""
        return self.examples(np.concatenate([self.trained, self.exposed]))

    def splits(self, seed: int, max_examples: int) -> dict[str, Examples]:
        """The evaluation splits, at most so many examples each."""
        pools, ood = self.pools, self.graph.ood
        order = Stream(seed, "atomic").permutation(len(ood))
        chains = {"train_ii": self.trained, "test_ii": pools.test_ii, "test_io": pools.test_io,
                  "test_oi": pools.test_oi, "test_oo": pools.test_oo}  # fmt: skip
        atoms = {"atomic_id": order[~ood[order]], "atomic_ood": order[ood[order]]}
        return {
            **{name: self.examples(rows[:max_examples]) for name, rows in chains.items()},
            **{name: self.graph.atomic(facts[:max_examples]) for name, facts in atoms.items()},
        }


SPLITS = {
    "train_ii": "trained two-hop facts, both hops in-distribution",
    "test_ii": "held-out two-hop facts, both hops in-distribution",
    "test_io": "held-out two-hop facts, hop 2 out-of-distribution",
    "test_oi": "held-out two-hop facts, hop 1 out-of-distribution",
    "test_oo": "two-hop facts with both hops out-of-distribution; never trained",
    "atomic_id": "in-distribution atomic facts",
    "atomic_ood": "out-of-distribution atomic facts (trained as facts, not composed unless exposed)",
}


class TwoHop(GraphTask):
    """The task `two_hop`."""

    Options = TwoHopOptions
    splits: ClassVar[dict[str, str]] = SPLITS
    headline = "test_oo"
    shown = ("train_ii", "test_ii", "test_oo")
    events: ClassVar[dict[str, Event]] = {
        "memorised": Event(metric="accuracy", split=("train_ii",), at_least=0.95),
        "generalised": Event(metric="accuracy", split=("test_oo",), at_least=0.5),
        "circuit": Event(metric="capacity", split=("test_oo",), at_least=0.5),
        "mediated": Event(metric="iia", split=("test_oo",), at_least=0.5),
        "decodable": Event(metric="bridge_hit", split=("test_oo",), at_least=0.85),
    }
    """`circuit`: half of the queries could be composed through the state at r1, answered or not (`probes/capacity.py`).
    `mediated`: answers run through it (`probes/mediation.py`). `decodable`: a logit lens reads the bridge there, used
    or not."""

    earlier_events: ClassVar[dict[str, Event]] = {
        "circuit": Event(metric="circuit_strength", split=("test_oo",), at_least=0.5)
    }
    """What stands in for an event in a study that measures only what was measured before."""

    @staticmethod
    def phi_limit(options: TwoHopOptions, seed: int) -> float:
        """Exact largest phi of this seed's graph."""
        graph = Graph.draw(options, seed)
        per_head = (~graph.ood).reshape(options.entities, options.out_degree).sum(axis=1)
        n_id = int((~graph.ood).sum())
        n_ii = int(per_head[graph.tail[~graph.ood]].sum())
        return (n_ii - int(np.ceil(options.holdout * n_ii))) / n_id

    @staticmethod
    def check(options: TwoHopOptions, seed: int) -> list[Problem]:
        """What this seed's graph makes impossible. Cheap: chains are counted, not listed."""
        limit = TwoHop.phi_limit(options, seed)
        if options.phi <= limit:
            return []
        return [Problem("data.phi", f"{options.phi:g} is above {limit:.4g}, the maximum for the graph of seed {seed}")]

    @staticmethod
    def draw(options: TwoHopOptions, seed: int) -> Drawn:
        """Draw the graph and choose what is trained. Raises ValueError when phi is above what the graph has."""
        graph = Graph.draw(options, seed)
        first, second = graph.chains()
        pools = Pools.split(graph, first, second, options, seed)
        n_train = round(options.phi * int((~graph.ood).sum()))
        if n_train > len(pools.train_ii):
            raise ValueError(str(TwoHop.check(options, seed)[0]))
        exposed = _exposure(pools, first, second, options, seed)
        return Drawn(graph, first, second, pools, pools.train_ii[:n_train], exposed)

    @classmethod
    def build(cls, options: TwoHopOptions, seed: int, max_examples: int) -> GraphData:
        """Draw graph, training set and splits.

        Raises ValueError when phi is above what the graph of this seed has, or an evaluation split is empty.
        """
        drawn = TwoHop.draw(options, seed)
        graph, pools = drawn.graph, drawn.pools
        facts = np.arange(len(graph.head), dtype=np.int64)
        splits = drawn.splits(seed, max_examples)
        refuse_empty(splits, seed, "ood_fraction")
        composed = drawn.composed()
        train = Examples.concatenate([graph.atomic(facts), composed])
        sizes = {
            "atomic": len(facts), "atomic_id": int((~graph.ood).sum()), "atomic_ood": int(graph.ood.sum()),
            "chains_ii": len(pools.train_ii) + len(pools.test_ii),
            "chains_oi": len(pools.train_oi) + len(pools.test_oi),
            "chains_io": len(pools.train_io) + len(pools.test_io), "chains_oo": len(pools.test_oo),
            "trained_ii": len(drawn.trained), "exposed": len(drawn.exposed), "train": len(train),
        }  # fmt: skip
        return GraphData(train, splits, sizes, options.entities, graph, composed)


def refuse_empty(splits: dict[str, Examples], seed: int, option_name: str) -> None:
    """Raise ValueError when an evaluation split has no example."""
    empty = [name for name, examples in splits.items() if not len(examples)]
    if empty:
        raise ValueError(f"data: split {', '.join(empty)} is empty for seed {seed}; enlarge the graph or {option_name}")


def _exposure(pools: Pools, first: IntArray, second: IntArray, options: TwoHopOptions, seed: int) -> IntArray:
    """Chains that the regime adds to the training set; never one with two O facts, never a test chain."""
    exposed = [np.empty(0, np.int64)]
    for hop, pool, fact_of in (("first_hop", pools.train_oi, first), ("second_hop", pools.train_io, second)):
        if options.exposure in (hop, "both_hops"):
            stream = Stream(seed, f"exposure/{hop}")
            exposed.append(_exposed(pool, fact_of, fact_of[pools.test_oo], options, stream))
    return np.concatenate(exposed)


def _exposed(pool: IntArray, fact_of: IntArray, universe: IntArray, options: TwoHopOptions, stream: Stream) -> IntArray:
    """Chains of `pool` to train on: up to k per fact, for a share of the O facts that the test uses in this hop."""
    facts = np.unique(universe)
    chosen = facts[stream.permutation(len(facts))[: round(options.exposure_ratio * len(facts))]]
    exposed = pool[np.isin(fact_of[pool], chosen)]
    if options.exposure_k is None:
        return exposed
    order = np.argsort(fact_of[exposed], kind="stable")
    fact = fact_of[exposed][order]
    rank = np.arange(len(exposed)) - np.searchsorted(fact, fact, side="left")
    return exposed[np.sort(order[rank < options.exposure_k])]
