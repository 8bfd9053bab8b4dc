"""The knowledge graph as a table, and uniform choices among candidates: how queries and partners are drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grokstudy.trainables.randomness import IntArray, Stream
from grokstudy.trainables.tasks.graph import GraphData

Bools = NDArray[np.bool_]


class Lookup:
    """The knowledge graph as a table: which fact a head and a relation make."""

    def __init__(self, data: GraphData) -> None:
        """Index the graph's facts."""
        self.graph, self.entities, self.relations = data.graph, data.graph.entities, data.graph.relations
        self.fact_ER = np.full((self.entities, self.relations), -1, np.int64)
        self.fact_ER[self.graph.head, self.graph.relation] = np.arange(len(self.graph.head))

    def fact(self, head: IntArray, relation: IntArray) -> IntArray:
        """Row of the fact (head, relation), -1 where there is none or the head is -1."""
        return np.where(head >= 0, self.fact_ER[head, relation], -1)

    def tail(self, head: IntArray, relation: IntArray) -> IntArray:
        """Tail of the fact (head, relation), -1 where there is none."""
        fact = self.fact(head, relation)
        return np.where(fact >= 0, self.graph.tail[fact], -1)


def pick(valid_SC: Bools, stream: Stream) -> tuple[IntArray, IntArray]:
    """A uniform choice among the valid candidates of each row: the rows that have one, and the choices."""
    count = valid_SC.sum(axis=1)
    rank = np.floor(stream.uniform(len(count)) * count).astype(np.int64)
    choice = (valid_SC.cumsum(axis=1) > rank[:, None]).argmax(axis=1)
    rows = np.flatnonzero(count > 0)
    return rows, choice[rows]


def pick_several(valid_SC: Bools, stream: Stream, most: int) -> IntArray:
    """Up to `most` distinct uniform choices (S, N) among the valid candidates of each row, -1 where there are fewer."""
    count_S, rank_S1 = valid_SC.sum(axis=1), valid_SC.cumsum(axis=1)
    uniform_SN = stream.uniform(len(count_S) * most).reshape(-1, most)
    ranks: list[IntArray] = []
    for n in range(most):
        left_S = count_S - n
        rank_S = np.floor(uniform_SN[:, n] * left_S).astype(np.int64)
        for taken_S in np.sort(np.array(ranks).reshape(n, len(count_S)), axis=0):
            rank_S += rank_S >= taken_S
        ranks.append(np.where(left_S > 0, rank_S, -1))
    chosen = [np.where(rank_S >= 0, (rank_S1 > rank_S[:, None]).argmax(axis=1), -1) for rank_S in ranks]
    return np.stack(chosen, axis=1)
