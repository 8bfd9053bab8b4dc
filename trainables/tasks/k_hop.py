"""Chains of two or three hops whose facts differ in how they are trained (arXiv 2505.23653 sections 3 and 4).

The graph, and which facts are out-of-distribution, are those of `two_hop` with the same sizes and seed. A chain of k
facts gives (h, r1, .., rk) -> t, with the bridges b1 .. b(k-1) between. Each fact is of one class, which says whether
it is trained as a fact, and where in a training chain it may stand:

| class | as a fact | as hop 1 | as a later hop |
| I | yes, unless `anchored` is false | yes | yes |
| O, out-of-distribution | yes | no | no |
| R, no later hop | as I | yes | no |
| H, held-out atomic | no | yes | yes |

So the paper's base run and its ablations are trained at once: R and H take part in no chain that has an O fact, and
what is asked of one class does not depend on the others. Of the chains that may be trained a share is held out, and phi
per fact that is not O are trained.

The letters of a split are hop 1 and the later hops: `test_oi` has an O fact first and none later, `test_io` an O fact
later and none first. Of three hops, `test_iio` and its like tell the later ones apart. An I in them is a fact that is
trained there: I, R or H as hop 1, I or H later.

Who answers with the most frequent trained answer of the last relation is right more often than one in E; the score
`prior` says how often. A donor of the swaps (cross-query semantic patching) is another test chain of the same letters,
with the same relations behind the place that is written: it is never trained, so that a model that knows its trained
chains by heart has nothing to hand over.

Differences from the released data: classes and held-out chains are exact shares; phi is chains per fact that is not O
(the paper's three-hop 12 per atomic fact are 15); its notebook reads the phi 7.2 of its two-hop cells, a float, as a
ratio, and so takes all of the pool: phi about 18.

Axes: N chain or example, K hop, T place, W candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from grokstudy.trainables.events import Event
from grokstudy.trainables.options import Problem, option
from grokstudy.trainables.randomness import IntArray, Stream
from grokstudy.trainables.tasks.base import NOTHING, Mechanism, Shape, StoredRows, Task, TaskData, placed
from grokstudy.trainables.tasks.graph import Graph

if TYPE_CHECKING:
    from torch import Tensor

    from grokstudy.trainables.tasks.base import Batch

Mask = NDArray[np.bool_]
PLACES = ("h", "r1", "r2", "r3")
LONGEST = len(PLACES) - 1
"""Hops at most."""
CANDIDATES = 64
"""Chains that are looked at for a donor."""


@dataclass(frozen=True, kw_only=True)
class KHopOptions:
    """Options of the graph, of its classes of facts, and of what is trained.

    The paper's two hops: 2000 entities, 200 relations, 20 facts each, 5 % O, 5 % held out. Its three: 1000, 100, 10,
    20 %, 5 %, phi 15. R and H are 5 % there, each in a run of its own.
    """

    hops: int = option(2, "facts of a chain", ge=2, le=LONGEST)
    entities: int = option(50, "entities E", ge=2)
    relations: int = option(15, "relations R", ge=1)
    out_degree: int = option(10, "facts per head entity d, over distinct relations", ge=1)
    ood_fraction: float = option(0.1, "share of atomic facts that are out-of-distribution (O)", gt=0, lt=1)
    no_later_hop: float = option(0.08, "share of the others that are no later hop of a training chain (R)", ge=0, lt=1)
    held_out_atomic: float = option(0.08, "share of the others that are not trained as facts (H)", ge=0, lt=1)
    anchored: bool = option(True, "train in-distribution facts as facts, too; else those of class O alone")
    holdout: float = option(0.1, "share of the chains without an O fact held out as test_ii", gt=0, lt=1)
    phi: float = option(7.0, "trained chains per fact that is not O", gt=0)

    @property
    def atomic_facts(self) -> int:
        """Number of atomic facts, E * d."""
        return self.entities * self.out_degree

    @property
    def ood(self) -> int:
        """Facts of class O."""
        return round(self.ood_fraction * self.atomic_facts)

    @property
    def facts_id(self) -> int:
        """Facts of the other classes."""
        return self.atomic_facts - self.ood

    @property
    def chains(self) -> int:
        """Number of chains, E d^k."""
        return int(self.entities * self.out_degree**self.hops)

    @property
    def vocabulary(self) -> int:
        """Tokens: entities, relations, padding."""
        return self.entities + self.relations + 1

    @property
    def phi_max(self) -> float:
        """Expected largest phi: (d (1 - ood_fraction) (1 - no_later_hop))^(k - 1) (1 - holdout)."""
        later = self.out_degree * (1 - self.ood_fraction) * (1 - self.no_later_hop)
        return float(later ** (self.hops - 1) * (1 - self.holdout))

    def problems(self) -> list[Problem]:
        """What is impossible about the graph, found without drawing it."""
        problems = []
        if self.out_degree > self.relations:
            message = f"{self.out_degree} distinct relations per head, but only {self.relations} exist"
            problems.append(Problem("data.out_degree", message))
        if not self.ood:
            message = f"{self.ood_fraction:g} of {self.atomic_facts} facts leaves none out-of-distribution"
            problems.append(Problem("data.ood_fraction", message))
        for key in ("no_later_hop", "held_out_atomic"):
            share = getattr(self, key)
            if share and not round(share * self.facts_id):
                message = f"{share:g} of {self.facts_id} facts leaves none; give 0 to do without"
                problems.append(Problem(f"data.{key}", message))
        if self.no_later_hop + self.held_out_atomic >= 1:
            message = f"{self.held_out_atomic:g}, and no_later_hop {self.no_later_hop:g}, leave no other facts"
            problems.append(Problem("data.held_out_atomic", message))
        elif self.phi > 1.05 * self.phi_max:
            formula = "(out_degree (1 - ood_fraction) (1 - no_later_hop))^(hops - 1) (1 - holdout)"
            message = f"{self.phi:g} is above its maximum for this graph, {formula} = {self.phi_max:.4g}"
            problems.append(Problem("data.phi", message))
        return problems


@dataclass(frozen=True)
class Classes:
    """The class of each fact, as masks over the facts of a graph."""

    ood: Mask
    no_later: Mask
    held_out: Mask

    @classmethod
    def draw(cls, graph: Graph, options: KHopOptions, seed: int) -> Classes:
        """R and H among the facts that are not O."""
        others = np.flatnonzero(~graph.ood)
        order = others[Stream(seed, "classes").permutation(len(others))]
        sizes = [round(share * len(others)) for share in (options.no_later_hop, options.held_out_atomic)]
        no_later, held_out = (np.zeros(len(graph.ood), dtype=bool) for _ in range(2))
        no_later[order[: sizes[0]]] = True
        held_out[order[sizes[0] : sum(sizes)]] = True
        return cls(graph.ood, no_later, held_out)

    @property
    def plain(self) -> Mask:
        """Class I."""
        return ~(self.ood | self.no_later | self.held_out)

    @property
    def later(self) -> Mask:
        """Facts that may be a later hop of a training chain."""
        return ~(self.ood | self.no_later)

    def named(self) -> dict[str, Mask]:
        """By the splits of facts."""
        masks = {"id": self.plain, "ood": self.ood, "r": self.no_later, "h": self.held_out}
        return {f"atomic_{name}": mask for name, mask in masks.items()}

    def trained(self, anchored: bool) -> Mask:
        """What is trained as a fact."""
        return ~self.held_out if anchored else self.ood


@dataclass(frozen=True)
class Pools:
    """Chains (N, K) of facts by the letters of their split, each in a random order fixed by the seed."""

    trained: IntArray
    tests: Mapping[str, IntArray]

    @classmethod
    def split(cls, graph: Graph, classes: Classes, options: KHopOptions, seed: int) -> Pools:
        """Every chain, by its facts; tests do not depend on phi, and a smaller phi trains on a subset of a larger one.

        Raises ValueError when phi is above what the graph has.
        """
        limit = phi_limit(graph, classes, options)
        if options.phi > limit:
            raise ValueError(_above(options, seed, limit))
        chain_NK = _chains(graph, options.hops)
        first, later = np.split(chain_NK, [1], axis=1)
        ood_1, ood = classes.ood[first[:, 0]], classes.ood[later]
        barred = classes.no_later[later].any(axis=1)
        pools = {
            letters: _shuffled(chain_NK, (ood_1 == (letters[0] == "o")) & (ood.any(axis=1) == (letters[1] == "o"))
                               & ~barred, f"pool/{letters}", seed)
            for letters in ("ii", "io", "oi", "oo")
        }  # fmt: skip
        n_held_out = int(np.ceil(options.holdout * len(pools["ii"])))
        held_out, free = np.split(pools["ii"], [n_held_out])
        tests = {**pools, "ii": held_out}
        if options.no_later_hop:
            tests["r"] = _shuffled(chain_NK, ~ood_1 & ~ood.any(axis=1) & barred, "pool/r", seed)
        for letters in _told_apart(options.hops):
            pattern = np.array([letter == "o" for letter in letters])
            mask = (classes.ood[chain_NK] == pattern).all(axis=1) & ~barred
            tests[letters] = _shuffled(chain_NK, mask, f"pool/{letters}", seed)
        return cls(free[: round(options.phi * options.facts_id)], tests)


def _chains(graph: Graph, hops: int) -> IntArray:
    """All chains (N, K) of facts that join."""
    d = graph.out_degree
    chain_NK = np.arange(len(graph.head), dtype=np.int64)[:, None]
    for _ in range(hops - 1):
        within = np.tile(np.arange(d, dtype=np.int64), len(chain_NK))
        chain_NK = np.repeat(chain_NK, d, axis=0)
        chain_NK = np.concatenate([chain_NK, (graph.tail[chain_NK[:, -1]] * d + within)[:, None]], axis=1)
    return chain_NK


def _shuffled(chain_NK: IntArray, mask: Mask, name: str, seed: int) -> IntArray:
    rows = np.flatnonzero(mask)
    return chain_NK[rows[Stream(seed, name).permutation(len(rows))]]


def _told_apart(hops: int) -> list[str]:
    """Letters of every hop, of chains with an O fact as a later hop, where there are several of these."""
    every = ("".join(letters) for letters in product("io", repeat=hops))
    return [letters for letters in every if hops > 2 and "o" in letters[1:]]


def phi_limit(graph: Graph, classes: Classes, options: KHopOptions) -> float:
    """Exact largest phi of a graph: chains are counted, not listed."""
    ways = np.ones(options.entities, np.int64)
    for _ in range(options.hops - 1):
        joined = np.where(classes.later, ways[graph.tail], 0)
        ways = joined.reshape(options.entities, options.out_degree).sum(axis=1)
    count = int(ways[graph.tail[~classes.ood]].sum())
    return (count - int(np.ceil(options.holdout * count))) / options.facts_id


def _above(options: KHopOptions, seed: int, limit: float) -> str:
    return f"{options.phi:g} is above {limit:.4g}, the maximum for the graph of seed {seed}"


@dataclass(frozen=True)
class Sayer:
    """Says facts and chains as rows of tokens, with what scores and probes look for."""

    graph: Graph
    hops: int
    seed: int

    def facts(self, fact_N: IntArray) -> StoredRows:
        """Rows of atomic facts."""
        graph = self.graph
        tokens = np.full((len(fact_N), self.hops + 1), graph.entities + graph.relations, np.int64)
        tokens[:, 0], tokens[:, 1] = graph.head[fact_N], graph.entities + graph.relation[fact_N]
        return StoredRows(tokens, np.ones((len(fact_N), 1), np.int64), graph.tail[fact_N][:, None])

    def said(self, chain_NK: IntArray) -> IntArray:
        """Tokens (N, T) of chains."""
        graph = self.graph
        return np.concatenate([graph.head[chain_NK[:, :1]], graph.entities + graph.relation[chain_NK]], axis=1)

    def chains(self, chain_NK: IntArray) -> StoredRows:
        """Rows of chains."""
        at = np.full((len(chain_NK), 1), self.hops, np.int64)
        return StoredRows(self.said(chain_NK), at, self.graph.tail[chain_NK[:, -1:]])

    def sought(self, split: str, chain_NK: IntArray, pool_NK: IntArray) -> Mechanism:
        """Each bridge where it can first be known, and a donor for it from a pool of test chains."""
        latent, donor, swap = {}, {}, {}
        for hop in range(1, self.hops):
            name, bridge_N = f"b{hop}", self.graph.tail[chain_NK[:, hop - 1]]
            latent[name] = placed(hop, bridge_N)
            other_NK, mask_N = self._donors(f"donor/{name}/{split}", chain_NK, pool_NK, hop)
            donor[name] = self.said(other_NK)
            swap[name] = placed(hop, np.where(mask_N, self.graph.tail[other_NK[:, -1]], -1))
        return Mechanism(latent=latent, donor=donor, swap=swap)

    def _donors(self, name: str, chain_NK: IntArray, pool_NK: IntArray, hop: int) -> tuple[IntArray, Mask]:
        """For each chain one of the pool (itself where there is none), and whether there is one.

        It has the same relations behind this hop, and another bridge there and another answer. It is the first such
        chain from a random one of those with these relations on, `CANDIDATES` at most.
        """
        tail, pool_key = self.graph.tail, self._key(pool_NK, hop)
        order = np.argsort(pool_key, kind="stable")
        key_N = self._key(chain_NK, hop)
        begin_N, end_N = (np.searchsorted(pool_key[order], key_N, side=side) for side in ("left", "right"))
        alike_N = (end_N - begin_N)[:, None]
        step_W = np.arange(CANDIDATES)
        from_N = (Stream(self.seed, name).uniform(len(chain_NK))[:, None] * alike_N).astype(np.int64)
        index_NW = begin_N[:, None] + (from_N + step_W) % np.maximum(alike_N, 1)
        other_NWK = pool_NK[order[np.minimum(index_NW, len(pool_NK) - 1)]]
        fit_NW = (step_W < alike_N) & (tail[other_NWK[..., hop - 1]] != tail[chain_NK[:, None, hop - 1]])
        fit_NW &= tail[other_NWK[..., -1]] != tail[chain_NK[:, None, -1]]
        row, first = np.arange(len(chain_NK)), fit_NW.argmax(axis=1)
        mask_N = fit_NW[row, first]
        return np.where(mask_N[:, None], other_NWK[row, first], chain_NK), mask_N

    def _key(self, chain_NK: IntArray, hop: int) -> IntArray:
        """One number for the relations behind a hop."""
        key = np.zeros(len(chain_NK), np.int64)
        for later in range(hop, self.hops):
            key = key * self.graph.relations + self.graph.relation[chain_NK[:, later]]
        return key


def _with_prior(graph: Graph, rows: StoredRows, trained: StoredRows, sought: Mechanism = NOTHING) -> StoredRows:
    """The rows, with the most frequent answer of trained rows with the same last relation, -1 where there are none."""

    def last_relation(of: StoredRows) -> IntArray:
        return np.take_along_axis(of.inputs, of.at, axis=1)[:, 0] - graph.entities

    count = np.zeros((graph.relations, graph.entities), np.int64)
    np.add.at(count, (last_relation(trained), trained.target[:, 0]), 1)
    guess = np.where(count.any(axis=1), count.argmax(axis=1), -1)
    return replace(rows, mechanism=replace(sought, notes={"prior": guess[last_relation(rows)][:, None]}))


TESTS = {
    "test_ii": "held-out chains without an out-of-distribution fact",
    "test_io": "chains with an out-of-distribution fact as a later hop, not as hop 1; never trained",
    "test_oi": "chains with an out-of-distribution fact as hop 1 alone; never trained",
    "test_oo": "chains with an out-of-distribution fact as hop 1 and as a later hop; never trained",
}


class KHop(Task):
    """The task `k_hop`."""

    Options = KHopOptions
    splits: ClassVar[dict[str, str]] = {
        "train_ii": "trained chains",
        **TESTS,
        "test_r": "chains without an out-of-distribution fact, a later hop of class R: trained as hop 1 and as a fact",
        **{
            f"test_{letters}": f"of three hops, each {' / '.join(letters)} (in- or out-of-distribution); never trained"
            for letters in _told_apart(LONGEST)
        },
        "atomic_id": "facts of class I (trained as facts, if anchored)",
        "atomic_ood": "out-of-distribution facts (trained as facts, in no chain)",
        "atomic_r": "facts of class R (trained as facts, if anchored, and as hop 1)",
        "atomic_h": "facts of class H: trained in chains, never as facts",
    }
    headline = "test_oi"
    shown = ("train_ii", "test_ii", "test_oi", "atomic_ood")
    positions = PLACES
    losses = ("answer", "all_tokens", "answer_stablemax", "all_tokens_stablemax")
    metrics: ClassVar[dict[str, str]] = {
        "prior": "share in which the most frequent trained answer of the last relation is right, whatever a model says"
    }
    latents: ClassVar[dict[str, str]] = {
        "b1": "bridge behind hop 1, at r1",
        "b2": "bridge behind hop 2, at r2 (of three hops)",
    }
    swaps: ClassVar[dict[str, str]] = {
        "b1": "state at r1 of an untrained chain with another bridge there and the same relations behind it",
        "b2": "the same at r2 (of three hops)",
    }
    events: ClassVar[dict[str, Event]] = {
        "memorised": Event(metric="accuracy", split=("train_ii",), at_least=0.95),
        "generalised_ii": Event(metric="accuracy", split=("test_ii",), at_least=0.5),
        "generalised": Event(metric="accuracy", split=("test_oi",), at_least=0.5),
        "io": Event(metric="accuracy", split=("test_io",), at_least=0.5),
        "circuit_ii": Event(metric="swap_b1", split=("test_ii",), at_least=0.5),
        "circuit": Event(metric="swap_b1", split=("test_oi",), at_least=0.5),
        "decodable": Event(metric="lens_b1", split=("test_oi",), at_least=0.85),
    }
    """`circuit`: answers follow what stands at r1 behind an O fact. `decodable`: a logit lens reads the bridge there,
    used or not."""
    default_probes = ("lens", "swap")

    @staticmethod
    def shape(options: KHopOptions) -> Shape:
        """A chain's tokens and one answer, an entity. Which splits there are is equal in a pack."""
        length, vocabulary = options.hops + 1, options.vocabulary
        return Shape(
            length, (vocabulary,), classes=vocabulary, candidates=(0, options.entities), names=PLACES[:length],
            static=KHop.splits_of(options),
        )  # fmt: skip

    @classmethod
    def splits_of(cls, options: KHopOptions) -> tuple[str, ...]:
        """Three letters are for three hops; classes that no fact is of are not asked."""
        optional = {
            **dict.fromkeys((f"test_{letters}" for letters in _told_apart(LONGEST)), options.hops == LONGEST),
            **dict.fromkeys(("test_r", "atomic_r"), options.no_later_hop > 0), "atomic_h": options.held_out_atomic > 0,
        }  # fmt: skip
        return tuple(name for name in cls.splits if optional.get(name, True))

    @staticmethod
    def memory(options: KHopOptions) -> tuple[float, str, frozenset[str]]:
        """A hop of a chain takes 32 bytes while the data are drawn."""
        keys = frozenset({"data.entities", "data.relations", "data.out_degree", "data.hops"})
        return 32.0 * options.hops * options.chains, f"a graph of {options.chains:,} chains", keys

    @staticmethod
    def check(options: KHopOptions, seed: int) -> list[Problem]:
        """What this seed's graph makes impossible."""
        graph = Graph.draw(options, seed)
        limit = phi_limit(graph, Classes.draw(graph, options, seed), options)
        return [] if options.phi <= limit else [Problem("data.phi", _above(options, seed, limit))]

    @classmethod
    def build(cls, options: KHopOptions, seed: int, max_examples: int) -> TaskData:
        """Draw graph, classes, training set and splits.

        Raises ValueError when phi is above what the graph of this seed has, or a split is empty.
        """
        graph = Graph.draw(options, seed)
        classes = Classes.draw(graph, options, seed)
        pools = Pools.split(graph, classes, options, seed)
        say = Sayer(graph, options.hops, seed)
        atoms, composed = say.facts(np.flatnonzero(classes.trained(options.anchored))), say.chains(pools.trained)
        splits = {}
        for name, pool in {"train_ii": pools.trained, **{f"test_{k}": v for k, v in pools.tests.items()}}.items():
            chains = pool[:max_examples]
            donors = pools.tests["ii"] if name == "train_ii" else pool
            coarse = name.removeprefix("test_") not in _told_apart(options.hops)
            sought = say.sought(name, chains, donors) if coarse else NOTHING
            splits[name] = _with_prior(graph, say.chains(chains), composed, sought)
        order = Stream(seed, "atomic").permutation(len(graph.head))
        for name, mask in classes.named().items():
            if name in cls.splits_of(options):
                splits[name] = _with_prior(graph, say.facts(order[mask[order]][:max_examples]), atoms)
        if empty := [name for name, rows in splits.items() if not len(rows)]:
            message = f"data: split {', '.join(empty)} is empty for seed {seed}; enlarge the graph or ood_fraction"
            raise ValueError(message)
        inputs, at, target = (
            np.concatenate([getattr(rows, name) for rows in (atoms, composed)]) for name in ("inputs", "at", "target")
        )
        train = StoredRows(inputs, at, target)
        sizes = {
            "atomic": len(graph.head), **{name: int(mask.sum()) for name, mask in classes.named().items()},
            **{f"chains_{name}": len(pool) for name, pool in pools.tests.items()},
            "trained_atomic": len(atoms), "trained_ii": len(composed), "train": len(train),
        }  # fmt: skip
        return TaskData(train, splits, sizes)

    @staticmethod
    def scores(output_MSAx: Tensor, rows: Batch) -> dict[str, Tensor]:
        """Per example: whether the most frequent trained answer of its last relation is right."""
        return {"prior": rows.mechanism.notes["prior"][..., 0] == rows.target_MBAx[:, :, 0]}
