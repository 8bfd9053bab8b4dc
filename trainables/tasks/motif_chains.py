"""Chains of motifs: exemplars in the prompt say in which order known graphs are passed (arXiv 2402.07757).

    <next> exemplar ... <next> exemplar <ask> g s n_1 ... n_k = g <end>

The motifs of a seed are small Bernoulli graphs: an order of their nodes, an edge to a later one with probability p,
none that would make a walk longer than `most_edges`. No edge leads from one motif to another. A row draws an order of
motifs, and for each two of them that follow each other a ghost edge from a sink of the one to a source of the other.
An exemplar is a walk over one ghost edge: from a source of a motif to its sink, over the edge, and on to a sink of the
next motif. Then comes what is asked: a goal g in the last motif, a start s in the first, and everything behind s, a
walk that is uniform among the steps from which the next ghost edge, at last the goal, can be reached. Motifs can be
learnt; ghost edges are new in each row and are to be read in its exemplars: a walk to the goal follows them.

An order is new if it has a held-out triple: for every two motifs, `held_out` of the third ones never follow them in
training. Orders are drawn motif by motif among those that may come next, of which there always is one, so that no order
has to be drawn again. Chains of split `longer` have trained triples alone: they are nothing but longer.

In `conflict` two chains lead from the same exit of the first motif to the same source of the last one, over motifs of
their own, and both are shown, one after the other. Which of them is first is by chance, so that what a model knows of
either says nothing; `conflict_swapped` are the same rows with the exemplars of the second chain first. Together they
have no more exemplars than the longest trained chain, or four, as many as two chains need.

Text and code of the paper were not reachable. Reviews of it say that chains have up to 4 motifs between the first and
the last in training and 1 to 6 in tests, that prompts are of about 100 tokens, and that of two conflicting chains the
first is followed in .7 to .8. Chosen here, because unknown: the number of motifs, their size and p, that the goal comes
before the start, so that the walk goes on from there, how orders are held out, and <end>, without which a walk would
not say where it ends. In the order of the chain, exemplars could be found by counting; `shuffled`, by the exit alone.

    option                             laptop (default)  near the paper
    motifs, nodes, edge                10, 5, .5         12, 10, .3
    most_edges                         2                 3
    trained, tested (between the ends) 3, 5              4, 6
    places in training, at most        45, 65            71, 97

Axes: M member, B or S example, X motif, N node of a motif, V node, K motif of a chain, E exemplar, L node of a walk
through a motif, P such a walk, A answer, T place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grokstudy.trainables.events import Event
from grokstudy.trainables.options import Problem, option
from grokstudy.trainables.randomness import IntArray, Stream
from grokstudy.trainables.tasks.base import Batch, Fresh, Mechanism, Shape

if TYPE_CHECKING:
    from torch import Tensor

BoolArray = NDArray[np.bool_]
END, NEXT, ASK, PAD, SPECIAL = range(5)
"""Tokens behind those of the nodes, and how many they are."""
SHUFFLE = 1 << 16
"""The first word that decides the order of exemplars, far beyond those that walks need."""
CONFLICTS = ("conflict", "conflict_swapped")
ENDS = 2
"""Motifs of a chain that are not between others: the first and the last."""


@dataclass(frozen=True, kw_only=True)
class MotifOptions:
    """The motifs, and how many of them a chain has."""

    motifs: int = option(10, "motifs of the seed", ge=4)
    nodes: int = option(5, "nodes of each motif", ge=2)
    edge: float = option(0.5, "probability p of each edge of a motif that its order and most_edges allow", gt=0, lt=1)
    most_edges: int = option(2, "edges of the longest walk through a motif", ge=1)
    trained: int = option(3, "trained chains have 1 to so many motifs between the first and the last", ge=1)
    tested: int = option(5, "chains of split longer have more than trained ones, and at most so many", ge=2)
    held_out: int = option(2, "for every two motifs, so many third ones never follow them in training", ge=1)
    shuffled: bool = option(False, "exemplars of a chain come in random order, not in that of the chain")

    @property
    def tokens(self) -> int:
        """Tokens that are nodes."""
        return self.motifs * self.nodes

    @property
    def forked(self) -> int:
        """Most motifs between the ends of each of two conflicting chains."""
        return max(1, (self.trained - 1) // 2)

    @property
    def static(self) -> tuple[int, ...]:
        """What decides how examples are drawn; the others are values."""
        return (self.motifs, self.nodes, self.most_edges, self.trained, self.tested)

    def problems(self) -> list[Problem]:
        """Walks that no motif has, and chains that there are too few motifs for."""
        return list(self._problems())

    def _problems(self) -> Iterator[Problem]:
        if self.most_edges >= self.nodes:
            message = f"{self.most_edges} edges are more than a walk over {self.nodes} nodes can have"
            yield Problem("data.most_edges", f"{message}; it must be less than data.nodes")
        if self.tested <= self.trained:
            yield Problem("data.tested", f"{self.tested} leaves split longer empty: data.trained is {self.trained}")
        needed = max(self.tested + ENDS + self.held_out, ENDS + 2 * self.forked)
        if self.motifs < needed:
            message = f"{self.motifs} are too few: chains of data.tested = {self.tested} between the ends, and "
            message += f"data.held_out = {self.held_out} that must not come next, need {needed}"
            yield Problem("data.motifs", message)


@dataclass(frozen=True)
class Layout:
    """How large the examples of a split are. It follows from the options alone."""

    motifs: int
    """K, most motifs of a chain."""
    exemplars: int
    """E, most exemplars of a prompt."""
    nodes: int
    """L, most nodes of a walk through a motif."""

    @classmethod
    def of(cls, options: MotifOptions, split: str | None) -> Layout:
        """That of a split, of training for None."""
        if split in CONFLICTS:
            return cls(options.forked + ENDS, 2 * (options.forked + 1), options.most_edges + 1)
        between = options.tested if split == "longer" else options.trained
        return cls(between + ENDS, between + 1, options.most_edges + 1)

    @property
    def exemplar(self) -> int:
        """Places of the longest exemplar: its mark, and walks through two motifs."""
        return 1 + 2 * self.nodes

    @property
    def answers(self) -> int:
        """A, nodes of the longest walk from start to goal: at each of them what is next is asked."""
        return self.motifs * self.nodes

    @property
    def places(self) -> int:
        """T."""
        return self.exemplars * self.exemplar + 2 + self.answers


@dataclass(frozen=True)
class World:
    """The motifs of a seed. Node i of motif x has the number x N + i, and a token of its own."""

    options: MotifOptions
    token_V: IntArray
    """The token of each node, a permutation: it tells neither motif nor order."""
    edge_VN: BoolArray
    """Whether an edge leads to this node of the same motif."""
    from_VN: BoolArray
    """Whether this node of the same motif leads to it, by any number of edges, none too."""
    held_XXX: BoolArray
    """Triples that no trained order has."""

    @classmethod
    def draw(cls, options: MotifOptions, seed: int) -> World:
        """Tokens, edges and held-out triples."""
        motifs, n = options.motifs, options.nodes
        uniform_XNN = Stream(seed, "edges").uniform(motifs * n * n).reshape(motifs, n, n)
        edge_XNN = np.stack([_motif(uniform_NN, options) for uniform_NN in uniform_XNN])
        leads_XNN = np.eye(n, dtype=bool) | edge_XNN
        for _ in range(options.most_edges):
            leads_XNN = np.matmul(leads_XNN.astype(np.int64), leads_XNN.astype(np.int64)) > 0
        rank_XXX = Stream(seed, "held").uniform(motifs**3).reshape(motifs, motifs, motifs)
        number = np.arange(motifs)
        rank_XXX[:, number, number] = rank_XXX[number, :, number] = 2.0  # none of the two comes third
        held_XXX = rank_XXX.argsort(axis=2).argsort(axis=2) < options.held_out
        tokens_V = Stream(seed, "names").permutation(options.tokens)
        flat = (options.tokens, n)
        return cls(options, tokens_V, edge_XNN.reshape(flat), leads_XNN.swapaxes(1, 2).reshape(flat), held_XXX)

    @property
    def is_sink_XN(self) -> BoolArray:
        """Whether no edge leaves a node."""
        edge_XNN = self.edge_VN.reshape(self.options.motifs, self.options.nodes, -1)
        return np.logical_not(edge_XNN.any(axis=2))

    @property
    def is_source_XN(self) -> BoolArray:
        """Whether no edge leads to a node."""
        edge_XNN = self.edge_VN.reshape(self.options.motifs, self.options.nodes, -1)
        return np.logical_not(edge_XNN.any(axis=1))

    @property
    def edge_VV(self) -> BoolArray:
        """Whether an edge leads from a token to another."""
        tokens, n = self.options.tokens, self.options.nodes
        node, other = np.nonzero(self.edge_VN)
        edge_VV = np.zeros((tokens, tokens), bool)
        edge_VV[self.token_V[node], self.token_V[node // n * n + other]] = True
        return edge_VV

    @property
    def motif_V(self) -> IntArray:
        """The motif of each token."""
        motif_V = np.empty(self.options.tokens, np.int64)
        motif_V[self.token_V] = np.arange(self.options.tokens) // self.options.nodes
        return motif_V

    def tables(self) -> dict[str, NDArray[Any]]:
        """What examples are drawn with."""
        n = self.options.nodes
        to_VN = self.from_VN.reshape(-1, n, n).swapaxes(1, 2).reshape(-1, n)
        return {
            "token_V": self.token_V,
            "edge_VN": self.edge_VN,
            "from_VN": self.from_VN,
            "exits_VN": to_VN & np.repeat(self.is_sink_XN, n, axis=0),
            "behind_VN": to_VN & ~np.tile(np.eye(n, dtype=bool), (self.options.motifs, 1)),
            "source_XN": self.is_source_XN,
            "held_XXX": self.held_XXX,
            "edge_VV": self.edge_VV,
            "motif_V": self.motif_V,
        }


def _motif(uniform_NN: NDArray[np.float64], options: MotifOptions) -> BoolArray:
    """Edges (N, N) of a motif, without a node that has none: first and second are joined, and a node that would be
    alone gets an edge from an earlier one, of which the first always has a walk to spare.
    """
    n = options.nodes
    edge_NN = np.zeros((n, n), bool)
    edge_NN[0, 1] = True
    drawn_NN = np.triu(uniform_NN < options.edge, 1)
    depth_N = np.zeros(n, np.int64)  # edges of the longest walk to a node
    for node in range(1, n):
        edge_NN[:node, node] |= drawn_NN[:node, node] & (depth_N[:node] < options.most_edges)
        depth_N[node] = (depth_N[edge_NN[:, node]] + 1).max(initial=0)
    for node in range(1, n):
        if not (edge_NN[node].any() or edge_NN[:, node].any()):
            free = np.flatnonzero(depth_N[:node] < options.most_edges)
            edge_NN[free[uniform_NN[node, free].argmin()], node] = True
            depth_N[node] = (depth_N[edge_NN[:, node]] + 1).max()
    return edge_NN


class MotifChains(Fresh):
    """The task `motif_chains`."""

    Options = MotifOptions
    splits: ClassVar[dict[str, str]] = {
        "in_chain": "orders and chains as trained, with ghost edges and walks of their own",
        "new_order": "chains of the trained lengths whose first three motifs never follow each other in training",
        "longer": "chains of more motifs than any trained one, whose threes all follow each other in training",
        "conflict": "exemplars of two chains between the same motifs, one after the other; either may be followed",
        "conflict_swapped": "the same chains, ghost edges and goals, the exemplars of the second chain first",
    }
    drawn_as: ClassVar[dict[str, str]] = {"conflict_swapped": "conflict"}
    headline = "new_order"
    shown = ("in_chain", "new_order", "longer")
    metrics: ClassVar[dict[str, str]] = {
        "each": "share of an example's answers that are right, the true ones before them given",
        "ghost_accuracy": "share of the steps from motif to motif that are right, likewise",
        "edge_share": "share of the steps of its own walk that are edges, of motifs or shown in exemplars; 0 if none",
        "no_misstep_rate": "share of its own walks that have a step and edges alone",
        "order_accuracy": "share of its own walks through the motifs in the order shown, whatever the steps",
        "plan_accuracy": "share of its own walks of edges alone that end at the goal, in the order shown",
        "first_share": "share of its own walks that go on from the first motif to that of the first chain shown",
        "rival_share": "share of its own walks that go on from there to that of a second chain shown; 0 without one",
        "unplanned_accuracy": "share of walks that come to the goal if every step is uniform among the edges, of "
        "motifs and shown: the same for every model",
    }
    looks: ClassVar[dict[str, str]] = {
        "ghost": "where the walk leaves a motif, the place behind the same exit in the exemplar, which says where to",
        "exit": "there, the place of the exit in that exemplar",
        "aim": "before, on the way to the exit, the same place",
        "rival": "where two chains fork, the place behind the exit in the exemplar of the second one",
    }
    swaps: ClassVar[dict[str, str]] = {
        "ghost": "where the start is the exit, the state behind the exit in the exemplar from an exemplar that goes on "
        "in another motif: the step is there then",
    }
    events: ClassVar[dict[str, Event]] = {
        "circuit": Event(metric="swap_ghost", split=("in_chain",), at_least=0.8),
        "looks": Event(metric="mass_ghost", split=("in_chain",), at_least=0.5),
        "edges_known": Event(metric="edge_share", split=("in_chain",), at_least=0.9),
        "generalised_ii": Event(metric="plan_accuracy", split=("in_chain",), at_least=0.9),
        "generalised": Event(metric="plan_accuracy", split=("new_order",), at_least=0.9),
        "generalised_longer": Event(metric="plan_accuracy", split=("longer",), at_least=0.9),
    }
    """`circuit`: the step from motif to motif follows what the exemplar's state says, exchanged inside the model;
    `looks`: a head has half of its attention there. `generalised`: whole walks, in orders that were not trained."""
    default_probes = ("attention_mass", "swap")
    generates = True

    @staticmethod
    def shape(options: MotifOptions) -> Shape:
        """Tokens; an answer at each node of the walk."""
        tokens, trained = options.tokens, Layout.of(options, None)
        return Shape(
            trained.places, (tokens + SPECIAL,), classes=tokens + SPECIAL, candidates=(0, tokens + END + 1),
            answers=trained.answers, static=options.static,
            places=max(Layout.of(options, split).places for split in MotifChains.splits),
        )  # fmt: skip

    @classmethod
    def values(cls, options: Sequence[MotifOptions], seeds: Sequence[int]) -> dict[str, NDArray[Any]]:
        """The tables of the worlds (M, ...), and whether exemplars are shuffled (M, 1)."""
        tables = [World.draw(o, seed).tables() for o, seed in zip(options, seeds, strict=True)]
        stacked = {name: np.stack([table[name] for table in tables]) for name in tables[0]}
        return {**stacked, "shuffled_M1": np.array([[o.shuffled] for o in options])}

    @classmethod
    def draw(cls, options: MotifOptions, values: Mapping[str, Tensor], split: str | None, word_MB: Tensor) -> Batch:
        """Chains of these words, exemplars of them, and a walk along the first."""
        from grokstudy.trainables.words import choice, fresh, permutation, several

        layout, n = Layout.of(options, split), options.nodes
        k, fewest = layout.motifs, options.trained + 1 if split == "longer" else 1
        size_MB = ENDS + fewest + choice(fresh(word_MB, 1), k - ENDS - fewest + 1)
        start_MB = choice(fresh(word_MB, 2), n)

        def words(number: int) -> Tensor:
            return several(word_MB, 3 + number * k, k)

        drawn = (words(1), words(2), words(3))
        if split in CONFLICTS:
            chains = _fork(options, values, size_MB, start_MB, word_MB, [*drawn, words(6), words(7)])
        else:
            order_MBK = _order(values, split, words(0))
            chains = [_chain(values, n, order_MBK, size_MB, start_MB, drawn)]
        number, exemplars = 3 + 10 * k + options.motifs, []
        for i, chain in enumerate(chains):
            from_MBP, to_MBP = _halves(values, n, chain, words(4 + 4 * i), words(5 + 4 * i))
            walk_MBPL = _walks(values, n, layout.nodes, from_MBP, to_MBP, word_MB, number)
            walk_MBEx = _tokens(values, walk_MBPL.view(*word_MB.shape, k - 1, 2 * layout.nodes))
            at_MBEE = _shuffle(values["shuffled_M1"], chain, permutation(word_MB, SHUFFLE + i * k, k - 1))
            exemplars.append((walk_MBEx, at_MBEE))
            number += from_MBP.shape[2] * layout.nodes
        if split == "conflict_swapped":
            chains, exemplars = chains[::-1], exemplars[::-1]
        entry_MBK, to_MBK = chains[0].entry_MBK, chains[0].to_MBK
        walk_MBKL = _walks(values, n, layout.nodes, entry_MBK, to_MBK, word_MB, number)
        row = _row(options, values, layout, chains, exemplars, walk_MBKL)
        if split is None:
            return Batch(row.inputs_MBT, row.at_MBA, row.target_MBA, row.mask_MBA.float())
        mechanism = _mechanism(options, values, chains, row, word_MB, number + k * layout.nodes)
        return Batch(row.inputs_MBT, row.at_MBA, row.target_MBA, row.mask_MBA.float(), mechanism)

    @staticmethod
    def scores(output_MSAx: Tensor, rows: Batch) -> dict[str, Tensor]:
        """Behind the true steps, whether each is a right one, of which there may be several; what plans are worth."""
        notes = rows.mechanism.notes
        assert rows.weight_MBA is not None
        there_MSA = rows.weight_MBA > 0
        prediction_MSA = output_MSAx[..., : notes["right"].shape[3]].argmax(dim=-1)
        right_MSA = notes["right"].gather(3, prediction_MSA[..., None])[..., 0] & there_MSA
        ghost_MSA = rows.mechanism.look["ghost"].any(dim=3)
        return {
            "accuracy": (right_MSA | ~there_MSA).all(dim=2),
            "each": right_MSA.sum(dim=2) / there_MSA.sum(dim=2),
            "ghost_accuracy": (right_MSA & ghost_MSA).sum(dim=2) / ghost_MSA.sum(dim=2),
            "unplanned_accuracy": notes["unplanned"],
        }

    @staticmethod
    def feed(rows: Batch, answer: int, output_MSx: Tensor) -> Batch:
        """The answer as the next token."""
        if answer + 1 == rows.at_MBA.shape[2]:
            return rows
        place_MS1 = rows.at_MBA[:, :, answer + 1, None]
        return replace(rows, inputs_MBx=rows.inputs_MBx.scatter(2, place_MS1, output_MSx[..., None]))

    @staticmethod
    def judge(said_MSAx: Tensor, rows: Batch) -> dict[str, Tensor]:
        """What the walk is, up to the first token that is no node; a plan says there that it has come to its end."""
        import torch

        notes = rows.mechanism.notes
        tokens, answers = notes["motif"].shape[2], said_MSAx.shape[2]
        walks_MSA = (said_MSAx < tokens).cumprod(dim=2).bool()
        steps_MS = walks_MSA.sum(dim=2)
        to_MSA = said_MSAx.clamp(max=tokens - 1)
        from_MSA = torch.cat([notes["start"][..., None], to_MSA[..., :-1]], dim=2)
        byte_MSA = notes["edges"].gather(2, from_MSA * -(-tokens // 8) + to_MSA // 8)
        edge_MSA = (byte_MSA.long() >> (7 - to_MSA % 8)) & 1 == 1
        valid_MS = (edge_MSA | ~walks_MSA).all(dim=2) & (steps_MS > 0)
        last_MS = to_MSA.gather(2, (steps_MS - 1).clamp(min=0)[..., None])[..., 0]
        behind_MS = said_MSAx.gather(2, steps_MS.clamp(max=answers - 1)[..., None])[..., 0]
        plan_MS = valid_MS & (last_MS == notes["goal"]) & (behind_MS == tokens + END)
        motif_MSA, before_MSA = notes["motif"].gather(2, to_MSA), notes["motif"].gather(2, from_MSA)
        number_MSA = ((motif_MSA != before_MSA) & walks_MSA).cumsum(dim=2)
        along, taken = [], []
        for order_MSK in notes["orders"].unbind(2):
            shown_MSA = order_MSK.gather(2, number_MSA.clamp(max=order_MSK.shape[2] - 1))
            passed_MS = number_MSA[..., -1] + 1 == (order_MSK >= 0).sum(dim=2)
            taken.append(((number_MSA == 1) & walks_MSA & (motif_MSA == order_MSK[..., 1:2])).any(dim=2))
            along.append(passed_MS & ((motif_MSA == shown_MSA) | ~walks_MSA).all(dim=2))
        return {
            "edge_share": (edge_MSA & walks_MSA).sum(dim=2) / steps_MS.clamp(min=1),
            "no_misstep_rate": valid_MS,
            "order_accuracy": along[0] | along[1],
            "plan_accuracy": plan_MS & (along[0] | along[1]),
            "first_share": taken[0],
            "rival_share": taken[1] & ~taken[0],
        }


@dataclass(frozen=True)
class Chain:
    """Motifs in their order, and the nodes by which a walk enters and leaves each. Behind the last nothing is said."""

    order_MBK: Tensor
    size_MB: Tensor
    """How many motifs they are."""
    entry_MBK: Tensor
    """A source; in the first motif the start."""
    to_MBK: Tensor
    """A sink, the exit; in the last motif the goal."""


@dataclass(frozen=True)
class Row:
    """Examples as a model reads them, and where in them what is."""

    inputs_MBT: Tensor
    at_MBA: Tensor
    target_MBA: Tensor
    mask_MBA: Tensor
    walk_MBA: Tensor
    """Tokens from the start to the goal, -1 behind it."""
    leaves_MBK: Tensor
    """The answer at which the walk leaves a motif, or ends."""
    behind_MBE: Tensor
    """The place behind the exit in the exemplar of each link, whatever the exemplars' order."""


