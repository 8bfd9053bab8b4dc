"""Navigation against brute force over the graph, and models that have the mechanism, or have not, by construction."""

from __future__ import annotations

from collections import deque
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.models import build as model_of
from grokstudy.trainables.models.network import Network
from grokstudy.trainables.probes.lens import lens
from grokstudy.trainables.probes.splits import SplitBatch, stack_splits
from grokstudy.trainables.probes.subject import Subject
from grokstudy.trainables.probes.swap import swap
from grokstudy.trainables.tasks.base import Rows, TaskData
from grokstudy.trainables.tasks.graph_navigation import GraphNavigation, NavigationOptions, World
from grokstudy.trainables.training.batches import TrainingSet
from grokstudy.trainables.training.evaluate import evaluate

CPU = torch.device("cpu")
LAYERED: dict[str, Any] = {"nodes": 30, "layers": 5, "edge": 0.35, "train_share": 0.4}
ORDERED: dict[str, Any] = {"graph": "bernoulli", "nodes": 20, "edge": 0.15, "train_share": 0.4}
SHORT: dict[str, Any] = {**LAYERED, "max_train_distance": 2}
KINDS = pytest.mark.parametrize("changes", [LAYERED, ORDERED, SHORT], ids=["layered", "ordered", "short"])
Graph = dict[int, set[int]]


def options_of(**changes: Any) -> NavigationOptions:
    options = NavigationOptions(**changes)
    assert options.problems() == []
    return options


def graph_of(options: NavigationOptions, seed: int) -> tuple[Graph, list[int]]:
    """Successors by node, and the layer or place of each."""
    world = World.draw(options, seed)
    return {v: set(np.flatnonzero(row).tolist()) for v, row in enumerate(world.edge_VV)}, world.rank_V.tolist()


def distances(graph: Graph, start: int) -> dict[int, int]:
    found, waiting = {start: 0}, deque([start])
    while waiting:
        here = waiting.popleft()
        for node in graph[here] - found.keys():
            found[node] = found[here] + 1
            waiting.append(node)
    return found


def walks_of(rows: Rows) -> list[list[int]]:
    """Goal, start, steps and flag of each row, the flag as the last target that is there."""
    assert rows.weight is not None
    found = []
    for tokens, target, weight in zip(rows.inputs, rows.target, rows.weight, strict=True):
        size = int(weight.sum())
        assert tokens[2 : 1 + size].tolist() == target[: size - 1].tolist(), "what is said is what is seen next"
        found.append([*tokens[:2].tolist(), *target[:size].tolist()])
    return found


def pairs_of(data: TaskData, split: str) -> set[tuple[int, int]]:
    return {(int(row[1]), int(row[0])) for row in data.splits[split].inputs}


