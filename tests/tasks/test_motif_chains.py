"""Chains of motifs: every row against a solver of the test's own, and models that read exemplars, or do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scripted import Scripted
from torch import Tensor

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.models import build
from grokstudy.trainables.models.network import Network
from grokstudy.trainables.probes.attention import attention_mass
from grokstudy.trainables.probes.splits import SplitBatch, stack_splits
from grokstudy.trainables.probes.subject import Subject
from grokstudy.trainables.probes.swap import swap
from grokstudy.trainables.tasks.base import StoredRows
from grokstudy.trainables.tasks.motif_chains import ASK, END, NEXT, PAD, MotifChains, MotifOptions, World
from grokstudy.trainables.training.evaluate import evaluate

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"motifs": 6, "nodes": 4, "trained": 2, "tested": 3, "held_out": 1}
PAPER: dict[str, Any] = {"motifs": 12, "nodes": 10, "edge": 0.3, "most_edges": 3, "trained": 4, "tested": 6}
WIDE: dict[str, Any] = {"nodes": 6, "edge": 0.3, "most_edges": 4, "trained": 5, "tested": 6, "motifs": 10}
MIXED: dict[str, Any] = {**WIDE, "shuffled": True}
SETTINGS = pytest.mark.parametrize(
    "changes", [{}, SMALL, PAPER, WIDE, MIXED], ids=["default", "small", "paper", "wide", "mixed"]
)
Graph = dict[int, set[int]]


def options_of(**changes: Any) -> MotifOptions:
    found = MotifOptions(**changes)
    assert found.problems() == []
    return found


def rows_of(split: str, most: int = 60, seed: int = 0, **changes: Any) -> StoredRows:
    found = MotifChains.build(options_of(**changes), seed, most).splits[split]
    assert isinstance(found, StoredRows)
    return found


def graph_of(world: World) -> Graph:
    """Successors of each token within its motif."""
    return {token: set(np.flatnonzero(row).tolist()) for token, row in enumerate(world.edge_VV)}


@dataclass(frozen=True)
class Read:
    """What a prompt says to somebody who knows the motifs."""

    exemplars: list[list[int]]
    goal: int
    start: int
    begin: int
    """The place of the start."""

    def ghosts(self, motif: np.ndarray) -> list[tuple[int, int]]:
        """The one step of each exemplar that leads to another motif."""
        found = [[(a, b) for a, b in pairwise(walk) if motif[a] != motif[b]] for walk in self.exemplars]
        assert all(len(steps) == 1 for steps in found)
        return [step for (step,) in found]


def read(tokens: list[int], nodes: int) -> Read:
    """A prompt by its marks."""
    ask = tokens.index(nodes + ASK)
    parts: list[list[int]] = []
    for token in tokens[:ask]:
        if token == nodes + NEXT:
            parts.append([])
        else:
            assert 0 <= token < nodes
            parts[-1].append(token)
    return Read(parts, tokens[ask + 1], tokens[ask + 2], ask + 2)


def joined(graph: Graph, ghosts: list[tuple[int, int]]) -> Graph:
    """The motifs and what exemplars show."""
    found = {node: set(following) for node, following in graph.items()}
    for out, into in ghosts:
        found[out].add(into)
    return found


def leading(graph: Graph, goal: int) -> set[int]:
    """Nodes from which the goal can be reached."""
    found, waiting = {goal}, [goal]
    while waiting:
        here = waiting.pop()
        for node in graph:
            if here in graph[node] and node not in found:
                found.add(node)
                waiting.append(node)
    return found


def ordered(ghosts: list[tuple[int, int]], motif: np.ndarray) -> list[int]:
    """The numbers of a chain's links in its order."""
    starts = {int(motif[out]): i for i, (out, _) in enumerate(ghosts)}
    (here,) = set(starts) - {int(motif[into]) for _, into in ghosts}
    found = []
    while here in starts:
        found.append(starts[here])
        here = int(motif[ghosts[starts[here]][1]])
    assert len(found) == len(ghosts)
    return found


