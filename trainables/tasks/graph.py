"""A knowledge graph, rows of tokens, and what a task gives for one seed: what the tasks over a graph share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from grokstudy.trainables.measurements import NEEDS
from grokstudy.trainables.randomness import IntArray, Stream
from grokstudy.trainables.tasks.base import Mechanism, Shape, Task, TaskData

if TYPE_CHECKING:
    from grokstudy.trainables.tasks.k_hop import KHopOptions
    from grokstudy.trainables.tasks.two_hop import TwoHopOptions


@dataclass(frozen=True)
class Examples:
    """N token rows with the place and the value of the answer."""

    tokens: IntArray
    """(N, 3): h, r1, r2; padded after r1 for atomic facts."""
    answer_at: IntArray
    """(N,): position whose logits give the answer: 1 for atomic, 2 for two-hop facts."""
    answer: IntArray
    """(N,): token of the answer."""
    bridge: IntArray
    """(N,): token of the bridge entity, -1 for atomic facts."""

    def __len__(self) -> int:
        return len(self.answer)

    mechanism: ClassVar[Mechanism] = Mechanism()
    weight: ClassVar[None] = None

    @property
    def inputs(self) -> IntArray:
        """(N, 3): the tokens."""
        return self.tokens

    @property
    def at(self) -> IntArray:
        """(N, 1): place of the one answer."""
        return self.answer_at[:, None]

    @property
    def target(self) -> IntArray:
        """(N, 1): the one answer."""
        return self.answer[:, None]

    def take(self, rows: IntArray | slice) -> Examples:
        """The chosen rows."""
        return Examples(self.tokens[rows], self.answer_at[rows], self.answer[rows], self.bridge[rows])

    @classmethod
    def concatenate(cls, parts: list[Examples]) -> Examples:
        """All rows of several, in order."""
        columns = ("tokens", "answer_at", "answer", "bridge")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


@dataclass(frozen=True)
class GraphData(TaskData):
    """The training set and the fixed evaluation splits of one seed, with the graph that probes look things up in.

    `sizes`: facts, chains by class, trained and exposed chains, phi reached.
    """

    train: Examples
    splits: Mapping[str, Examples]
    entities: int
    """Entity tokens are 0 .. entities - 1."""
    graph: Graph
    composed: Examples
    """Every chain that the weights may have been trained on: those of `train`, and those of a warm start's source."""

    @property
    def vocabulary(self) -> int:
        """Tokens: entities, relations, padding."""
        return self.entities + self.graph.relations + 1


@dataclass(frozen=True)
class Graph:
    """Atomic facts, and which are out-of-distribution. Facts of head e are rows e*d .. e*d + d - 1."""

    head: IntArray
    relation: IntArray
    tail: IntArray
    ood: np.ndarray
    entities: int
    """Entity e is token e."""
    relations: int
    """Relation r is token entities + r; behind the relations comes padding."""
    out_degree: int

    @classmethod
    def draw(cls, options: TwoHopOptions | KHopOptions, seed: int) -> Graph:
        """Draw d distinct relations per head, uniform tails (self-loops possible), and the O facts."""
        entities, relations, facts = options.entities, options.relations, options.atomic_facts
        stream = Stream(seed, "graph")
        keys = stream.raw(entities * relations).reshape(entities, relations)
        relation = np.sort(np.argsort(keys, axis=1, kind="stable")[:, : options.out_degree], axis=1).reshape(-1)
        tail = stream.integers(entities, facts)
        ood = np.zeros(facts, dtype=bool)
        ood[Stream(seed, "split").permutation(facts)[: round(options.ood_fraction * facts)]] = True
        head = np.repeat(np.arange(entities, dtype=np.int64), options.out_degree)
        return cls(head, relation.astype(np.int64), tail, ood, entities, relations, options.out_degree)

    def chains(self) -> tuple[IntArray, IntArray]:
        """All (hop-1 fact, hop-2 fact) pairs, by hop-1 fact then hop-2 fact."""
        first = np.repeat(np.arange(len(self.head), dtype=np.int64), self.out_degree)
        within = np.tile(np.arange(self.out_degree, dtype=np.int64), len(self.head))
        return first, self.tail[first] * self.out_degree + within

    def two_hop(self, first: IntArray, second: IntArray) -> Examples:
        """Token rows of chains."""
        r1, r2 = self.entities + self.relation[first], self.entities + self.relation[second]
        tokens = np.stack([self.head[first], r1, r2], axis=1)
        return Examples(tokens, np.full(len(first), 2, np.int64), self.tail[second], self.tail[first])

    def atomic(self, facts: IntArray) -> Examples:
        """Token rows of atomic facts."""
        missing, padding = (np.full(len(facts), value, np.int64) for value in (-1, self.entities + self.relations))
        tokens = np.stack([self.head[facts], self.entities + self.relation[facts], padding], axis=1)
        return Examples(tokens, np.ones(len(facts), np.int64), self.tail[facts], missing)


POSITIONS = ("h", "r1", "r2")
BRIDGE_PLACES = POSITIONS[1:]
"""Where probes look for the bridge, and the position of l*: at the last token of hop 1, or in the slot behind it where
a network says the tail of a fact one slot later. Each model has one of them (`Network.says_behind`)."""
IN_DISTRIBUTION = ("train_ii", "test_ii")
"""Splits of chains of two in-distribution facts, trained and held out."""


def chain_shape(vocabulary: int, entities: int) -> Shape:
    """Three tokens and one answer, an entity."""
    candidates = (0, entities)
    return Shape(len(POSITIONS), (vocabulary,), classes=vocabulary, candidates=candidates, names=POSITIONS)


class GraphTask(Task):
    """What the tasks over a graph have in common; their options are those of `two_hop` or more."""

    positions = POSITIONS
    families = ("decoder", "mixer")
    losses = ("answer", "all_tokens", "answer_stablemax", "all_tokens_stablemax")
    probes = tuple(NEEDS)
    default_probes = ("logit_lens", "patching", "cqsp", "circuit")

    @staticmethod
    def shape(options: TwoHopOptions) -> Shape:
        """The shape of facts and chains."""
        return chain_shape(options.vocabulary, options.entities)

    @staticmethod
    def memory(options: TwoHopOptions) -> tuple[float, str, frozenset[str]]:
        """A chain takes 64 bytes while the data are drawn."""
        keys = frozenset({"data.entities", "data.relations", "data.out_degree"})
        return 64.0 * options.chains, f"a graph of {options.chains:,} chains", keys