@KINDS
def test_graphs_are_acyclic_by_layer_or_order_and_names_do_not_tell_it(changes: dict[str, Any]) -> None:
    options, edges = options_of(**changes), 0
    for seed in range(8):
        graph, rank = graph_of(options, seed)
        apart = [rank[to] - rank[node] for node in graph for to in graph[node]]
        assert set(apart) == {1} if options.graph == "hierarchical" else min(apart) >= 1
        edges += len(apart)
        assert rank != sorted(rank)
    n, layers = options.nodes, options.layers
    possible = (layers - 1) * (n // layers) ** 2 if options.graph == "hierarchical" else n * (n - 1) // 2
    assert edges / 8 / possible == pytest.approx(options.edge, abs=0.05)


@KINDS
@pytest.mark.parametrize("seed", [0, 1])
def test_walks_and_flags_are_those_of_brute_force(changes: dict[str, Any], seed: int) -> None:
    options = options_of(**changes)
    graph, rank = graph_of(options, seed)
    reach = {node: distances(graph, node) for node in graph}
    data = GraphNavigation.build(options, seed, 10_000)
    path, no_path = options.nodes, options.nodes + 1
    for split, rows in data.splits.items():
        flags = []
        for goal, start, *steps, flag in walks_of(rows):
            assert rank[start] < rank[goal]
            assert flag == (path if goal in reach[start] else no_path)
            assert len(steps) <= options.longest
            for here, step in zip([start, *steps], steps, strict=False):
                assert step in graph[here], split
                assert goal in reach[step] if flag == path else rank[step] <= rank[goal]
            end = [start, *steps][-1]
            if flag == path:
                assert end == goal
            elif len(steps) < options.longest:
                assert all(rank[node] > rank[goal] for node in graph[end]), "walks until there is no step left"
            flags.append(flag)
        assert len(flags) == len(pairs_of(data, split)), "no pair twice"
        assert flags.count(path) == flags.count(no_path) == len(flags) / 2 > 0


@KINDS
def test_no_tested_pair_is_trained_and_only_trained_pairs_are_drawn(changes: dict[str, Any]) -> None:
    raw = {"task": "graph_navigation", "data": changes, "seed": 1, "train": {"batch": 400}}
    config = RunConfig.from_dict(raw)
    options, data = config.data, GraphNavigation.build(config.data, 1, 10_000)
    trained, tested = pairs_of(data, "train_pairs"), pairs_of(data, "test_pairs")
    assert len(trained) == pytest.approx(0.4 * (len(trained) + len(tested)), abs=1)
    _, rank = graph_of(options, 1)
    if options.max_train_distance is not None:
        longer = pairs_of(data, "test_longer")
        assert not longer & (trained | tested)
        assert max(rank[g] - rank[s] for s, g in trained | tested) == 2
        assert min(rank[g] - rank[s] for s, g in longer) == 3
    assert not trained & tested
    training = TrainingSet.of([config], [data], CPU)
    drawn = torch.cat([training.batch(words).inputs_MBx[0] for words in training.words(0, 5, 400)])
    assert {(s, g) for g, s in drawn[:, :2].tolist()} == trained
    assert len({tuple(row) for row in drawn.tolist()}) > len(trained), "walks are new ones"


def test_pairs_do_not_leak_at_the_sizes_of_the_inventory() -> None:
    for changes, most, connected in (
        ({"nodes": 200, "layers": 10, "edge": 0.05, "train_share": 0.2}, 9, range(400, 2000)),
        ({"graph": "bernoulli", "nodes": 200, "edge": 0.05, "train_share": 0.2, "most_edges": 24}, 24,
         range(8000, 10500)),
    ):  # fmt: skip
        options = options_of(**changes)
        assert options.longest == most
        data = GraphNavigation.build(options, 0, 300)
        assert data.sizes["connected"] in connected
        assert not pairs_of(data, "train_pairs") & pairs_of(data, "test_pairs")
        assert len(data.splits["test_pairs"]) == 300


def test_steps_are_uniform_among_those_that_lead_to_the_goal() -> None:
    options = options_of(**LAYERED)
    graph, _ = graph_of(options, 0)
    reach = {node: distances(graph, node) for node in graph}
    config = RunConfig.from_dict({"task": "graph_navigation", "data": LAYERED})
    training = TrainingSet.of([config], [GraphNavigation.build(options, 0, 10)], CPU)
    taken: dict[tuple[int, int], list[int]] = {}
    batch = training.batch(training.words(0, 1, 40_000)[0])
    for goal, start, step in torch.cat([batch.inputs_MBx[0, :, :2], batch.target_MBAx[0, :, :1]], dim=1).tolist():
        if goal in reach[start]:
            taken.setdefault((start, goal), []).append(step)
    several = 0
    for (start, goal), steps in taken.items():
        leading = [node for node in graph[start] if goal in reach[node]]
        assert set(steps) <= set(leading)
        if len(leading) > 1 and len(steps) > 100:
            several += 1
            shares = [steps.count(node) / len(steps) for node in leading]
            np.testing.assert_allclose(shares, 1 / len(leading), atol=5 * (0.25 / len(steps)) ** 0.5)
    assert several > 10


@pytest.mark.parametrize(("mode", "length"), [("direct", 2), ("filler", 6)])
def test_without_steps_the_flag_alone_is_asked(mode: str, length: int) -> None:
    options = options_of(**LAYERED, mode=mode)
    rows = GraphNavigation.build(options, 0, 10_000).splits["test_pairs"]
    stepwise = GraphNavigation.build(options_of(**LAYERED), 0, 10_000).splits["test_pairs"]
    np.testing.assert_array_equal(rows.inputs[:, :2], stepwise.inputs[:, :2])
    assert rows.inputs.shape[1] == length
    assert (rows.inputs[:, 2:] == options.nodes + 2).all()
    assert (rows.at == length - 1).all()
    assert rows.target[:, 0].tolist() == [walk[-1] for walk in walks_of(stepwise)]


def judged(rows: Rows, said: list[list[int]]) -> dict[str, list[float]]:
    """What comes of these answers, filled up with more nodes."""
    size = rows.target.shape[1]
    answers = torch.tensor([[*row, *[0] * size][:size] for row in said])[None]
    batch = SplitBatch.stack([rows], CPU).batch()
    return {name: x[0].float().tolist() for name, x in GraphNavigation.judge(answers, batch).items()}


def test_walks_are_judged_by_what_they_are() -> None:
    options = options_of(**LAYERED)
    graph, rank = graph_of(options, 0)
    rows = GraphNavigation.build(options, 0, 10_000).splits["test_pairs"]
    path, no_path = options.nodes, options.nodes + 1
    true = [walk[2:] for walk in walks_of(rows)]
    prompts = [walk[:2] for walk in walks_of(rows)]
    flags = [walk[-1] for walk in true]
    found = judged(rows, true)
    assert {x for name in found for x in found[name] if x == x} <= {0.0, 1.0}
    assert set(found["class_accuracy"]) == set(found["class_and_plan_accuracy"]) == {1.0}
    assert [x == 1.0 for x in found["plan_accuracy"]] == [flag == path for flag in flags]
    assert [x == x for x in found["plan_accuracy"]] == [flag == path for flag in flags], "missing without a path"

    found = judged(rows, [[flag] for flag in flags])  # the right flag at once
    assert set(found["class_accuracy"]) == {1.0}
    for name in ("edge_share", "no_misstep_rate"):
        walked = {x for x, walk in zip(found[name], true, strict=True) if walk[:-1]}
        assert walked == {0.0}, "no step is no good step"
        assert all(x != x for x, walk in zip(found[name], true, strict=True) if not walk[:-1])
    assert [x == 1.0 for x in found["class_and_plan_accuracy"]] == [flag == no_path for flag in flags]

    found = judged(rows, [[goal, flag] for (goal, _), flag in zip(prompts, flags, strict=True)])  # jumps to the goal
    adjacent = [goal in graph[start] for goal, start in prompts]
    is_edge = [x == 1.0 for x in found["edge_share"] if x == x]
    assert is_edge == [x for x, walk in zip(adjacent, true, strict=True) if walk[:-1]]
    assert [x == 1.0 for x in found["plan_accuracy"]] == adjacent

    halfway = [[*walk[: max(1, len(walk) // 2)], walk[-1]] if walk[:-1] else walk for walk in true]
    far = [rank[goal] - rank[start] > 2 and flag == path for (goal, start), flag in zip(prompts, flags, strict=True)]
    found = judged(rows, halfway)  # good steps that stop too early, and the right flag
    for name, value in (("class_accuracy", 1.0), ("edge_share", 1.0), ("plan_accuracy", 0.0),
                        ("class_and_plan_accuracy", 0.0)):  # fmt: skip
        assert {x for x, is_far in zip(found[name], far, strict=True) if is_far} == {value}, name

    endless = judged(rows, [walk[:-1] for walk in true])  # no flag, and nodes until the end
    assert set(endless["class_accuracy"]) == {0.0}


def test_every_right_step_is_right_and_no_other() -> None:
    """Teacher-forced accuracy: another successor that leads to the goal is right as well."""
    options = options_of(**LAYERED)
    graph, _ = graph_of(options, 0)
    reach = {node: distances(graph, node) for node in graph}
    rows = GraphNavigation.build(options, 0, 10_000).splits["test_pairs"]
    others, several = rows.target.copy(), 0
    for row, (goal, start, *said) in enumerate(walks_of(rows)):
        leading = sorted(node for node in graph[start] if goal in reach[node])
        if goal in reach[start] and len(leading) > 1:
            several += 1
            others[row, 0] = next(node for node in leading if node != said[0])
    assert several > 10
    wrong = rows.target.copy()
    wrong[:, 0] = rows.inputs[:, 1]  # the start again
    for answers, accuracy in ((rows.target, 1.0), (others, 1.0), (wrong, 0.0)):
        split = SplitBatch.stack([rows], CPU)
        output = torch.nn.functional.one_hot(torch.from_numpy(answers)[None], options.vocabulary).float()
        assert float(split.mean(GraphNavigation.scores(output, split.batch())["accuracy"])) == accuracy


def test_the_baseline_of_degrees_is_one_of_degrees() -> None:
    """Right for equal degrees or for none of them that differ in the flag; well above chance on a graph like ours."""
    options = options_of(nodes=60, layers=6)
    world = World.draw(options, 2)
    rows = GraphNavigation.build(options, 2, 10_000).splits["test_pairs"]
    goal, start = rows.inputs[:, 0], rows.inputs[:, 1]
    out_degree, in_degree = world.edge_VV.sum(axis=1)[start], world.edge_VV.sum(axis=0)[goal]
    is_path = np.array([walk[-1] == options.nodes for walk in walks_of(rows)])
    says_path = rows.mechanism.notes["degree_only"] == is_path
    assert 0.55 < rows.mechanism.notes["degree_only"].mean() < 0.9
    for out in range(out_degree.max() + 1):
        for into in range(in_degree.max() + 1):
            alike = says_path[(out_degree == out) & (in_degree == into)]
            assert len(set(alike.tolist())) <= 1
    best = max(np.mean((out_degree * a + in_degree > b) == is_path) for a in np.linspace(0.2, 5, 25) for b in range(20))
    assert rows.mechanism.notes["degree_only"].mean() > best - 0.1


def test_donors_have_another_goal_and_what_is_looked_for_follows_from_the_graph() -> None:
    options = options_of(**LAYERED)
    graph, _ = graph_of(options, 0)
    reach = {node: distances(graph, node) for node in graph}
    rows = GraphNavigation.build(options, 0, 10_000).splits["test_pairs"]
    mechanism, there = rows.mechanism, 0
    columns = zip(
        walks_of(rows), mechanism.donor["goal"], mechanism.swap["goal"], mechanism.latent["next"], strict=True
    )
    for (goal, start, *_), donor, (place, expected), (at, only) in columns:
        assert (place, at, donor[1]) == (0, 1, start)
        leading = {node for node in graph[start] if goal in reach[node]}
        assert only == (next(iter(leading)) if len(leading) == 1 else -1)
        if expected < 0:
            assert donor[0] == goal
            continue
        there += 1
        assert leading
        assert {node for node in graph[start] if int(donor[0]) in reach[node]} == {expected}
        assert expected not in leading
    assert there > 20
    assert (mechanism.swap["here"] - mechanism.swap["goal"] == [1, 0]).all(), "the same at the place behind"
    np.testing.assert_array_equal(mechanism.donor["here"], mechanism.donor["goal"])
    flags = GraphNavigation.build(options_of(**LAYERED, mode="direct"), 0, 10_000).splits["test_pairs"]
    for (goal, start), (other, _), own, expected in zip(
        flags.inputs, flags.mechanism.donor["goal"], flags.target[:, 0], flags.mechanism.swap["goal"][:, 1], strict=True
    ):
        if expected >= 0:
            assert expected != own
            assert (int(other) in reach[int(start)]) == (expected == options.nodes)
        else:
            assert other == goal


def navigator(options: NavigationOptions, seed: int, sees_goal: bool) -> tuple[Network, dict[str, Tensor]]:
    """Two blocks by hand. The second block's MLP has a unit for every goal and node, which says a step from there to
    there. The first block brings the goal from place 0 to every place, or, blind, whatever is there itself.

    The residual stream has parts for the token, the goal and the answer, and a channel that place 0 is known by.
    """
    n, v = options.nodes, options.vocabulary
    world = World.draw(options, seed)
    entries = []
    for goal, here in product(range(n), range(n)):
        steps = np.flatnonzero(world.edge_VV[here] & (world.distance_VV[:, goal] < n))
        if not len(steps):
            steps = np.flatnonzero(world.edge_VV[here] & (world.rank_V <= world.rank_V[goal]))
        entries.append((goal, here, n if here == goal else int(steps[0]) if len(steps) else n + 1))
    width = 3 * v + 1
    made = {"width": width, "heads": 1, "mlp_ratio": -(-len(entries) // width), "activation": "relu", "tied": False}
    raw = {"task": "graph_navigation", "data": LAYERED, "model": {"layers": 2, "loops": 1, "bias": True, **made}}
    config = RunConfig.from_dict(raw)
    model = model_of(config.model, config.example)
    weights = {name: torch.zeros_like(x) for name, x in model.unpack(model.initial(0)[None]).items()}
    for name in ("0.norm1", "0.norm2", "1.norm1", "1.norm2", "norm_final"):
        weights[name][:] = 1.0
    weights["embed"][0][:, :v] = torch.eye(v)
    weights["position"][0][0, -1] = 1.0
    weights["0.qkv"][0][:v, 0] = 100.0  # every token asks for the channel of place 0
    weights["0.qkv"][0][-1, width] = 100.0 if sees_goal else 0.0
    weights["0.qkv"][0][:v, 2 * width + v : 2 * width + 2 * v] = torch.eye(v)
    brought = (2 / width) ** 0.5  # place 0 holds a token and its channel: what is normed has norm 2^.5
    weights["0.out"][0][v : 2 * v, v : 2 * v] = brought * torch.eye(v)
    scale = (width / 2) ** 0.5  # of a state with one token and one goal, normed
    for unit, (goal, here, answer) in enumerate(entries):
        weights["1.up"][0][v + goal, unit] = weights["1.up"][0][here, unit] = 1.0
        weights["1.up.bias"][0][unit] = -1.5 * scale
        weights["1.down"][0][unit, 2 * v + answer] = 1.0
    weights["unembed"][0][2 * v : 3 * v] = 100.0 * torch.eye(v)
    return model, weights


@pytest.mark.parametrize("sees_goal", [True, False])
def test_a_model_that_looks_steps_up_by_goal_plans_and_follows_another_goal(sees_goal: bool) -> None:
    options, seed = options_of(**LAYERED), 0
    data = GraphNavigation.build(options, seed, 200)
    splits = {"test_pairs": stack_splits([data], CPU)["test_pairs"]}
    model, weights = navigator(options, seed, sees_goal)
    with torch.no_grad():
        (found,) = evaluate(model, weights, splits, GraphNavigation, 200)
        subject = Subject(model, weights, splits, 200)
        probed = {(m.probe, m.layer): float(m.value_M) for probe in (swap, lens) for m in probe(subject)}
    scores = {name: float(value) for name, value in found.scores.items()}
    if sees_goal:
        for name in ("class_accuracy", "edge_share", "plan_accuracy", "class_and_plan_accuracy"):
            assert scores[name] == pytest.approx(1.0, abs=0.02), name
        assert float(found.accuracy_M) == pytest.approx(1.0, abs=0.02)
        assert probed["swap_goal", 0] == pytest.approx(1.0, abs=0.02)
        assert probed["swap_goal", 1] == 0.0, "block 1 has brought the goal already"
        assert probed["swap_here", 1] == pytest.approx(1.0, abs=0.02)
        assert probed["swap_here", 0] == 0.0, "the start itself is the donor's"
        assert probed["lens_goal", 1] < 0.5, "no readout of parts that the unembedding does not see"
    else:
        assert scores["plan_accuracy"] < 0.1
        assert max(probed["swap_goal", 0], probed["swap_here", 1]) < 0.1


def test_what_a_mode_does_not_have_is_missing() -> None:
    raw = {"task": "graph_navigation", "data": {**LAYERED, "mode": "direct"}, "model": {"width": 16, "heads": 2}}
    config = RunConfig.from_dict(raw)
    model = model_of(config.model, config.example)
    splits = stack_splits([GraphNavigation.build(config.data, 0, 40)], CPU)
    with torch.no_grad():
        found = evaluate(model, model.unpack(model.initial(0)[None]), splits, GraphNavigation, 40)[-1].scores
    assert set(found) == set(GraphNavigation.metrics)
    missing = {name for name, value in found.items() if bool(value.isnan())}
    assert missing == set(found) - {"class_accuracy", "degree_only_accuracy"}


@pytest.mark.parametrize(
    ("changes", "key", "fragment"),
    [
        ({"nodes": 50, "layers": 6}, "data.nodes", "50 nodes are not 6 layers"),
        ({"max_train_distance": 5}, "data.max_train_distance", "5 leaves no longer pair in 6 layers; at most 4"),
        ({"most_edges": 5}, "data.most_edges", "means nothing for data.graph hierarchical"),
        ({"graph": "bernoulli", "nodes": 12}, "data.most_edges", "12 edges are more than a walk over 12 nodes"),
        ({"graph": "bernoulli", "layers": 5}, "data.layers", "means nothing for data.graph bernoulli"),
        ({"graph": "bernoulli", "max_train_distance": 2}, "data.max_train_distance", "have no distance"),
    ],
)
def test_options_that_do_not_fit_are_told(changes: dict[str, Any], key: str, fragment: str) -> None:
    (problem,) = RunConfig.from_dict({"task": "graph_navigation", "data": changes}).problems()
    assert problem.key == key
    assert fragment in problem.message


def test_a_graph_without_pairs_of_a_class_is_told() -> None:
    options = options_of(nodes=6, layers=3, edge=0.99)
    (problem,) = GraphNavigation.check(options, 0)
    assert "leaves train_pairs, test_pairs empty" in problem.message
    with pytest.raises(ValueError, match="leaves train_pairs"):
        GraphNavigation.build(options, 0, 10)


def test_runs_with_other_splits_are_not_packed_together() -> None:
    """Of a flag alone, examples have the same shape whatever the longest trained distance is."""
    one, other = (
        RunConfig.from_dict({"task": "graph_navigation", "data": {"mode": "direct", "max_train_distance": limit}})
        for limit in (None, 2)
    )
    assert one.example == other.example
    assert one.shape() != other.shape()