def links_of(read_: Read, motif: np.ndarray) -> list[list[int]]:
    """The exemplars of each chain by their numbers, in the order of the chain; the chain shown first comes first."""
    ghosts, half = read_.ghosts(motif), len(read_.exemplars) // 2
    if len({out for out, _ in ghosts}) == len(ghosts):
        return [ordered(ghosts, motif)]
    return [ordered(ghosts[:half], motif), [half + i for i in ordered(ghosts[half:], motif)]]


def orders_of(read_: Read, motif: np.ndarray) -> list[tuple[int, ...]]:
    """The chains that the exemplars show, one after the other."""
    ghosts = read_.ghosts(motif)
    chains = [[ghosts[i] for i in links] for links in links_of(read_, motif)]
    return [(int(motif[links[0][0]]), *(int(motif[into]) for _, into in links)) for links in chains]


def is_new(world: World, order: tuple[int, ...]) -> bool:
    return any(world.held_XXX[order[i : i + 3]] for i in range(len(order) - 2))


@SETTINGS
@pytest.mark.parametrize("seed", [0, 1])
def test_motifs_are_small_graphs_of_limited_walks_without_lone_nodes(changes: dict[str, Any], seed: int) -> None:
    options = options_of(**changes)
    world = World.draw(options, seed)
    graph, motif = graph_of(world), world.motif_V
    assert np.bincount(motif).tolist() == [options.nodes] * options.motifs
    assert motif.tolist() != sorted(motif), "names tell no motif"
    into = {node for following in graph.values() for node in following}

    def longest(node: int, seen: frozenset[int] = frozenset()) -> int:
        assert node not in seen, "no circle"
        return max((1 + longest(following, seen | {node}) for following in graph[node]), default=0)

    walks = [longest(node) for node in graph]
    assert max(walks) <= options.most_edges
    for node, following in graph.items():
        assert {motif[node]} >= {motif[other] for other in following}, "no edge between motifs"
        assert following or node in into, "no node alone"
    held = world.held_XXX
    assert (held.sum(axis=2)[~np.eye(options.motifs, dtype=bool)] == options.held_out).all()
    for a in range(options.motifs):
        assert not held[a, :, a].any()
        assert not held[:, a, a].any()


