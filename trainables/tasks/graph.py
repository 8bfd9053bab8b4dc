"""A knowledge graph, rows of tokens, and what a task gives for one seed: what the tasks over a graph share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokstudy.trainables.randomness import IntArray, Stream

if TYPE_CHECKING:
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

    def take(self, rows: IntArray | slice) -> Examples:
        """The chosen rows."""
        return Examples(self.tokens[rows], self.answer_at[rows], self.answer[rows], self.bridge[rows])

    @classmethod
    def concatenate(cls, parts: list[Examples]) -> Examples:
        """All rows of several, in order."""
        columns = ("tokens", "answer_at", "answer", "bridge")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


@dataclass(frozen=True)
class TaskData:
    """The training set and the fixed evaluation splits of one seed."""

    train: Examples
    splits: dict[str, Examples]
    entities: int
    """Entity tokens are 0 .. entities - 1."""
    vocabulary: int
    sizes: dict[str, int]
    """Counts that a reader wants to see: facts, chains by class, trained and exposed chains, phi reached."""
    graph: Graph
    composed: Examples
    """Every chain that the weights may have been trained on: those of `train`, and those of a warm start's source."""

    @property
    def hash(self) -> str:
        """sha256 over training set and splits, 16 hex digits."""
        digest = hashlib.sha256()
        for examples in (self.train, *self.splits.values()):
            digest.update(np.ascontiguousarray(examples.tokens).tobytes())
            digest.update(np.ascontiguousarray(examples.answer).tobytes())
        return digest.hexdigest()[:16]


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
    def draw(cls, options: TwoHopOptions, seed: int) -> Graph:
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
