"""Paths in trees: every tree and answer against a solver of the test's own, and models with and without the rule."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.models import build
from grokstudy.trainables.probes.attention import attention_mass
from grokstudy.trainables.probes.splits import stack_splits
from grokstudy.trainables.probes.subject import Subject
from grokstudy.trainables.tasks.base import StoredRows
from grokstudy.trainables.tasks.tree_path import BACK, EDGE, FORTH, ROOT, TreeOptions, TreePath
from grokstudy.trainables.training.evaluate import evaluate, free_running

CPU = torch.device("cpu")
PAPER: list[dict[str, Any]] = [
    {"direction": "backward", "depth": 4, "labels": 31},
    {"direction": "forward", "depth": 3, "labels": 25, "root": "unmarked"},
]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"root": "unmarked", "goal": "any"},
    {"depth": 2, "labels": 7, "goal": "any"},
    *PAPER,
]
Column = tuple[int | None, int | None, int | None]


def options(**changes: Any) -> TreeOptions:
    found = TreeOptions(**changes)
    assert found.problems() == []
    return found


def rows(split: str, most: int = 40, seed: int = 0, **changes: Any) -> StoredRows:
    found = TreePath.build(options(**changes), seed, most).splits[split]
    assert isinstance(found, StoredRows)
    return found


def columns(example: np.ndarray, labels: int) -> list[Column]:
    """The numbers of one-hot columns, None where nothing is."""

    def number(part: np.ndarray) -> int | None:
        assert sorted(part)[:-1] == [0.0] * (len(part) - 1)
        return int(part.argmax()) if part.any() else None

    return [(number(c[:labels]), number(c[labels : 2 * labels]), number(c[2 * labels :])) for c in example]


def parsed(asked: TreeOptions, example: np.ndarray) -> tuple[dict[int, int], int, list[Column], int]:
    """Parents by node, the root, all columns, and where the first thought stands, of a well-formed prompt."""
    found = columns(example, asked.labels)
    begin = int(asked.forward)
    assert found[:begin] == [(None, None, BACK)] * begin
    first = next(i for i, (before, node, kind) in enumerate(found) if before is None and node is not None)
    assert found[first][2] == BACK
    parents: dict[int, int] = {}
    for parent, child, kind in found[begin:first]:
        assert parent is not None
        assert child is not None
        assert child not in parents
        assert kind == (ROOT if parent == child and asked.root == "marked" else EDGE)
        parents[child] = parent
    (root,) = [child for child, parent in parents.items() if child == parent]
    return parents, root, found, first


def climbed(parents: dict[int, int], node: int) -> list[int]:
    """The way from a node to the root."""
    way = [node]
    while parents[way[-1]] != way[-1]:
        way.append(parents[way[-1]])
        assert len(way) <= len(parents), "no tree: it has a circle"
    return way


@pytest.mark.parametrize("changes", SETTINGS)
@pytest.mark.parametrize("split", list(TreePath.splits))
def test_answers_are_those_of_a_solver_that_climbs(split: str, changes: dict[str, Any]) -> None:
    asked, examples = options(**changes), rows(split, **changes)
    m, lengths, most_children = asked.depth, set(), 0
    assert examples.weight is not None
    for i in range(len(examples)):
        parents, root, found, first = parsed(asked, examples.inputs[i])
        goal = found[first][1]
        assert goal is not None
        up = climbed(parents, goal)
        assert up[-1] == root
        walked = [*up, *reversed(up)] if asked.forward else up
        stages = [BACK] * len(up) + [FORTH] * (len(walked) - len(up))
        count = len(walked) - 1
        assert examples.weight[i].tolist() == [1.0] * count + [0.0] * (examples.weight.shape[1] - count)
        assert examples.at[i, :count].tolist() == list(range(first, first + count))
        thoughts = list(zip([None, *walked], walked, stages, strict=False))[:count]
        assert found[first : first + count] == thoughts
        assert set(found[first + count :]) <= {(None, None, None)}
        said = examples.target[i, :count]
        assert said[:, : asked.labels].argmax(1).tolist() == walked[1:]
        assert said.sum() == count * (1 + asked.forward)
        if asked.forward:
            assert (said[:, asked.labels :].argmax(1) + BACK).tolist() == stages[1:]
        else:
            assert said.shape[1] == asked.labels
        lengths.add(len(up) - 1)
        nodes = [node for node in parents if node != root]
        children = [sum(parents[node] == above for node in nodes) for above in parents]
        depths = [len(climbed(parents, node)) - 1 for node in parents]
        most_children = max(most_children, *children)
        if split in ("perfect", "inner"):
            assert len(parents) == 2 ** (m + 1) - 1
            assert set(children) == {0, 2}
            assert {d for d, c in zip(depths, children, strict=True) if c == 0} == {m}
        else:
            assert len(parents) == (min(asked.labels, 2 * asked.nodes) if split == "deep" else asked.nodes)
            assert max(depths) <= (2 * m if split == "deep" else m)
    wanted = {
        "perfect": {m} if asked.goal == "leaf" else set(range(1, m + 1)), "inner": set(range(1, m)),
        "bushy": set(range(1, m + 1)), "deep": set(range(m + 1, 2 * m + 1)),
    }  # fmt: skip
    assert lengths == wanted[split]
    assert most_children == (2 if split in ("perfect", "inner") else 3)


@pytest.mark.parametrize("changes", SETTINGS)
def test_what_a_head_should_look_at_is_the_column_that_holds_the_answer(changes: dict[str, Any]) -> None:
    asked = options(**changes)
    for split in ("perfect", "deep"):
        examples = rows(split, 10, **changes)
        look = examples.mechanism.look
        assert examples.weight is not None
        assert set(look) == (set(TreePath.looks) if asked.forward else {"back", "early"})
        for i in range(10):
            parents, root, found, first = parsed(asked, examples.inputs[i])
            goal = found[first][1]
            assert goal is not None
            count, up = int(examples.weight[i].sum()), climbed(parents, goal)
            for a in range(examples.at.shape[1]):
                places = {name: np.flatnonzero(seen[i, a]).tolist() for name, seen in look.items()}
                edge = len(up) - 1
                names = {"back", "early", "walk"} if a < edge else {"root"} if a == edge else {"forth", "walk"}
                assert {name for name, place in places.items() if place} == (names & set(look) if a < count else set())
                for name in names & set(look) if a < count else ():
                    (place,) = places[name]
                    before, node, kind = found[place]
                    now, following = found[first + a][1], int(examples.target[i, a, : asked.labels].argmax())
                    assert place < examples.at[i, a]
                    if name == "early":
                        assert (before, node) == (root, root)
                    else:
                        assert (before, node) == (following, now)
                    assert kind == BACK if name == "forth" or (name == "walk" and a > edge) else kind in (EDGE, ROOT)


def trees(asked: TreeOptions, inputs: np.ndarray) -> set[tuple[int, ...]]:
    """Trees and their goals, whatever the order of the columns: the parent of each label, -1 for none, and the goal."""
    labels, begin = asked.labels, int(asked.forward)
    edges = inputs[:, begin : begin + asked.nodes, : 2 * labels].reshape(len(inputs), asked.nodes, 2, labels).argmax(-1)
    found = np.full((len(inputs), labels + 1), -1)
    np.put_along_axis(found, edges[:, :, 1], edges[:, :, 0], axis=1)
    found[:, labels] = inputs[:, begin + asked.nodes, labels : 2 * labels].argmax(-1)
    return set(map(tuple, found.tolist()))


def trained(asked: TreeOptions, count: int) -> set[tuple[int, ...]]:
    values = {name: torch.from_numpy(x) for name, x in TreePath.values([asked], [0]).items()}
    batch = TreePath.draw(asked, values, None, torch.arange(count)[None] * 7919 + 12345)
    return trees(asked, batch.inputs_MBx[0].numpy())


def test_no_tested_tree_and_goal_is_trained_but_where_there_are_few_trees() -> None:
    for changes in ({}, *PAPER):
        asked = options(**changes)
        tested = [trees(asked, rows(split, 300, **changes).inputs) for split in ("perfect", "inner")]
        assert len(tested[0] | tested[1]) == 600
        assert not (tested[0] | tested[1]) & trained(asked, 1500)
    few = options(depth=2, labels=7)  # 7! / 2^3 trees with 4 leaves each
    again = trees(few, rows("perfect", 300, depth=2, labels=7).inputs) & trained(few, 1500)
    assert len(again) / 300 == pytest.approx(1 - np.exp(-1500 / 2520), abs=0.1)


def test_the_data_of_a_seed_stay_what_they_are() -> None:
    hashes = {name: TreePath.build(options(direction=name), 0, 50).hash for name in ("forward", "backward")}
    told = "the data of a seed has changed: raise config.NUMERICS, put the hash here"
    assert hashes == {"forward": "9176e5f1b87e36bf", "backward": "5f2bf5e61e2ae5ca"}, told


@pytest.mark.parametrize(
    ("changes", "key", "fragment"),
    [
        ({"labels": 14}, "data.labels", "14 labels are too few for the 15 nodes"),
        ({"direction": "backward", "root": "unmarked"}, "data.root", "means nothing for data.direction backward"),
    ],
)
def test_impossible_options_are_named(changes: dict[str, Any], key: str, fragment: str) -> None:
    (problem,) = TreeOptions(**changes).problems()
    assert problem.key == key
    assert fragment in problem.message


def config_of(heads: int = 1, values: str = "trained", **data: Any) -> RunConfig:
    model = {"family": "attention", "heads": heads, "values": values}
    config = RunConfig.from_dict({"task": "tree_path", "data": data, "model": model})
    assert config.problems() == []
    return config


def test_fixed_values_are_for_the_way_that_the_paper_has_them_for() -> None:
    config_of(values="fixed", direction="backward")
    raw = {"task": "tree_path", "model": {"family": "attention", "values": "fixed"}}
    (problem,) = RunConfig.from_dict(raw).problems()
    assert problem.key == "model.values"


SHARP = 60.0


def walker(scores: Tensor, values: Tensor, labels: int) -> None:
    """Match the second node with the current one, of edges on the way up and of thoughts on the way down; say the
    first, and the stage that the column's kind stands for.
    """
    node, kind = torch.arange(labels), 2 * labels
    scores[labels + node, labels + node] = SHARP
    scores[[kind + EDGE, kind + ROOT, kind + BACK], [kind + BACK, kind + BACK, kind + FORTH]] = SHARP
    values[node, node] = 1.0
    values[[kind + EDGE, kind + ROOT, kind + BACK], [labels, labels + 1, labels + 1]] = 1.0


def controller(scores: Tensor, values: Tensor, labels: int) -> None:
    """Look at the thoughts on the way up, unless a column has the current node twice; then change the stage."""
    node, kind = torch.arange(labels), 2 * labels
    scores[labels + node, labels + node] = SHARP
    scores[node, labels + node] = SHARP
    scores[kind + BACK, kind + BACK] = 1.5 * SHARP
    values[kind + EDGE, labels + 1] = 2.0


def measured(config: RunConfig, weights: dict[str, Tensor]) -> tuple[dict[str, dict[str, float]], dict[Any, float]]:
    """Accuracy and scores by split; masses by look, split and head."""
    model = build(config.model, config.example)
    splits = stack_splits([TreePath.build(config.data, 0, 60)], CPU)
    with torch.no_grad():
        found = evaluate(model, weights, splits, TreePath, 60)
        masses = list(attention_mass(Subject(model, weights, splits, 60)))
    behaviour = {b.split: {k: v.item() for k, v in {"accuracy": b.accuracy_M, **b.scores}.items()} for b in found}
    return behaviour, {(m.probe, m.split, m.position): m.value_M.item() for m in masses}


def empty(config: RunConfig) -> dict[str, Tensor]:
    return {p.name: torch.zeros(1, *p.shape) for p in build(config.model, config.example).parameters}


@pytest.mark.parametrize("goal", ["leaf", "any"])
def test_one_head_that_follows_the_rule_walks_every_tree_whose_root_is_marked(goal: str) -> None:
    config = config_of(goal=goal)
    weights = empty(config)
    walker(weights["scores"][0, 0], weights["values"][0, 0], config.data.labels)
    behaviour, masses = measured(config, weights)
    for split, scores in behaviour.items():
        assert scores == dict.fromkeys(("accuracy", *TreePath.metrics), 1.0), split
        for name in ("back", "forth", "walk", "root"):
            assert masses[f"mass_{name}", split, "head0"] == pytest.approx(1.0, abs=1e-4)
        assert masses["mass_early", split, None] == pytest.approx(0.0, abs=1e-4)


def test_without_a_mark_one_such_head_never_turns_and_a_second_one_makes_it() -> None:
    alone, both = config_of(root="unmarked"), config_of(2, root="unmarked")
    weights = empty(alone)
    walker(weights["scores"][0, 0], weights["values"][0, 0], alone.data.labels)
    behaviour, _ = measured(alone, weights)
    for scores in behaviour.values():
        assert scores["back_accuracy"] == scores["forth_accuracy"] == scores["stay_accuracy"] == 1
        assert scores["switch_accuracy"] == scores["exact"] == scores["accuracy"] == 0
    weights = empty(both)
    walker(weights["scores"][0, 0], weights["values"][0, 0], both.data.labels)
    controller(weights["scores"][0, 1], weights["values"][0, 1], both.data.labels)
    behaviour, masses = measured(both, weights)
    for split, scores in behaviour.items():
        assert scores == dict.fromkeys(("accuracy", *TreePath.metrics), 1.0), split
        assert masses["mass_root", split, "head1"] == pytest.approx(1.0, abs=1e-4)
        assert masses["mass_early", split, "head1"] < 1e-4 < 0.99 < masses["mass_walk", split, "head0"]
        assert masses["mass_walk", split, "head1"] < 0.5


def test_attention_that_is_even_has_its_share_and_one_on_the_children_has_none() -> None:
    config = config_of()
    behaviour, masses = measured(config, empty(config))
    assert all(scores["exact"] == scores["accuracy"] == 0 for scores in behaviour.values())
    at = rows("perfect", 60).at[0]
    up = [0, 1, 2]
    assert masses["mass_back", "perfect", "head0"] == pytest.approx(float(np.mean(1 / at[up])), rel=1e-4)
    weights, node = empty(config), torch.arange(config.data.labels)
    weights["scores"][0, 0, node, config.data.labels + node] = SHARP
    _, masses = measured(config, weights)
    assert masses["mass_walk", "inner", "head0"] < 0.01


def test_backward_with_fixed_values_needs_the_match_of_a_node_with_itself_alone() -> None:
    config = config_of(values="fixed", direction="backward", depth=4, labels=31)
    assert [p.shape for p in build(config.model, config.example).parameters] == [(1, 31, 31)]
    behaviour, masses = measured(config, {"scores": SHARP * torch.eye(31)[None, None]})
    for split, scores in behaviour.items():
        assert scores == {"accuracy": 1.0, "back_accuracy": 1.0, "exact": 1.0}, split
        assert masses["mass_back", split, None] == pytest.approx(1.0, abs=1e-4)


def test_an_own_mistake_is_what_a_model_goes_on_from() -> None:
    """A model whose matches are shifted by one label is wrong from the first answer on, and reads its own columns."""
    config = config_of(direction="backward", values="fixed")
    labels = config.data.labels
    model = build(config.model, config.example)
    splits = stack_splits([TreePath.build(config.data, 0, 5)], CPU)
    weights = {"scores": SHARP * torch.eye(labels).roll(1, 0)[None, None]}
    batch = splits["perfect"].batch()
    for a in range(config.data.depth):
        said = model.answer_logits(weights, batch.inputs_MBx, batch.at_MBA[:, :, a])
        batch = TreePath.feed(batch, a, said)
    for example in batch.inputs_MBx[0].numpy():
        found = columns(example, labels)
        thoughts = found[-config.data.depth :]
        edges = {child: parent for parent, child, kind in found if kind != BACK}
        for (_, before, _), (previous, now, kind) in itertools.pairwise(thoughts):
            assert before is not None
            assert previous == before
            assert kind == BACK
            if (before + 1) % labels in edges:
                assert now == edges[(before + 1) % labels]
    free = free_running(model, weights, splits["perfect"], TreePath, 5)
    assert free["exact"].item() == 0