@SETTINGS
def test_every_row_is_what_a_solver_makes_of_its_prompt(changes: dict[str, Any]) -> None:
    options, seed = options_of(**changes), 1
    world, nodes = World.draw(options, seed), options.tokens
    graph, motif = graph_of(world), world.motif_V
    sources = set(graph) - {node for following in graph.values() for node in following}
    sinks = {node for node, following in graph.items() if not following}
    sizes: dict[str, set[int]] = {}
    in_order = []
    for split, rows in MotifChains.build(options, seed, 60).splits.items():
        assert rows.weight is not None
        for i, tokens in enumerate(rows.inputs.tolist()):
            prompt = read(tokens, nodes)
            count = int(rows.weight[i].sum())
            assert rows.weight[i].tolist() == [1.0] * count + [0.0] * (rows.weight.shape[1] - count)
            walk = tokens[prompt.begin : prompt.begin + count]
            assert set(tokens[prompt.begin + count :]) <= {nodes + PAD}
            assert rows.at[i].tolist() == list(range(prompt.begin, prompt.begin + rows.at.shape[1]))
            assert rows.target[i, :count].tolist() == [*walk[1:], nodes + END]
            assert rows.target[i].max() == nodes + END

            ghosts = prompt.ghosts(motif)
            for exemplar in prompt.exemplars:
                assert exemplar[0] in sources
                assert exemplar[-1] in sinks
                assert all(b in graph[a] or (a, b) in ghosts for a, b in pairwise(exemplar))
            assert all(out in sinks and into in sources for out, into in ghosts)

            chains = orders_of(prompt, motif)
            assert len(chains) == (2 if split.startswith("conflict") else 1)
            for order in chains:
                assert len(set(order)) == len(order)
                assert (order[0], order[-1]) == (motif[prompt.start], motif[prompt.goal])
                if not split.startswith("conflict"):
                    assert is_new(world, order) == (split == "new_order")
            if len(chains) > 1:
                assert set(chains[0]) & set(chains[1]) == {chains[0][0], chains[0][-1]}
                assert len(chains[0]) == len(chains[1])
                one, other = ([ghosts[link] for link in links] for links in links_of(prompt, motif))
                assert one[0][0] == other[0][0], "both leave by one exit"
                assert one[-1][1] == other[-1][1], "both come to one entry"
            in_order += [links == sorted(links) for links in links_of(prompt, motif)]
            sizes.setdefault(split, set()).add(len(chains[0]) - 2)

            whole = joined(graph, ghosts)
            assert (walk[0], walk[-1]) == (prompt.start, prompt.goal)
            assert all(b in whole[a] for a, b in pairwise(walk))
            assert tuple(dict.fromkeys(motif[walk].tolist())) == chains[0], "the first chain is walked"
            leads = leading(whole, prompt.goal)
            right = [np.flatnonzero(mask).tolist() for mask in rows.mechanism.notes["right"][i]]
            solved = [sorted(whole[node] & leads) if node != prompt.goal else [nodes + END] for node in walk]
            assert right == solved + [[]] * (len(right) - count)
    assert np.mean(in_order) < 0.6 if options.shuffled else all(in_order)
    trained = set(range(1, options.trained + 1))
    longer = set(range(options.trained + 1, options.tested + 1))
    forked = set(range(1, options.forked + 1))
    wanted = {"in_chain": trained, "new_order": trained, "longer": longer}
    assert sizes == {**wanted, "conflict": forked, "conflict_swapped": forked}


def test_no_trained_row_has_an_order_of_another_split() -> None:
    options, seed = options_of(**SMALL), 2
    world, data = World.draw(options, seed), MotifChains.build(options, seed, 300)
    values = {name: torch.from_numpy(x) for name, x in MotifChains.values([options], [seed]).items()}
    batch = MotifChains.draw(options, values, None, torch.arange(3000)[None] * 7919 + 5)

    def orders(inputs: np.ndarray) -> set[tuple[int, ...]]:
        return {orders_of(read(row, options.tokens), world.motif_V)[0] for row in inputs.tolist()}

    trained = orders(batch.inputs_MBx[0].numpy())
    by_split = {split: orders(np.asarray(data.splits[split].inputs)) for split in ("in_chain", "new_order", "longer")}
    assert not trained & (by_split["new_order"] | by_split["longer"])
    assert not by_split["in_chain"] & by_split["new_order"]
    parts = {order[i : i + 3] for order in trained for i in range(len(order) - 2)}
    assert not parts & {order[:3] for order in by_split["new_order"]}, "not even within a longer order"
    threes = {order[i : i + 3] for order in by_split["longer"] for i in range(len(order) - 2)}
    assert threes <= parts, "longer chains are nothing but longer"
    possible = {(a, b, c) for a in range(6) for b in range(6) for c in range(6) if len({a, b, c}) == 3}
    assert parts == {three for three in possible if not world.held_XXX[three]}
    assert len({tuple(row) for row in batch.inputs_MBx[0].tolist()}) > 2900, "ghost edges and walks are new"


