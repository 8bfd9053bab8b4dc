"""Paths in trees, walked one step at a time by one attention layer (arXiv 2508.08222).

A prompt lists the edges of a rooted tree as columns (parent; child; kind), in random order, with a column (root; root)
for the root. Then come thoughts, columns (previous node; current node; kind), the first of them (-; goal; BACK); at
each thought a model says what the next one is about:

    backward    goal, its parent, ..., the root
    forward     goal, its parent, ..., the root, the root again, ..., the parent of goal, goal

Forward has a stage, BACK or FORTH, which is said with the node and changes where the root is said again. So one rule,
"find the column whose second node is the current one and say its first", is enough in both directions: kinds decide
whether edges are looked at or thoughts on the way up. A root may have a kind of its own in the prompt (`root: marked`)
or look like an edge from itself to itself.

Training trees are perfect and binary, nodes have labels drawn without replacement; goals are leaves. All of these then
have one depth, so that the change of stage could be learnt by counting thoughts: splits with other depths tell, and
`goal: any` trains on all of them. Splits with irregular trees are built from the way to the goal, whose length is drawn
first; each further node goes to a place that is free, none is drawn again.

The paper states the theorems for edge columns, a root and a goal, with stage tokens for forward, squared loss, zero
initialisation and gradient descent (depth 4, 31 labels backward; depth 3, 25 labels forward). Its layout of columns is
not known here: this one is ours. A prompt of forward begins with a column (-; -; BACK), the stage token, so that a head
which has nothing to find has somewhere to look. Thoughts attend to what comes before them, not to themselves.

Axes: M member, B example, N node, T place, S label, A answer, R real channel, O output, x any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from grokstudy.trainables.events import Event
from grokstudy.trainables.options import Problem, option
from grokstudy.trainables.tasks.base import Batch, Fresh, Mechanism, Shape

if TYPE_CHECKING:
    from torch import Tensor

EDGE, ROOT, BACK, FORTH, KINDS = range(5)
"""Kinds of a column, and how many there are. Outputs say one of the last two."""
STAGES = 2
CHILDREN = 3
"""Most children of a node in irregular trees."""
NONE, BACKWARD, SWITCH, FORWARD = range(4)
"""What an answer is: not there, a step up, the root again, a step down."""


@dataclass(frozen=True, kw_only=True)
class TreeOptions:
    """Which way is walked, in what trees."""

    direction: Literal["backward", "forward"] = option("forward", "from the goal to the root, or from there back too")
    depth: int = option(3, "depth of the perfect binary trees that are trained, m", ge=2, le=8)
    labels: int = option(16, "labels S of nodes; at least 2^(m+1) - 1", ge=7)
    root: Literal["marked", "unmarked"] = option("marked", "forward: a kind of its own for the root's column, or none")
    goal: Literal["leaf", "any"] = option("leaf", "trained goals: leaves, all as deep, or any node below the root")

    @property
    def forward(self) -> bool:
        """Whether the way down is asked for, too."""
        return self.direction == "forward"

    @property
    def nodes(self) -> int:
        """Nodes of a perfect tree."""
        return int(2 ** (self.depth + 1)) - 1

    @property
    def largest(self) -> int:
        """Nodes of a tree of split `deep`."""
        return min(self.labels, 2 * self.nodes)

    def problems(self) -> list[Problem]:
        """More nodes than labels; a mark of the root that nothing reads."""
        problems = []
        if self.labels < self.nodes:
            message = (
                f"{self.labels} labels are too few for the {self.nodes} nodes of trees with data.depth {self.depth}"
            )
            problems.append(Problem("data.labels", message))
        if not self.forward and self.root != "marked":
            problems.append(Problem("data.root", "means nothing for data.direction backward; leave it out"))
        return problems


class TreePath(Fresh):
    """The task `tree_path`."""

    Options = TreeOptions
    splits: ClassVar[dict[str, str]] = {
        "perfect": "new trees and goals as in training",
        "inner": "perfect trees whose goal is neither the root nor a leaf: shorter ways in trained trees",
        "bushy": f"irregular trees of the trained size, up to {CHILDREN} children, ways of 1 to m edges",
        "deep": f"irregular trees of all labels or twice the trained size, {CHILDREN} children, ways of m + 1 to 2 m",
    }
    headline = "bushy"
    metrics: ClassVar[dict[str, str]] = {
        "back_accuracy": "share of the steps towards the root that say the right node, the true ones before them given",
        "forth_accuracy": "share of the steps towards the goal that say the right node, likewise; forward alone",
        "switch_accuracy": "share of changes of stage that are said at the root, likewise; forward alone",
        "stay_accuracy": "share of other steps that say the right stage, likewise; forward alone",
        "exact": "share of examples all of whose answers are right when the model's own are fed back",
    }
    looks: ClassVar[dict[str, str]] = {
        "back": "on the way up, the edge from the current node's parent",
        "forth": "on the way down, the thought that went up to the current node",
        "walk": "on both ways, the column whose first node comes next",
        "root": "at the root on the way up, where the stage changes, the root's column",
        "early": "on the way up before the root, the root's column: where a head that finds the root should not look",
    }
    families = ("attention", "decoder")
    events: ClassVar[dict[str, Event]] = {
        "circuit": Event(metric="mass_walk", split=("perfect",), at_least=0.5),
        "walks_back": Event(metric="back_accuracy", split=("perfect",), at_least=0.9),
        "generalised_ii": Event(metric="exact", split=("perfect",), at_least=0.9),
        "generalised": Event(metric="exact", split=("bushy",), at_least=0.9),
        "generalised_deep": Event(metric="exact", split=("deep",), at_least=0.9),
    }
    """`circuit`: one head has half of its attention on the column to read, up and down. `generalised`: whole ways, in
    trees and of lengths that were not trained."""
    default_probes = ("attention_mass",)
    generates = True

    @staticmethod
    def shape(options: TreeOptions) -> Shape:
        """Columns (first; second; kind), one-hot; a node and a stage are said, or backward, as in the paper, a node.

        Backward, scores see the second nodes alone, and values may be fixed to the first.
        """
        labels = options.labels
        shape = Shape(
            length=_places(options, options.nodes, options.depth), reals=2 * labels + KINDS,
            outputs=labels + STAGES if options.forward else labels, answers=_answers(options, options.depth),
            places=_places(options, options.largest, 2 * options.depth),
        )  # fmt: skip
        return shape if options.forward else replace(shape, query=(labels, 2 * labels), value=(0, labels))

    @classmethod
    def values(cls, options: Sequence[TreeOptions], seeds: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Whether goals are leaves, and roots marked: columns (M, 1)."""
        return {
            "leaf_M1": np.array([[o.goal == "leaf"] for o in options]),
            "marked_M1": np.array([[o.root == "marked"] for o in options]),
        }

    @classmethod
    def draw(cls, options: TreeOptions, values: Mapping[str, Tensor], split: str | None, word_MB: Tensor) -> Batch:
        """Trees of these words, and the ways to their goals."""
        import torch
        import torch.nn.functional as F

        from grokstudy.trainables.words import permutation

        labels, longest = options.labels, (2 if split == "deep" else 1) * options.depth
        ancestor, nodes, goal_MB, depth_MB = _trees(options, values["leaf_M1"], split, word_MB)
        label_MBN = permutation(word_MB, 3, labels)[..., :nodes]
        order_MBN = permutation(word_MB, 3 + labels, nodes)
        answers = _answers(options, longest)
        number_A = torch.arange(answers, device=word_MB.device)
        depth_MB1 = depth_MB[..., None]
        mask_MBA = number_A < (2 * depth_MB1 + 1 if options.forward else depth_MB1)

        def visited(number: Tensor) -> Tensor:
            """The node after so many answers: up, the root twice, and down again."""
            above_MBA = torch.where(number <= depth_MB1, number, 2 * depth_MB1 + 1 - number).clamp(min=0)
            return ancestor(goal_MB[..., None].expand_as(above_MBA), above_MBA)

        now_MBA, next_MBA = visited(number_A), visited(number_A + 1)
        before_MBA = visited((number_A - 1).clamp(min=0))
        forth_MBA = number_A > depth_MB1

        stage = int(options.forward)
        thought = stage + nodes
        mark_M11 = torch.where(values["marked_M1"], ROOT, EDGE)[..., None]
        kind_MBN = torch.where(order_MBN == 0, mark_M11, EDGE)
        label_MBA = label_MBN.gather(2, now_MBA)
        from_MBA = label_MBN.gather(2, before_MBA).where(mask_MBA & (number_A > 0), -1)
        first_MBT = torch.cat([label_MBN.gather(2, ancestor(order_MBN, torch.ones_like(order_MBN))), from_MBA], dim=2)
        second_MBT = torch.cat([label_MBN.gather(2, order_MBN), label_MBA.where(mask_MBA, -1)], dim=2)
        kind_MBT = torch.cat([kind_MBN, (BACK + forth_MBA.long()).where(mask_MBA, -1)], dim=2)
        columns = [(first_MBT, labels, -1), (second_MBT, labels, -1), (kind_MBT, KINDS, BACK)]
        parts = [_one_hot(F.pad(x_MBT, (stage, 0), value=token), size) for x_MBT, size, token in columns]
        inputs_MBTR = torch.cat(parts, dim=3)

        at_MBA = thought + torch.minimum(number_A, mask_MBA.sum(dim=2, keepdim=True) - 1)
        target_MBAO = _one_hot(label_MBN.gather(2, next_MBA), labels)
        if options.forward:
            target_MBAO = torch.cat([target_MBAO, _one_hot((number_A >= depth_MB1).long(), STAGES)], dim=3)
        weight_MBA = mask_MBA.float()
        if split is None:
            return Batch(inputs_MBTR, at_MBA, target_MBAO, weight_MBA)

        step_MBA = torch.where(forth_MBA, FORWARD, torch.where(number_A == depth_MB1, SWITCH, BACKWARD))
        step_MBA = step_MBA.where(mask_MBA, NONE)
        column_MBN = stage + order_MBN.argsort(dim=2)
        edge_MBA, root_MB1 = column_MBN.gather(2, now_MBA), column_MBN[..., :1]
        wanted = {
            "back": edge_MBA.where(step_MBA == BACKWARD, -1), "early": root_MB1.where(step_MBA == BACKWARD, -1),
        }  # fmt: skip
        if options.forward:
            wanted["root"] = edge_MBA.where(step_MBA == SWITCH, -1)
            wanted["forth"] = (thought + 2 * depth_MB1 + 1 - number_A).where(step_MBA == FORWARD, -1)
            wanted["walk"] = torch.maximum(wanted["back"], wanted["forth"])
        place_T = torch.arange(inputs_MBTR.shape[2], device=word_MB.device)
        look = {name: place_T == place_MBA[..., None] for name, place_MBA in wanted.items()}
        return Batch(inputs_MBTR, at_MBA, target_MBAO, weight_MBA, Mechanism(look=look, notes={"step": step_MBA}))

    @staticmethod
    def scores(output_MSAx: Tensor, rows: Batch) -> dict[str, Tensor]:
        """All answers right, and of each kind of answer how many, as far as there are such."""
        node_MSA, stage_MSA = _right(output_MSAx, rows)
        step_MSA = rows.mechanism.notes["step"]
        scores = {"accuracy": (node_MSA & stage_MSA | (step_MSA == NONE)).all(dim=2)}
        scores["back_accuracy"] = _share(node_MSA, step_MSA == BACKWARD)
        if "forth" in rows.mechanism.look:
            scores["forth_accuracy"] = _share(node_MSA, step_MSA == FORWARD)
            scores["switch_accuracy"] = _share(stage_MSA, step_MSA == SWITCH)
            scores["stay_accuracy"] = _share(stage_MSA, (step_MSA == BACKWARD) | (step_MSA == FORWARD))
        return scores

    @staticmethod
    def feed(rows: Batch, answer: int, output_MSx: Tensor) -> Batch:
        """The answer as the next thought: the current node, the one that is said, and the stage that is said."""
        import torch

        following = answer + 1
        if following == rows.at_MBA.shape[2]:
            return rows
        assert rows.weight_MBA is not None
        inputs_MSTR, labels = rows.inputs_MBx, (rows.inputs_MBx.shape[3] - KINDS) // 2

        def place(number: int) -> Tensor:
            return rows.at_MBA[:, :, number, None, None].expand(-1, -1, -1, inputs_MSTR.shape[3])

        now_MS1R = inputs_MSTR.gather(2, place(answer))
        node_MS, stage_MS = _said(output_MSx, labels)
        kind_MS = stage_MS + BACK
        parts = [now_MS1R[:, :, 0, labels : 2 * labels], _one_hot(node_MS, labels), _one_hot(kind_MS, KINDS)]
        thought_MS1R = torch.cat(parts, dim=2)[:, :, None]
        mask_MS11 = rows.weight_MBA[:, :, following, None, None] > 0
        thought_MS1R = thought_MS1R.where(mask_MS11, inputs_MSTR.gather(2, place(following)))
        return replace(rows, inputs_MBx=inputs_MSTR.scatter(2, place(following), thought_MS1R))

    @staticmethod
    def judge(said_MSAx: Tensor, rows: Batch) -> dict[str, Tensor]:
        """All answers right."""
        node_MSA, stage_MSA = _right(said_MSAx, rows)
        return {"exact": (node_MSA & stage_MSA | (rows.mechanism.notes["step"] == NONE)).all(dim=2)}