def _rows(table_Mx: Tensor, *index_MBx: Tensor) -> Tensor:
    """Rows of each member's table."""
    import torch

    member = torch.arange(len(table_Mx), device=table_Mx.device).view(-1, *[1] * (index_MBx[0].dim() - 1))
    return table_Mx[(member, *index_MBx)]


def _pick(mask_xN: Tensor, word_x: Tensor) -> Tensor:
    """One of those that the mask has (x); the last number for none."""
    from grokstudy.trainables.words import choice

    number_xN = mask_xN.cumsum(dim=-1)
    chosen_x = choice(word_x, number_xN[..., -1].clamp(min=1))
    return (number_xN <= chosen_x[..., None]).sum(dim=-1).clamp(max=mask_xN.shape[-1] - 1)


def _order(values: Mapping[str, Tensor], split: str | None, word_MBK: Tensor) -> Tensor:
    """Distinct motifs (M, B, K): no held-out triple, or, in new orders, one to begin with."""
    import torch

    motifs = values["held_XXX"].shape[1]
    number_X = torch.arange(motifs, device=word_MBK.device)
    free_MBX = torch.ones(*word_MBK.shape[:2], motifs, dtype=torch.bool, device=word_MBK.device)
    order: list[Tensor] = []
    for k, word_MB in enumerate(word_MBK.unbind(2)):
        next_MBX = free_MBX
        if k > 1 and (k == 2 or split != "new_order"):
            held_MBX = _rows(values["held_XXX"], order[-2], order[-1])
            next_MBX = free_MBX & (held_MBX if split == "new_order" else ~held_MBX)
        order.append(_pick(next_MBX, word_MB))
        free_MBX = free_MBX & (number_X != order[-1][..., None])
    return torch.stack(order, dim=2)