@SETTINGS
def test_shapes_follow_from_the_options_alone(changes: dict[str, Any]) -> None:
    options = options_of(**changes)
    shape = MotifChains.shape(options)
    sizes = [{name: (r.inputs.shape[1], r.at.shape[1]) for name, r in MotifChains.build(options, s, 3).splits.items()}
             for s in (0, 1)]  # fmt: skip
    assert sizes[0] == sizes[1]
    assert sizes[0]["in_chain"] == (shape.length, shape.answers)
    assert max(places for places, _ in sizes[0].values()) == shape.places
    told = {10: (45, 65), 12: (71, 97)}
    if options.motifs in told and options.trained < 5:
        assert (shape.length, shape.places) == told[options.motifs], "as the docstring says"


def test_conflicts_are_the_same_rows_with_the_exemplars_exchanged() -> None:
    options = options_of(**MIXED)
    data, motif = MotifChains.build(options, 0, 50), World.draw(options, 0).motif_V
    first_longer = 0
    for one, other in zip(data.splits["conflict"].inputs, data.splits["conflict_swapped"].inputs, strict=True):
        left, right = (read(row.tolist(), options.tokens) for row in (one, other))
        half = len(left.exemplars) // 2
        assert right.exemplars == left.exemplars[half:] + left.exemplars[:half]
        assert (left.start, left.goal) == (right.start, right.goal)
        assert orders_of(left, motif) == orders_of(right, motif)[::-1]
        first_longer += orders_of(left, motif)[0] > orders_of(left, motif)[1]
    assert 10 < first_longer < 40, "which chain is first is by chance"


@pytest.mark.parametrize("changes", [{}, WIDE, MIXED], ids=["default", "wide", "mixed"])
def test_what_is_looked_for_is_where_the_exemplar_says_it(changes: dict[str, Any]) -> None:
    options = options_of(**changes)
    motif, nodes, swapped = World.draw(options, 0).motif_V, options.tokens, 0
    for split, rows in MotifChains.build(options, 0, 40).splits.items():
        look, donor, exchange = rows.mechanism.look, rows.mechanism.donor["ghost"], rows.mechanism.swap["ghost"]
        assert ("rival" in look) == split.startswith("conflict")
        assert rows.weight is not None
        for i, tokens in enumerate(rows.inputs.tolist()):
            prompt, count = read(tokens, nodes), int(rows.weight[i].sum())
            walk, ghosts = tokens[prompt.begin : prompt.begin + count], prompt.ghosts(motif)
            starts = np.flatnonzero(rows.inputs[i] == nodes + NEXT)
            behind = [
                int(at) + 1 + exemplar.index(into)
                for at, exemplar, (_, into) in zip(starts, prompt.exemplars, ghosts, strict=True)
            ]
            for a in range(rows.at.shape[1]):
                places = {name: np.flatnonzero(seen[i, a]).tolist() for name, seen in look.items()}
                if a >= count or motif[walk[a]] == motif[prompt.goal]:
                    assert not any(places.values())
                    continue
                links = links_of(prompt, motif)
                number = list(dict.fromkeys(motif[walk].tolist())).index(motif[walk[a]])
                link = links[0][number]
                leaves = walk[a] == ghosts[link][0]
                assert places["ghost"] == ([behind[link]] if leaves else [])
                assert places["exit"] == ([behind[link] - 1] if leaves else [])
                assert places["aim"] == ([] if leaves else [behind[link] - 1])
                forks = "rival" in look and leaves and number == 0
                assert places.get("rival", []) == ([behind[links[1][0]]] if forks else [])
                if leaves:
                    assert tokens[behind[link] - 1 : behind[link] + 1] == [walk[a], walk[a + 1]]
            place, expected = exchange[i].tolist()
            first = links_of(prompt, motif)[0][0]
            assert place == behind[first]
            assert np.flatnonzero(donor[i] != rows.inputs[i]).tolist() == [place]
            assert motif[donor[i, place]] != motif[tokens[place]]
            assert expected == (int(donor[i, place]) if walk[0] == ghosts[first][0] else -1)
            swapped += expected >= 0
    assert swapped > 40


Say = Callable[[Read, list[int]], int]


