"""Navigation on a directed acyclic graph: is there a path, said at once or after walking it (arXiv 2402.07757).

    g s n_1 ... n_k = g <path>      stepwise, a path: a walk drawn anew at every visit, uniform among the successors
                                    from which the goal g can be reached in time
    g s n_1 ... n_k <no path>       stepwise, no path: uniform among the successors that do not lie behind the goal,
                                    until there is none
    g s <path> | <no path>          direct
    g s * ... * <path> | <no path>  filler: as direct, after as many tokens of no meaning as the longest walk has steps

Everything behind the start s is asked, of fillers the flag alone. Graphs are `hierarchical` (layers; an edge to a node
of the next layer with probability p) or `bernoulli` (an order; an edge to a later node with probability p). Names of
nodes are a permutation, and tell neither layer nor order. Asked are pairs whose goal lies in a later layer, or later in
the order; of the two classes, path and no path, the larger one is cut at random to the size of the smaller.

Text and code of the paper were not reachable; its abstract, its figure 2 and reviews of it say what is asked, the two
kinds of graph, their sizes, and that training sees short paths alone (`max_train_distance`). Chosen here: the order of
the prompt, the walk where there is no path, the balance of classes, and that a limit of distance is one of layers, so
that it is the same for pairs without a path.

A model that learns how popular nodes are is often right about the flag: `degree_only` says how often. A flag can be
right after a walk that is no path: `class_and_plan` asks for both.

Axes: M member, B or S example, N pair, V token (of a graph: node), A answer, T place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from grokstudy.trainables.events import Event
from grokstudy.trainables.options import Problem, option
from grokstudy.trainables.randomness import IntArray, Stream
from grokstudy.trainables.tasks.base import Batch, Fresh, Mechanism, Shape, StoredRows, TaskData, placed

if TYPE_CHECKING:
    from torch import Tensor

BoolArray = NDArray[np.bool_]
PATH, NO_PATH, FILLER, SPECIAL = range(4)
"""Tokens behind those of the nodes, and how many they are; the filler is padding, too."""
PROMPT = 2
"""Goal and start."""


@dataclass(frozen=True, kw_only=True)
class NavigationOptions:
    """The graph, which pairs are trained, and what is said of a pair."""

    graph: Literal["hierarchical", "bernoulli"] = option("hierarchical", "layers, or an order of all nodes")
    nodes: int = option(60, "nodes of the graph", ge=4)
    layers: int = option(6, "hierarchical: layers, of equal size", ge=3)
    edge: float = option(0.22, "probability p of each edge that the kind of graph allows", gt=0, lt=1)
    train_share: float = option(0.3, "share of the pairs that are trained", gt=0, lt=1)
    max_train_distance: int | None = option(
        None, "hierarchical: largest difference of layers of a trained pair, null for any", ge=1
    )
    mode: Literal["stepwise", "direct", "filler"] = option("stepwise", "walk and flag, flag alone, or fillers and flag")
    most_edges: int = option(12, "bernoulli: walks have at most so many; pairs further apart are not asked", ge=2)

    @property
    def longest(self) -> int:
        """Edges of the longest walk."""
        return self.layers - 1 if self.graph == "hierarchical" else self.most_edges

    @property
    def longest_trained(self) -> int:
        """Edges of the longest trained walk."""
        return self.longest if self.max_train_distance is None else min(self.longest, self.max_train_distance)

    @property
    def fillers(self) -> int:
        """Tokens of no meaning before a flag that stands alone."""
        return self.longest if self.mode == "filler" else 0

    @property
    def vocabulary(self) -> int:
        """Tokens: nodes, two flags, filler."""
        return self.nodes + SPECIAL

    def problems(self) -> list[Problem]:
        """What the kind of graph needs, and what means nothing for it."""
        return list(self._of_layers() if self.graph == "hierarchical" else self._of_order())

    def _of_layers(self) -> Iterator[Problem]:
        if self.nodes % self.layers:
            yield Problem("data.nodes", f"{self.nodes} nodes are not {self.layers} layers (data.layers) of equal size")
        limit = self.max_train_distance
        if limit is not None and limit > self.layers - 2:
            message = f"{limit} leaves no longer pair in {self.layers} layers; at most {self.layers - 2}, or null"
            yield Problem("data.max_train_distance", message)
        if self.most_edges != type(self).most_edges:
            yield Problem("data.most_edges", "means nothing for data.graph hierarchical; leave it out")

    def _of_order(self) -> Iterator[Problem]:
        if self.most_edges >= self.nodes:
            message = f"{self.most_edges} edges are more than a walk over {self.nodes} nodes can have"
            yield Problem("data.most_edges", f"{message}; it must be less than data.nodes")
        if self.layers != type(self).layers:
            yield Problem("data.layers", "means nothing for data.graph bernoulli; leave it out")
        if self.max_train_distance is not None:
            message = "means nothing for data.graph bernoulli: pairs without a path have no distance; leave it out"
            yield Problem("data.max_train_distance", message)


@dataclass(frozen=True)
class World:
    """The graph of a seed."""

    options: NavigationOptions
    rank_V: IntArray
    """Layer, or place in the order."""
    edge_VV: BoolArray
    distance_VV: IntArray
    """Edges of the shortest path from a node to another; the number of nodes where there is none."""

    @classmethod
    def draw(cls, options: NavigationOptions, seed: int) -> World:
        """Names, edges, distances."""
        n = options.nodes
        hierarchical = options.graph == "hierarchical"
        size = n // options.layers if hierarchical else 1
        rank_V = np.empty(n, np.int64)
        rank_V[Stream(seed, "names").permutation(n)] = np.arange(n) // size
        apart_VV = rank_V[None, :] - rank_V[:, None]
        allowed_VV = apart_VV == 1 if hierarchical else apart_VV > 0
        edge_VV = allowed_VV & (Stream(seed, "edges").uniform(n * n).reshape(n, n) < options.edge)
        distance_VV = np.full((n, n), n, np.int64)
        reached_VV = np.eye(n, dtype=bool)
        for steps in range(n):
            distance_VV[reached_VV & (distance_VV == n)] = steps
            reached_VV = (reached_VV.astype(np.float32) @ edge_VV.astype(np.float32)) > 0
            if not reached_VV.any():
                break
        return cls(options, rank_V, edge_VV, distance_VV)

    def first_steps(self, start_N: IntArray, goal_N: IntArray) -> BoolArray:
        """Successors (N, V) of starts from which the goals can be reached in as many steps as a walk may have."""
        steps_NV: BoolArray = self.edge_VV[start_N] & (self.distance_VV.T[goal_N] < self.options.longest)
        return steps_NV


@dataclass(frozen=True)
class Pools:
    """Pairs (N, 3): start, goal, whether there is a path; in a random order, the two classes in turn."""

    train: IntArray
    test: IntArray
    longer: IntArray
    """Further apart than trained pairs; none where there is no limit."""

    @classmethod
    def split(cls, world: World, seed: int) -> Pools:
        """Cut the classes to one size, and choose which pairs are trained."""
        options, n = world.options, world.options.nodes
        distance_VV, most = world.distance_VV, options.longest
        apart_VV = world.rank_V[None, :] - world.rank_V[:, None]
        limit = n if options.max_train_distance is None else options.max_train_distance
        groups: dict[str, list[IntArray]] = {"near": [], "far": []}
        for path in (True, False):
            mask_VV = (apart_VV > 0) & (distance_VV <= most if path else distance_VV == n)
            pairs = np.argwhere(mask_VV)[Stream(seed, f"pairs/{path}").permutation(int(mask_VV.sum()))]
            apart = apart_VV[tuple(pairs.T)]
            labelled = np.concatenate([pairs, np.full((len(pairs), 1), path)], axis=1)
            groups["near"].append(labelled[apart <= limit])
            groups["far"].append(labelled[apart > limit])
        near, far = (_in_turn(*groups[name]) for name in ("near", "far"))
        trained = 2 * round(options.train_share * len(near) / 2)
        return cls(near[:trained], near[trained:], far)

    def named(self) -> dict[str, IntArray]:
        """The pools by split."""
        return {"train_pairs": self.train, "test_pairs": self.test, "test_longer": self.longer}


def _in_turn(one: IntArray, other: IntArray) -> IntArray:
    """As many rows of each as there are of the fewer, one of one and one of the other."""
    size = min(len(one), len(other))
    return np.stack([one[:size], other[:size]], axis=1).reshape(2 * size, one.shape[1])


class GraphNavigation(Fresh):
    """The task `graph_navigation`."""

    Options = NavigationOptions
    splits: ClassVar[dict[str, str]] = {
        "train_pairs": "trained pairs of start and goal, as many with a path as without; walks are new",
        "test_pairs": "pairs that are not trained, likewise",
        "test_longer": "pairs further apart than any that is trained, likewise",
    }
    headline = "test_pairs"
    shown = ("train_pairs", "test_pairs")
    metrics: ClassVar[dict[str, str]] = {
        "class_accuracy": "share of flags that are right, behind what the model itself said before",
        "edge_share": "where there is a step to take, share of the steps of its own walk that are edges, 0 if none; "
        "of a stepwise model",
        "plan_accuracy": "where there is a path, share of its own walks that are one to the goal; of a stepwise model",
        "no_misstep_rate": "where there is a step to take, share of its own walks that have one and edges alone; of a "
        "stepwise model",
        "class_and_plan_accuracy": "share with the right flag and, where there is a path, one; of a stepwise model",
        "degree_only_accuracy": "share of flags that a logistic regression on the start's out-degree and the goal's "
        "in-degree, fitted to the trained pairs, gets right: the same for every model",
    }
    latents: ClassVar[dict[str, str]] = {
        "next": "the next node, at the start, where only one successor leads to the goal",
        "goal": "the goal, at the start",
    }
    swaps: ClassVar[dict[str, str]] = {
        "goal": "the goal's state from another goal: a stepwise model then takes the only step that leads there, which "
        "does not lead to its own; others say the other flag, that of the pair with the donor's goal",
        "here": "the start's state from there, into which a block before may have brought the goal; the same success",
    }
    events: ClassVar[dict[str, Event]] = {
        "memorised": Event(metric="class_accuracy", split=("train_pairs",), at_least=0.95),
        "generalised_ii": Event(metric="class_accuracy", split=("test_pairs",), at_least=0.9),
        "generalised": Event(metric="class_accuracy", split=("test_longer",), at_least=0.9),
        "edges_known": Event(metric="edge_share", split=("test_pairs",), at_least=0.9),
        "plans": Event(metric="plan_accuracy", split=("test_pairs",), at_least=0.9),
        "solved": Event(metric="class_and_plan_accuracy", split=("test_pairs",), at_least=0.9),
        "circuit": Event(metric="swap_goal", split=("test_pairs",), at_least=0.8),
    }
    """`circuit`: what is said follows the goal's state, exchanged inside the model. `edges_known`: steps are edges,
    wherever they lead; `plans`: they lead to the goal. Chance of a flag is 1/2 and more (`degree_only_accuracy`), of an
    exchange that makes another flag right 1/2."""
    default_probes = ("lens", "swap")
    generates = True

    @staticmethod
    def shape(options: NavigationOptions) -> Shape:
        """Tokens; an answer for each step and the flag, or the flag alone."""
        v, longest = options.vocabulary, options.longest
        shape = Shape(PROMPT, (v,), classes=v, candidates=(0, options.nodes + FILLER), static=(options.mode,))
        if options.mode != "stepwise":
            return replace(shape, length=PROMPT + options.fillers)
        trained = options.longest_trained
        return replace(shape, length=PROMPT + trained, places=PROMPT + longest, answers=trained + 1)

    @classmethod
    def splits_of(cls, options: NavigationOptions) -> tuple[str, ...]:
        """Longer pairs are there where trained ones have a limit."""
        return tuple(name for name in cls.splits if name != "test_longer" or options.max_train_distance is not None)

    @staticmethod
    def check(options: NavigationOptions, seed: int) -> list[Problem]:
        """A graph with too few pairs of a class."""
        pools = Pools.split(World.draw(options, seed), seed).named()
        empty = [name for name in GraphNavigation.splits_of(options) if not len(pools[name])]
        if not empty:
            return []
        message = f"{options.edge:g} leaves {', '.join(empty)} empty: too few pairs of a class with seed {seed}"
        return [Problem("data.edge", f"{message}; take another, or change data.nodes or data.train_share")]

    @classmethod
    def values(cls, options: Sequence[NavigationOptions], seeds: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Graphs (M, V, V), ranks (M, V), trained pairs (M, N, 3) filled up, and how many they are (M, 1)."""
        worlds = [World.draw(o, seed) for o, seed in zip(options, seeds, strict=True)]
        trained = [Pools.split(world, seed).train for world, seed in zip(worlds, seeds, strict=True)]
        most = max(map(len, trained))
        return {
            **_laid_out(worlds),
            "pair_MN3": np.stack([np.pad(pairs, ((0, most - len(pairs)), (0, 0))) for pairs in trained]),
            "pairs_M1": np.array([[len(pairs)] for pairs in trained]),
        }

    @classmethod
    def draw(
        cls, options: NavigationOptions, values: Mapping[str, Tensor], split: str | None, word_MB: Tensor
    ) -> Batch:
        """Trained pairs, and a walk for each."""
        import torch

        from grokstudy.trainables.words import choice, fresh

        member = torch.arange(len(word_MB), device=word_MB.device)[:, None]
        pair_MB3 = values["pair_MN3"][member, choice(fresh(word_MB, 1), values["pairs_M1"])]
        return _said(options, values, pair_MB3, word_MB, options.longest_trained)[0]

    @classmethod
    def build(cls, options: NavigationOptions, seed: int, max_examples: int) -> TaskData:
        """The pairs of each split, none twice, with a walk for each. Raises ValueError where a split is empty."""
        import torch

        if problems := cls.check(options, seed):
            raise ValueError(str(problems[0]))
        world = World.draw(options, seed)
        pools = Pools.split(world, seed)
        values = {name: torch.from_numpy(x) for name, x in _laid_out([world]).items()}
        weights_3 = _degree_regression(world, pools.train)
        splits = {}
        for name in cls.splits_of(options):
            pairs = pools.named()[name][:max_examples]
            words = torch.from_numpy(Stream(seed, f"eval/{name}").raw(len(pairs)).view(np.int64))[None]
            batch, right_MBAV = _said(options, values, torch.from_numpy(pairs)[None], words, options.longest)
            inputs = batch.inputs_MBx[0].numpy()
            likeliest = _degrees(world, pairs) @ weights_3 > 0
            notes = {"degree_only": likeliest == pairs[:, 2], "start": pairs[:, 0], "goal": pairs[:, 1]}
            if right_MBAV is not None:
                bits = np.packbits(world.edge_VV, axis=1)
                notes |= {"right": right_MBAV[0].numpy(), "edges": np.repeat(bits[None], len(pairs), axis=0)}
            splits[name] = StoredRows(
                inputs, batch.at_MBA[0].numpy(), batch.target_MBAx[0].numpy(),
                None if batch.weight_MBA is None else batch.weight_MBA[0].numpy(),
                _mechanism(world, pairs, inputs, notes, Stream(seed, f"donor/{name}")),
            )  # fmt: skip
        sizes = {
            "edges": int(world.edge_VV.sum()),
            "connected": int((world.distance_VV < options.nodes).sum()) - options.nodes,
            **{name: len(pools.named()[name]) for name in cls.splits_of(options)},
        }  # fmt: skip
        return TaskData(None, splits, sizes)

    @staticmethod
    def scores(output_MSAx: Tensor, rows: Batch) -> dict[str, Tensor]:
        """What degrees alone say; of a stepwise model, whether every step is a right one behind the true ones."""
        scores = {"degree_only_accuracy": rows.mechanism.notes["degree_only"]}
        if rows.weight_MBA is None:
            return scores
        prediction_MSA = output_MSAx[..., : rows.mechanism.notes["right"].shape[3]].argmax(dim=-1)
        right_MSA = rows.mechanism.notes["right"].gather(3, prediction_MSA[..., None])[..., 0]
        return {**scores, "accuracy": (right_MSA | (rows.weight_MBA == 0)).all(dim=2)}

    @staticmethod
    def feed(rows: Batch, answer: int, output_MSx: Tensor) -> Batch:
        """The answer as the next token."""
        place = PROMPT + answer
        if place >= rows.inputs_MBx.shape[2]:
            return rows
        inputs_MST = rows.inputs_MBx.clone()
        inputs_MST[:, :, place] = output_MSx
        return replace(rows, inputs_MBx=inputs_MST)

    @staticmethod
    def judge(said_MSAx: Tensor, rows: Batch) -> dict[str, Tensor]:
        """Flag, and of a stepwise model its walk, up to the first flag; NaN where there is no such thing."""
        import torch

        notes = rows.mechanism.notes
        if rows.weight_MBA is None:
            flag_MS = said_MSAx[:, :, 0] == rows.target_MBAx[:, :, 0]
            missing_MS = torch.full_like(flag_MS, torch.nan, dtype=torch.float32)
            walked = ("edge_share", "plan_accuracy", "no_misstep_rate", "class_and_plan_accuracy")
            return {"class_accuracy": flag_MS, **dict.fromkeys(walked, missing_MS)}
        nodes = notes["edges"].shape[2]
        path_MS = (rows.target_MBAx == nodes + PATH).any(dim=2)
        walks_MSA = (said_MSAx < nodes).cumprod(dim=2).bool()
        steps_MS = walks_MSA.sum(dim=2)
        from_MSA = torch.cat([notes["start"][..., None], said_MSAx[..., :-1]], dim=2).clamp(max=nodes - 1)
        to_MSA = said_MSAx.clamp(max=nodes - 1)
        member, row = (torch.arange(size, device=to_MSA.device) for size in to_MSA.shape[:2])
        byte_MSA = notes["edges"][member[:, None, None], row[:, None], from_MSA, to_MSA // 8]
        edge_MSA = (byte_MSA.long() >> (7 - to_MSA % 8)) & 1 == 1
        stuck_MS = rows.target_MBAx[:, :, 0] >= nodes
        share_MS = (edge_MSA & walks_MSA).sum(dim=2) / steps_MS.clamp(min=1)
        valid_MS = (edge_MSA | ~walks_MSA).all(dim=2) & (steps_MS > 0)
        last_MS = to_MSA.gather(2, (steps_MS - 1).clamp(min=0)[..., None])[..., 0]
        plan_MS = valid_MS & (last_MS == notes["goal"])
        flag_MS = said_MSAx.gather(2, steps_MS.clamp(max=said_MSAx.shape[2] - 1)[..., None])[..., 0]
        class_MS = flag_MS == nodes + torch.where(path_MS, PATH, NO_PATH)
        return {
            "class_accuracy": class_MS,
            "edge_share": share_MS.masked_fill(stuck_MS, torch.nan),
            "plan_accuracy": plan_MS.float().masked_fill(~path_MS, torch.nan),
            "no_misstep_rate": valid_MS.float().masked_fill(stuck_MS, torch.nan),
            "class_and_plan_accuracy": class_MS & (plan_MS | ~path_MS),
        }


def _laid_out(worlds: Sequence[World]) -> dict[str, NDArray[Any]]:
    """Edges (M, V, V), distances to each goal (M, V, V) and ranks (M, V)."""
    return {
        "edge_MVV": np.stack([world.edge_VV for world in worlds]),
        "to_goal_MVV": np.stack([world.distance_VV.T for world in worlds]),
        "rank_MV": np.stack([world.rank_V for world in worlds]),
    }


def _said(
    options: NavigationOptions, values: Mapping[str, Tensor], pair_MB3: Tensor, word_MB: Tensor, longest: int
) -> tuple[Batch, Tensor | None]:
    """Examples of these pairs, and of stepwise ones all answers (M, B, A, V) that are right at each."""
    import torch

    start_MB, goal_MB, path_MB = pair_MB3.unbind(2)
    flag_MB = options.nodes + torch.where(path_MB > 0, PATH, NO_PATH)
    prompt_MBT = torch.stack([goal_MB, start_MB], dim=2)
    if options.mode != "stepwise":
        filler_MBT = torch.full((*word_MB.shape, options.fillers), options.nodes + FILLER, device=word_MB.device)
        inputs_MBT = torch.cat([prompt_MBT, filler_MBT], dim=2)
        at_MBA = torch.full_like(word_MB, inputs_MBT.shape[2] - 1)[..., None]
        return Batch(inputs_MBT, at_MBA, flag_MB[..., None]), None
    walk_MBA, right_MBAV = _walks(options, values, pair_MB3, word_MB, longest)
    mask_MBA = walk_MBA != options.nodes + FILLER
    at_MBA = (1 + torch.arange(longest + 1, device=word_MB.device)).expand_as(walk_MBA)
    inputs_MBT = torch.cat([prompt_MBT, walk_MBA[..., :-1]], dim=2)
    target_MBA = walk_MBA.where(mask_MBA, flag_MB[..., None])  # what is not asked is a possible answer all the same
    return Batch(inputs_MBT, at_MBA, target_MBA, mask_MBA.float()), right_MBAV


def _walks(
    options: NavigationOptions, values: Mapping[str, Tensor], pair_MB3: Tensor, word_MB: Tensor, longest: int
) -> tuple[Tensor, Tensor]:
    """Steps, flag and padding (M, B, A), and all tokens (M, B, A, V) that were right at each."""
    import torch

    from grokstudy.trainables.words import choice, fresh

    start_MB, goal_MB, path_MB = pair_MB3.unbind(2)
    member = torch.arange(len(word_MB), device=word_MB.device)[:, None]
    path_MB1 = (path_MB > 0)[..., None]
    flag_MB = torch.where(path_MB > 0, PATH, NO_PATH)
    flags_MB2 = torch.stack([flag_MB == PATH, flag_MB == NO_PATH], dim=2)
    to_goal_MBV, rank_M1V = values["to_goal_MVV"][member, goal_MB], values["rank_MV"][:, None]
    before_MBV = rank_M1V <= values["rank_MV"][member, goal_MB][..., None]
    node_MB, walking_MB = start_MB, torch.ones_like(start_MB, dtype=torch.bool)
    tokens, right = [], []
    for step in range(longest + 1):
        left = longest - step  # steps that there may still be
        leads_MBV = torch.where(path_MB1, to_goal_MBV < left, before_MBV & (left > 0))
        next_MBV = values["edge_MVV"][member, node_MB] & leads_MBV
        number_MBV = next_MBV.cumsum(dim=2)
        count_MB = number_MBV[..., -1]
        chosen_MB = choice(fresh(word_MB, 2 + step), count_MB.clamp(min=1))
        token_MB = (number_MBV > chosen_MB[..., None]).long().argmax(dim=2)
        moves_MB = walking_MB & (count_MB > 0)
        ends_MB = walking_MB & (count_MB == 0)
        padding_MB = torch.full_like(token_MB, options.nodes + FILLER)
        tokens.append(torch.where(moves_MB, token_MB, torch.where(ends_MB, options.nodes + flag_MB, padding_MB)))
        right.append(torch.cat([next_MBV & moves_MB[..., None], flags_MB2 & ends_MB[..., None]], dim=2))
        node_MB, walking_MB = torch.where(moves_MB, token_MB, node_MB), moves_MB
    return torch.stack(tokens, dim=2), torch.stack(right, dim=2)


def _mechanism(
    world: World, pairs: IntArray, inputs: NDArray[Any], notes: Mapping[str, Any], stream: Stream
) -> Mechanism:
    """What probes look for in examples of these pairs."""
    options, n = world.options, world.options.nodes
    start, goal, path = pairs.T
    stepwise = options.mode == "stepwise"
    steps_NV = world.first_steps(start, goal)
    only_N = np.where((steps_NV.sum(axis=1) == 1) & stepwise, steps_NV.argmax(axis=1), -1)
    other_N, expected_N = start.copy(), np.full(len(pairs), -1)
    for row, order in enumerate(stream.raw(len(pairs) * n).reshape(-1, n).argsort(axis=1)):
        if stepwise:
            to_VV = world.first_steps(np.full(n, start[row]), order)
            mask_V = (to_VV.sum(axis=1) == 1) & ~(to_VV & steps_NV[row]).any(axis=1) & (path[row] > 0)
            answer_V = to_VV.argmax(axis=1)
        else:
            distance_V, later_V = world.distance_VV[start[row], order], world.rank_V[order] > world.rank_V[start[row]]
            mask_V = later_V & ((distance_V == n) if path[row] else (distance_V <= options.longest))
            answer_V = np.full(n, n + (NO_PATH if path[row] else PATH))
        first = int(mask_V.argmax())
        if mask_V[first]:
            other_N[row], expected_N[row] = order[first], answer_V[first]
    donor = inputs.copy()
    donor[:, 0] = np.where(expected_N < 0, goal, other_N)
    latent = {"next": placed(1, only_N), "goal": placed(1, goal)}
    swap = {name: placed(place, expected_N) for place, name in enumerate(GraphNavigation.swaps)}
    return Mechanism(latent=latent, donor=dict.fromkeys(swap, donor), swap=swap, notes=notes)


def _degrees(world: World, pairs: IntArray) -> NDArray[np.float64]:
    """One, the start's out-degree and the goal's in-degree (N, 3)."""
    out_V, in_V = world.edge_VV.sum(axis=1), world.edge_VV.sum(axis=0)
    return np.stack([np.ones(len(pairs)), out_V[pairs[:, 0]], in_V[pairs[:, 1]]], axis=1)


def _degree_regression(world: World, pairs: IntArray) -> NDArray[np.float64]:
    """Weights (3,) of the logistic regression of the flag on the degrees, by Newton's method."""
    x_N3, y_N = _degrees(world, pairs), pairs[:, 2]
    weights_3 = np.zeros(3)
    for _ in range(25):
        share_N = 1 / (1 + np.exp(-(x_N3 @ weights_3)))
        slope_3 = x_N3.T @ (y_N - share_N) - RIDGE * weights_3
        curve_33 = (x_N3 * (share_N * (1 - share_N))[:, None]).T @ x_N3 + RIDGE * np.eye(3)
        weights_3 = weights_3 + np.linalg.solve(curve_33, slope_3)
    return weights_3


RIDGE = 1e-3
"""Keeps the regression finite where degrees separate the classes."""