def _chain(
    values: Mapping[str, Tensor], n: int, order_MBK: Tensor, size_MB: Tensor, start_MB: Tensor,
    words: tuple[Tensor, Tensor, Tensor],
) -> Chain:  # fmt: skip
    """Exits that can be reached from entries, and entries, uniform; goals behind the last entry."""
    import torch

    exit_MBK, entry_MBK, goal_MBK = words
    node_MB, entries, ends = order_MBK[..., 0] * n + start_MB, [], []
    for k in range(order_MBK.shape[2]):
        first_MB = order_MBK[..., k] * n
        if k:
            node_MB = first_MB + _pick(_rows(values["source_XN"], order_MBK[..., k]), entry_MBK[..., k])
        exit_MB = _pick(_rows(values["exits_VN"], node_MB), exit_MBK[..., k])
        goal_MB = _pick(_rows(values["behind_VN"], node_MB), goal_MBK[..., k])
        entries.append(node_MB)
        ends.append(first_MB + torch.where(size_MB == k + 1, goal_MB, exit_MB))
    return Chain(order_MBK, size_MB, torch.stack(entries, dim=2), torch.stack(ends, dim=2))


def _fork(
    options: MotifOptions, values: Mapping[str, Tensor], size_MB: Tensor, start_MB: Tensor, word_MB: Tensor,
    words: Sequence[Tensor],
) -> list[Chain]:  # fmt: skip
    """Two chains of one size: the same first motif and exit, the same last one, entry and goal, others between."""
    import torch

    from grokstudy.trainables.words import permutation

    exit_MBK, entry_MBK, goal_MBK, other_exit_MBK, other_entry_MBK = words
    k, between = exit_MBK.shape[2], options.forked
    motif_MBX = permutation(word_MB, 3 + 10 * k, options.motifs)
    number_K = torch.arange(k, device=word_MB.device)
    last_MBK = number_K == size_MB[..., None] - 1
    chains = []
    for i in range(2):
        own_MBK = motif_MBX[..., ENDS + i * between :][..., :between]
        order_MBK = torch.cat([motif_MBX[..., :1], own_MBK, motif_MBX[..., 1:2]], dim=2)
        order_MBK = torch.where(last_MBK, motif_MBX[..., 1:2], order_MBK)
        exits_MBK = exit_MBK if i == 0 else torch.where(number_K == 0, exit_MBK, other_exit_MBK)
        entries_MBK = entry_MBK if i == 0 else torch.where(last_MBK, entry_MBK, other_entry_MBK)
        chains.append(_chain(values, options.nodes, order_MBK, size_MB, start_MB, (exits_MBK, entries_MBK, goal_MBK)))
    return chains