def scored(options: MotifOptions, seed: int, say: Say) -> dict[str, dict[str, float]]:
    splits = stack_splits([MotifChains.build(options, seed, 40)], CPU)

    def said(seen: list[int]) -> int:
        prompt = read(seen, options.tokens)
        return say(prompt, seen[prompt.begin :])

    model = RunConfig.from_dict({"task": "motif_chains", "model": {"layers": 1, "loops": 1, "width": 16, "heads": 2}})
    found = evaluate(Scripted(model.model, MotifChains.shape(options), said), {}, splits, MotifChains, 40)
    return {b.split: {"accuracy": b.accuracy_M.item(), **{k: v.item() for k, v in b.scores.items()}} for b in found}


def walker(options: MotifOptions, seed: int, chain: int = 0, plans: bool = True, reads: bool = True) -> Say:
    """A model that knows the motifs and goes along one of the chains shown, by the exemplars or by itself; without a
    plan it takes the least of the edges there are.
    """
    world = World.draw(options, seed)
    graph, motif, nodes = graph_of(world), world.motif_V, options.tokens

    def say(prompt: Read, walk: list[int]) -> int:
        here, links = walk[-1], links_of(prompt, motif)
        if here == prompt.goal or here >= nodes:
            return nodes + END
        ghosts = [prompt.ghosts(motif)[link] for link in links[min(chain, len(links) - 1)]]
        whole = joined(graph, ghosts if reads else [])
        steps = whole[here] & leading(whole, prompt.goal) if plans else whole[here]
        return min(steps) if steps else 0 if here else nodes + END

    return say


def test_scores_tell_who_follows_who_knows_edges_alone_and_who_does_not_read() -> None:
    options, seed = options_of(**SMALL), 0
    follows = scored(options, seed, walker(options, seed))
    names = ("accuracy", "each", "ghost_accuracy", "edge_share", "no_misstep_rate", "order_accuracy", "plan_accuracy")
    for split, scores in follows.items():
        assert {name: scores[name] for name in (*names, "first_share")} == dict.fromkeys((*names, "first_share"), 1.0)
        assert scores["rival_share"] == 0.0
        assert 0 < scores["unplanned_accuracy"] < 0.8, split

    second = scored(options, seed, walker(options, seed, chain=1))
    for split, scores in second.items():
        assert scores["plan_accuracy"] == scores["order_accuracy"] == scores["edge_share"] == 1.0
        assert scores["first_share"] == 1.0 - scores["rival_share"] == (0.0 if split.startswith("conflict") else 1.0)

    edges = scored(options, seed, walker(options, seed, plans=False))
    for scores in edges.values():
        assert scores["ghost_accuracy"] == 1.0
        assert scores["plan_accuracy"] < scores["edge_share"]
    assert edges["longer"]["plan_accuracy"] < 0.8

    blind = scored(options, seed, walker(options, seed, reads=False))
    for scores in blind.values():
        assert scores["plan_accuracy"] == 0.0
        assert scores["ghost_accuracy"] < 0.2
        assert scores["first_share"] < 0.5


def judged(rows: StoredRows, said: list[list[int]]) -> dict[str, list[float]]:
    """What comes of these answers, filled up with the first token."""
    size = rows.target.shape[1]
    answers = torch.tensor([[*row, *[0] * size][:size] for row in said])[None]
    batch = SplitBatch.stack([rows], CPU).batch()
    return {name: x[0].float().tolist() for name, x in MotifChains.judge(answers, batch).items()}