def _answers(options: TreeOptions, edges: int) -> int:
    """Answers of a way of so many edges."""
    return 2 * edges + 1 if options.forward else edges


def _places(options: TreeOptions, nodes: int, edges: int) -> int:
    """Places of a tree with so many nodes and ways of at most so many edges."""
    return int(options.forward) + nodes + _answers(options, edges)


def _trees(
    options: TreeOptions, leaf_M1: Tensor, split: str | None, word_MB: Tensor
) -> tuple[Callable[[Tensor, Tensor], Tensor], int, Tensor, Tensor]:
    """The node so many edges above a node, the root at most (M, B, x); nodes N, of which 0 is the root; goal and depth.

    Of perfect trees this is arithmetic, also because torch.compile fails at a table in a table.
    """
    import torch

    from grokstudy.trainables.words import choice, fresh, several

    device, m, perfect = word_MB.device, options.depth, options.nodes
    if split in (None, "perfect", "inner"):
        first_leaf = 2**m - 1
        leaf_MB = first_leaf + choice(fresh(word_MB, 1), perfect - first_leaf)
        if split == "inner":
            goal_MB = 1 + choice(fresh(word_MB, 2), first_leaf - 1)
        else:
            goal_MB = torch.where(leaf_M1, leaf_MB, 1 + choice(fresh(word_MB, 2), perfect - 1))
        begins_D = 2 ** torch.arange(1, m + 1, device=device) - 1
        depth_MB = (goal_MB[..., None] >= begins_D).sum(dim=2)
        return lambda node, edges: (((node + 1) >> edges) - 1).clamp(min=0), perfect, goal_MB, depth_MB

    low, high, nodes = (m + 1, 2 * m, options.largest) if split == "deep" else (1, m, perfect)
    goal_MB = low + choice(fresh(word_MB, 1), high - low + 1)
    pick_MBN = several(word_MB, 3 + 2 * options.labels + perfect, nodes)
    number_N = torch.arange(nodes, device=device)
    parent_MBN = torch.zeros(*word_MB.shape, nodes, dtype=torch.long, device=device)
    depth_MBN, children_MBN = torch.zeros_like(parent_MBN), torch.zeros_like(parent_MBN)
    for node in range(1, nodes):
        free_MBN = (number_N < node) & (children_MBN < CHILDREN) & (depth_MBN < high)
        chosen_MB1 = choice(pick_MBN[..., node], free_MBN.sum(dim=2))[..., None]
        drawn_MB1 = ((free_MBN.cumsum(dim=2) <= chosen_MB1).sum(dim=2, keepdim=True)).clamp(max=nodes - 1)
        above_MB1 = torch.where(goal_MB[..., None] >= node, node - 1, drawn_MB1)
        parent_MBN[..., node : node + 1] = above_MB1
        depth_MBN[..., node : node + 1] = depth_MBN.gather(2, above_MB1) + 1
        children_MBN = children_MBN.scatter_add(2, above_MB1, torch.ones_like(above_MB1))

    def ancestor(node_MBx: Tensor, edges_MBx: Tensor) -> Tensor:
        for edge in range(high):
            node_MBx = torch.where(edges_MBx > edge, parent_MBN.gather(2, node_MBx), node_MBx)
        return node_MBx

    return ancestor, nodes, goal_MB, goal_MB