def _halves(
    values: Mapping[str, Tensor], n: int, chain: Chain, begin_MBK: Tensor, end_MBK: Tensor
) -> tuple[Tensor, Tensor]:
    """From where to where the walks of exemplars lead (M, B, 2 (K - 1)): to an exit, and on from the next entry."""
    import torch

    exit_MBE, entry_MBE = chain.to_MBK[..., :-1], chain.entry_MBK[..., 1:]
    leads_MBEN = _rows(values["source_XN"], chain.order_MBK[..., :-1]) & _rows(values["from_VN"], exit_MBE)
    from_MBE = chain.order_MBK[..., :-1] * n + _pick(leads_MBEN, begin_MBK[..., :-1])
    end_MBE = chain.order_MBK[..., 1:] * n + _pick(_rows(values["exits_VN"], entry_MBE), end_MBK[..., 1:])
    return torch.stack([from_MBE, entry_MBE], dim=3).flatten(2), torch.stack([exit_MBE, end_MBE], dim=3).flatten(2)


def _shuffle(shuffled_M1: Tensor, chain: Chain, order_MBE: Tensor) -> Tensor:
    """Whether the exemplar of a link (last axis) stands at a place among the exemplars (M, B, E, E), if it is there."""
    import torch

    number_E = torch.arange(order_MBE.shape[2], device=order_MBE.device)
    order_MBE = torch.where(shuffled_M1[..., None], order_MBE, number_E)
    return (order_MBE[..., None] == number_E) & (number_E < chain.size_MB[..., None, None] - 1)