def test_walks_are_judged_by_what_they_are() -> None:
    options = options_of()
    rows, motif, end = rows_of("in_chain"), World.draw(options, 0).motif_V, options.tokens + END
    assert rows.weight is not None
    true = [row[: int(w.sum())].tolist() for row, w in zip(rows.target, rows.weight, strict=True)]
    found = judged(rows, true)
    assert set(found.pop("rival_share")) == {0.0}
    assert {x for values in found.values() for x in values} == {1.0}

    silent = judged(rows, [[end]] * len(true))
    assert {x for values in silent.values() for x in values} == {0.0}, "no step is no good step"

    endless = judged(rows, [[*walk[:-1], walk[0]] for walk in true])
    assert set(endless["plan_accuracy"]) == {0.0}, "it does not say where it ends"

    early = judged(rows, [[*walk[:-2], end] for walk in true if len(walk) > 2])
    assert set(early["edge_share"]) == set(early["no_misstep_rate"]) == {1.0}
    assert set(early["plan_accuracy"]) == {0.0}

    last = [int(row[-1]) for row in rows.mechanism.notes["goal"][:, None]]
    jumps = judged(rows, [[goal, end] for goal in last])
    assert {x for name in ("edge_share", "order_accuracy", "plan_accuracy") for x in jumps[name]} == {0.0}

    firsts = []  # the first token of each motif in its order: the order is right, hardly any step is
    for walk in true:
        order = list(dict.fromkeys(motif[walk[:-1]].tolist()))
        firsts.append([*[int(np.flatnonzero(motif == m)[0]) for m in order], end])
    starts = motif[rows.mechanism.notes["start"]].tolist()
    ordered = [[t for t in walk if t == end or motif[t] != s] for walk, s in zip(firsts, starts, strict=True)]
    found = judged(rows, ordered)
    assert set(found["order_accuracy"]) == {1.0}
    assert np.mean(found["edge_share"]) < 0.2
    assert np.mean(found["plan_accuracy"]) < 0.1


def test_what_walks_without_a_plan_come_to_is_what_is_seen_when_many_are_walked() -> None:
    options = options_of()
    world, rows = World.draw(options, 0), rows_of("in_chain", 25)
    graph, dice = graph_of(world), np.random.default_rng(0)
    for tokens, chance in zip(rows.inputs.tolist(), rows.mechanism.notes["unplanned"], strict=True):
        prompt = read(tokens, options.tokens)
        whole = {k: sorted(v) for k, v in joined(graph, prompt.ghosts(world.motif_V)).items()}
        come = 0
        for _ in range(400):
            here = prompt.start
            while here != prompt.goal and whole[here]:
                here = whole[here][dice.integers(len(whole[here]))]
            come += here == prompt.goal
        assert come / 400 == pytest.approx(chance, abs=0.1)


def by_hand(options: MotifOptions, looks_back: bool) -> tuple[Network, dict[str, Tensor]]:
    """Two blocks of one head and no MLP: the first brings the token before, the second looks for the place that has
    the current token before it, and says what is there. Blind, the first brings each place its own token.

    The residual stream has parts for the token, the place, the token before and the answer. Marks are not looked for:
    an exemplar may end where another one goes on.
    """
    shape = MotifChains.shape(options)
    v, places = shape.classes, shape.places
    width = 3 * v + places
    raw = {"task": "motif_chains", "data": SMALL, "model": {"layers": 2, "loops": 1, "heads": 1, "tied": False,
           "width": width, "mlp_ratio": 1}}  # fmt: skip
    model = build(RunConfig.from_dict(raw).model, shape)
    weights = {name: torch.zeros_like(x) for name, x in model.unpack(model.initial(0)[None]).items()}
    for name in ("0.norm1", "0.norm2", "1.norm1", "1.norm2", "norm_final"):
        weights[name][:] = 1.0
    token, place = torch.arange(v), v + torch.arange(places)
    before, answer = v + places + token, 2 * v + places + token
    key, value, sharp = width, 2 * width, 30.0
    weights["embed"][0][token, token] = 1.0
    weights["position"][0][torch.arange(places), place] = 1.0
    shift = 1 if looks_back else 0
    weights["0.qkv"][0][place[shift:], place[shift:] - shift] = sharp
    weights["0.qkv"][0][place, key + place] = sharp
    weights["0.qkv"][0][token, value + token] = 1.0
    weights["0.out"][0][token, before] = 1.0
    weights["1.qkv"][0][token, before] = sharp
    weights["1.qkv"][0][before, key + before] = sharp
    weights["1.qkv"][0][token, 0] = sharp  # a channel by which every token says that it does not mean marks
    weights["1.qkv"][0][[options.tokens + NEXT, options.tokens + ASK], key] = -sharp
    weights["1.qkv"][0][token, value + token] = 1.0
    weights["1.out"][0][token, answer] = 1.0
    weights["unembed"][0][answer, token] = 50.0
    return model, weights