def _one_hot(index_x: Tensor, size: int) -> Tensor:
    """(x, size) float32: 1 at the index, 0 everywhere for -1."""
    import torch

    return (index_x[..., None] == torch.arange(size, device=index_x.device)).float()


def _said(output_x: Tensor, labels: int) -> tuple[Tensor, Tensor]:
    """The node and the stage (x) that are said; backward there is one stage."""
    import torch

    node_x = output_x[..., :labels].argmax(dim=-1)
    if output_x.shape[-1] == labels:
        return node_x, torch.zeros_like(node_x)
    return node_x, output_x[..., labels:].argmax(dim=-1)


def _right(output_MSAx: Tensor, rows: Batch) -> tuple[Tensor, Tensor]:
    """Whether nodes and stages (M, S, A) are right."""
    labels = (rows.inputs_MBx.shape[3] - KINDS) // 2
    prediction, wanted = _said(output_MSAx, labels), _said(rows.target_MBAx, labels)
    return prediction[0] == wanted[0], prediction[1] == wanted[1]


def _share(right_MSA: Tensor, mask_MSA: Tensor) -> Tensor:
    """Of an example's answers that are asked, how many are right (M, S); every example has some."""
    return (right_MSA & mask_MSA).sum(dim=2) / mask_MSA.sum(dim=2)