def _walks(
    values: Mapping[str, Tensor], n: int, nodes: int, from_MBP: Tensor, to_MBP: Tensor, word_MB: Tensor, begin: int
) -> Tensor:
    """Nodes (M, B, P, L) of walks within motifs, each step uniform among those that lead on; -1 behind the last."""
    import torch

    from grokstudy.trainables.words import several

    paths = from_MBP.shape[2]
    node_MBP, leads_MBPN, visited = from_MBP, _rows(values["from_VN"], to_MBP), [from_MBP]
    for step in range(nodes - 1):
        moves_MBP = node_MBP != to_MBP
        next_MBPN = _rows(values["edge_VN"], node_MBP) & leads_MBPN
        word_MBP = several(word_MB, begin + step * paths, paths)
        node_MBP = torch.where(moves_MBP, node_MBP // n * n + _pick(next_MBPN, word_MBP), node_MBP)
        visited.append(node_MBP.where(moves_MBP, -1))
    return torch.stack(visited, dim=3)


def _row(
    options: MotifOptions, values: Mapping[str, Tensor], layout: Layout, chains: Sequence[Chain],
    exemplars: Sequence[tuple[Tensor, Tensor]], walk_MBKL: Tensor,
) -> Row:  # fmt: skip
    """Everything one after the other, without what is not there."""
    import torch
    import torch.nn.functional as F

    tokens, chain = options.tokens, chains[0]
    number_K = torch.arange(layout.motifs, device=walk_MBKL.device)
    placed = [  # sums in place of lookups in what was looked up, which torch.compile fails at
        (at_MBEE[..., None] * (walk_MBEx[:, :, None] + 1)).sum(dim=3) - 1 for walk_MBEx, at_MBEE in exemplars
    ]
    token_MBEx = torch.cat(placed, dim=2)
    marked_MBEx = F.pad(token_MBEx, (1, 0), value=tokens + NEXT).where(token_MBEx[..., :1] >= 0, -1)
    in_chain_MBK1 = (number_K < chain.size_MB[..., None])[..., None]
    walk_MBKL = _tokens(values, walk_MBKL).where(in_chain_MBK1, -1)
    goal_MB = chain.to_MBK.where(number_K == chain.size_MB[..., None] - 1, 0).sum(dim=2)
    ask_MB2 = F.pad(_tokens(values, goal_MB)[..., None], (1, 0), value=tokens + ASK)
    flat_MBT = torch.cat([marked_MBEx.flatten(2), ask_MB2, walk_MBKL.flatten(2)], dim=2)
    inputs_MBT, place_MBT = _compact(flat_MBT, tokens + PAD)
    walk_MBA, _ = _compact(walk_MBKL.flatten(2), -1)
    ends_MBK = (walk_MBKL >= 0).sum(dim=3).cumsum(dim=2)
    number_A = torch.arange(layout.answers, device=walk_MBKL.device)
    mask_MBA = number_A < ends_MBK[..., -1:]
    following_MBA = F.pad(walk_MBA[..., 1:], (0, 1), value=-1)
    marked = layout.exemplars * layout.exemplar
    behind_MBE = place_MBT[..., layout.nodes + 1 : marked : layout.exemplar]
    parts = zip(torch.split(behind_MBE, layout.motifs - 1, dim=2), exemplars, strict=True)
    behind_MBE = torch.cat([(at_MBEE * part_MBE[..., None]).sum(dim=2) for part_MBE, (_, at_MBEE) in parts], dim=2)
    return Row(
        inputs_MBT, place_MBT[..., marked + 2, None] + number_A,
        following_MBA.where(following_MBA >= 0, tokens + END), mask_MBA, walk_MBA, ends_MBK - 1, behind_MBE,
    )  # fmt: skip


def _tokens(values: Mapping[str, Tensor], node_MBx: Tensor) -> Tensor:
    """The token of each node, -1 where there is none."""
    return _rows(values["token_V"], node_MBx.clamp(min=0)).where(node_MBx >= 0, -1)


def _compact(token_MBT: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """What is there moved together, with blanks behind it, and the place to which each place has gone."""
    import torch

    length = token_MBT.shape[2]
    there_MBT = token_MBT >= 0
    place_MBT = there_MBT.cumsum(dim=2) - 1
    index_MBT = place_MBT.where(there_MBT, length)  # what is not there goes to a place behind the last
    blank_MBT = torch.full((*token_MBT.shape[:2], length + 1), blank, device=token_MBT.device)
    return blank_MBT.scatter(2, index_MBT, token_MBT)[..., :length], place_MBT


def _mechanism(
    options: MotifOptions, values: Mapping[str, Tensor], chains: Sequence[Chain], row: Row, word_MB: Tensor, begin: int
) -> Mechanism:
    """Where the exemplars say what is next, rows with an exemplar that goes elsewhere, and what walks are judged by."""
    import torch
    import torch.nn.functional as F

    from grokstudy.trainables.words import choice, fresh

    chain, other = chains[0], chains[-1]
    links = chain.order_MBK.shape[2] - 1
    there_MBE = torch.arange(links, device=word_MB.device) < chain.size_MB[..., None] - 1
    number_A = torch.arange(row.at_MBA.shape[2], device=word_MB.device)
    leaves_MBE1, behind_MBE1 = row.leaves_MBK[..., :-1, None], row.behind_MBE[..., :links, None]
    leaves_MBEA = (number_A == leaves_MBE1) & there_MBE[..., None]
    entered_MBE1 = F.pad(row.leaves_MBK[..., :-2, None] + 1, (0, 0, 1, 0))
    aims_MBEA = (number_A >= entered_MBE1) & (number_A < leaves_MBE1) & there_MBE[..., None]
    wanted = {
        "ghost": behind_MBE1.where(leaves_MBEA, -1).amax(dim=2),
        "exit": (behind_MBE1 - 1).where(leaves_MBEA, -1).amax(dim=2),
        "aim": (behind_MBE1 - 1).where(aims_MBEA, -1).amax(dim=2),
    }
    if len(chains) > 1:
        fork_MBA = leaves_MBEA[..., 0, :]
        wanted["rival"] = row.behind_MBE[..., links, None].where(fork_MBA, -1)
    place_T = torch.arange(row.inputs_MBT.shape[2], device=word_MB.device)
    look = {name: place_T == place_MBA[..., None] for name, place_MBA in wanted.items()}

    behind_MB1 = row.behind_MBE[..., :1]
    elsewhere_MB = chain.order_MBK[..., 1] + 1 + choice(fresh(word_MB, begin), options.motifs - 1)
    elsewhere_MB = elsewhere_MB % options.motifs
    source_MB = _pick(_rows(values["source_XN"], elsewhere_MB), fresh(word_MB, begin + 1))
    source_MB = _tokens(values, elsewhere_MB * options.nodes + source_MB)
    donor_MBT = row.inputs_MBT.scatter(2, behind_MB1, source_MB[..., None])
    expected_MB1 = source_MB.where(row.leaves_MBK[..., 0] == 0, -1)[..., None]
    swap = {"ghost": torch.cat([behind_MB1, expected_MB1], dim=2)}

    edge_MBVV = _shown(options, values, chains, there_MBE)
    start_MB = row.walk_MBA[..., 0]
    goal_MB = row.walk_MBA.gather(2, row.leaves_MBK[..., -1:])[..., 0]
    orders = [c.order_MBK.where(F.pad(there_MBE, (1, 0), value=True), -1) for c in (chain, other)]
    motif_MBV = values["motif_V"][:, None].expand(*word_MB.shape, -1)
    notes = {
        "right": _right(edge_MBVV, row.walk_MBA, goal_MB), "edges": _packed(edge_MBVV), "start": start_MB,
        "goal": goal_MB, "motif": motif_MBV, "orders": torch.stack(orders, dim=2),
        "unplanned": _unplanned(edge_MBVV, start_MB, goal_MB, row.at_MBA.shape[2]),
    }  # fmt: skip
    return Mechanism(look=look, donor={"ghost": donor_MBT}, swap=swap, notes=notes)


def _shown(options: MotifOptions, values: Mapping[str, Tensor], chains: Sequence[Chain], there_MBE: Tensor) -> Tensor:
    """Edges (M, B, V, V) between tokens: those of the motifs, and the ghost edges that the exemplars of a row show."""
    import torch
    import torch.nn.functional as F

    tokens = options.tokens
    edge_MBx = values["edge_VV"].flatten(1)[:, None].expand(*there_MBE.shape[:2], -1)
    edge_MBx = F.pad(edge_MBx, (0, 1))  # one behind the last, for links that are not there
    for chain in chains:
        out_MBE, into_MBE = _tokens(values, chain.to_MBK[..., :-1]), _tokens(values, chain.entry_MBK[..., 1:])
        index_MBE = (out_MBE * tokens + into_MBE).where(there_MBE, tokens * tokens)
        edge_MBx = edge_MBx.scatter(2, index_MBE, torch.ones_like(there_MBE))
    return edge_MBx[..., :-1].reshape(*there_MBE.shape[:2], tokens, tokens)


def _right(edge_MBVV: Tensor, walk_MBA: Tensor, goal_MB: Tensor) -> Tensor:
    """What is right at each node of a walk (M, B, A, V + 1): edges from which the goal can be reached; there, <end>."""
    import torch
    import torch.nn.functional as F

    leads_MBV = F.one_hot(goal_MB, edge_MBVV.shape[2]).bool()
    for _ in range(walk_MBA.shape[2]):
        leads_MBV = leads_MBV | (edge_MBVV & leads_MBV[:, :, None]).any(dim=3)
    index_MBAV = walk_MBA.clamp(min=0)[..., None].expand(-1, -1, -1, edge_MBVV.shape[2])
    step_MBAV = edge_MBVV.gather(2, index_MBAV) & leads_MBV[:, :, None] & (walk_MBA >= 0)[..., None]
    return torch.cat([step_MBAV, (walk_MBA == goal_MB[..., None])[..., None]], dim=3)


def _packed(edge_MBVV: Tensor) -> Tensor:
    """Eight edges a byte, the first in the highest bit (M, B, V ceil(V / 8)) uint8."""
    import torch
    import torch.nn.functional as F

    edge_MBVV = F.pad(edge_MBVV, (0, -edge_MBVV.shape[3] % 8))
    bit_8 = 2 ** torch.arange(7, -1, -1, device=edge_MBVV.device)
    return (edge_MBVV.reshape(*edge_MBVV.shape[:3], -1, 8) * bit_8).sum(dim=4).to(torch.uint8).flatten(2)


def _unplanned(edge_MBVV: Tensor, start_MB: Tensor, goal_MB: Tensor, most: int) -> Tensor:
    """The chance (M, B) that a walk whose steps are uniform among the edges comes to the goal in so many steps."""
    import torch.nn.functional as F

    nodes = edge_MBVV.shape[2]
    goal_MBV = F.one_hot(goal_MB, nodes).float()
    step_MBVV = edge_MBVV / edge_MBVV.sum(dim=3, keepdim=True).clamp(min=1)
    here_MBV = F.one_hot(start_MB, nodes).float()
    come_MB = (here_MBV * goal_MBV).sum(dim=2)
    for _ in range(most):
        here_MBV = (here_MBV[:, :, None] @ step_MBVV)[:, :, 0]
        come_MB = come_MB + (here_MBV * goal_MBV).sum(dim=2)
    return come_MB