@pytest.mark.parametrize(("looks_back", "shuffled"), [(True, False), (True, True), (False, False)])
def test_a_model_that_looks_behind_the_exit_follows_another_exemplar(looks_back: bool, shuffled: bool) -> None:
    options = options_of(**SMALL, shuffled=shuffled)
    splits = stack_splits([MotifChains.build(options, 0, 100)], CPU)
    model, weights = by_hand(options, looks_back)
    with torch.no_grad():
        scores = {b.split: b.scores for b in evaluate(model, weights, splits, MotifChains, 5)}
        subject = Subject(model, weights, splits, 100)
        found = {(m.probe, m.split, m.layer): m.value_M.item() for p in (attention_mass, swap) for m in p(subject)}
    for split in ("in_chain", "new_order", "longer"):
        exchanged = found["swap_ghost", split, 1]
        if looks_back:
            assert scores[split]["ghost_accuracy"].item() > 0.98
            assert found["mass_ghost", split, 2] > 0.98
            assert exchanged == found["swap_ghost", split, None] == 1.0
            assert found["swap_ghost", split, 2] == 0.0, "block 2 has read it"
        else:
            assert scores[split]["ghost_accuracy"].item() < 0.1
            assert found["mass_ghost", split, 2] < 0.1
            assert exchanged < 0.1
    if looks_back:
        for split in ("conflict", "conflict_swapped"):
            assert found["mass_rival", split, 2] == pytest.approx(0.5, abs=0.05), "it does not choose"
            assert scores[split]["ghost_accuracy"].item() > 0.9, "both ways are right"


def test_the_data_of_a_seed_stay_what_they_are() -> None:
    hashes = {name: MotifChains.build(options_of(**changes), 0, 50).hash
              for name, changes in (("default", {}), ("mixed", {**SMALL, "shuffled": True}))}  # fmt: skip
    told = "the data of a seed has changed: raise config.NUMERICS, put the hash here"
    assert hashes == {"default": "064f4b67078f26db", "mixed": "28dcfa41759c892a"}, told


@pytest.mark.parametrize(
    ("changes", "key", "fragment"),
    [
        ({"most_edges": 5}, "data.most_edges", "5 edges are more than a walk over 5 nodes can have"),
        ({"tested": 3}, "data.tested", "3 leaves split longer empty: data.trained is 3"),
        ({"motifs": 8}, "data.motifs", "8 are too few: chains of data.tested = 5 between the ends"),
        ({"held_out": 4}, "data.motifs", "data.held_out = 4 that must not come next, need 11"),
    ],
)
def test_options_that_do_not_fit_are_told(changes: dict[str, Any], key: str, fragment: str) -> None:
    (problem,) = RunConfig.from_dict({"task": "motif_chains", "data": changes}).problems()
    assert problem.key == key
    assert fragment in problem.message


def test_runs_whose_rows_are_drawn_otherwise_are_not_packed_together() -> None:
    """As many tokens, in other motifs."""
    one, other = (
        RunConfig.from_dict({"task": "motif_chains", "data": {"motifs": motifs, "nodes": nodes}})
        for motifs, nodes in ((10, 6), (12, 5))
    )
    assert one.example.fields == other.example.fields
    assert one.shape() != other.shape()
