"""Every registered task keeps the contract; the transfer task against brute force on a tiny graph."""

from __future__ import annotations

import dataclasses
from itertools import product
from typing import Any

import numpy as np
import pytest

from grokstudy.trainables.randomness import Stream
from grokstudy.trainables.tasks import TASKS, known_splits
from grokstudy.trainables.tasks.graph import GraphData, GraphTask
from grokstudy.trainables.tasks.two_hop import TwoHop
from grokstudy.trainables.tasks.two_hop_transfer import TransferOptions, TwoHopTransfer

TINY: dict[str, Any] = {"entities": 20, "relations": 8, "out_degree": 5, "ood_fraction": 0.2, "phi": 2.0}
NEW: dict[str, Any] = {"two_hop_transfer": {"new_facts": 10, "retained": 60}}
PAPER = TransferOptions(
    entities=2000, relations=200, out_degree=20, ood_fraction=0.05, holdout=0.005, phi=18.0, mixed_holdout=0.05,
    new_facts=2000, retained=8000,
)  # fmt: skip

GRAPH_TASKS = [name for name in TASKS if issubclass(TASKS[name], GraphTask)]


def options(task: str, **changes: Any) -> Any:
    return TASKS[task].Options(**{**TINY, **NEW.get(task, {}), **changes})


def transfer(seed: int = 0, **changes: Any) -> GraphData:
    return TwoHopTransfer.build(options("two_hop_transfer", **changes), seed, 10_000)


def rows(data: GraphData, split: str | None = None) -> set[tuple[int, ...]]:
    examples = data.train if split is None else data.splits[split]
    return {tuple(row) for row in examples.tokens.tolist()}


def facts_of(data: GraphData) -> dict[tuple[int, int], int]:
    graph = data.graph
    return dict(zip(zip(graph.head.tolist(), graph.relation.tolist(), strict=True), graph.tail.tolist(), strict=True))


def drawn(task: str, seed: int, most: int) -> GraphData:
    data = TASKS[task].build(options(task), seed, most)
    assert isinstance(data, GraphData)
    return data


@pytest.mark.parametrize("task", GRAPH_TASKS)
def test_a_task_gives_what_the_loop_needs(task: str) -> None:
    asked = options(task)
    assert asked.problems() == [] == TASKS[task].check(asked, 0)
    data, again, other = (drawn(task, seed, 50) for seed in (0, 0, 1))
    assert data.hash == again.hash != other.hash
    assert tuple(data.splits) == tuple(TASKS[task].splits)
    assert set(data.splits) <= set(known_splits())
    assert data.vocabulary == asked.vocabulary > data.train.tokens.max()
    for examples in (data.train, *data.splits.values()):
        assert 0 < len(examples) == len(examples.answer) == len(examples.bridge) == len(examples.answer_at)
        assert 0 <= examples.answer.min() <= examples.answer.max() < data.entities
    assert all(len(examples) <= 50 for examples in data.splits.values())


@pytest.mark.parametrize("task", GRAPH_TASKS)
def test_answers_follow_from_facts_and_no_test_is_trained(task: str) -> None:
    data = drawn(task, 0, 10_000)
    tail = facts_of(data)
    for name, examples in data.splits.items():
        for (h, r1, r2), answer, bridge in zip(examples.tokens.tolist(), examples.answer, examples.bridge, strict=True):
            first = tail[h, r1 - data.entities]
            assert (first, -1) == (answer, bridge) or (bridge == first and answer == tail[first, r2 - data.entities])
        if name in ("train_ii", "new"):
            assert rows(data, name) <= rows(data)
        elif not name.startswith("atomic"):
            assert not rows(data, name) & rows(data), name


def test_new_facts_use_pairs_that_the_source_does_not_and_leave_its_graph_as_it_is() -> None:
    data, source = transfer(), TwoHop.build(options("two_hop"), 0, 10_000)
    own = facts_of(source)
    new = {pair: tail for pair, tail in facts_of(data).items() if pair not in own}
    assert len(new) == 10 == len(facts_of(data)) - len(own)
    assert rows(data, "new") == {(h, 20 + r, 28) for h, r in new}
    for name in ("test_ii", "test_oo", "atomic_id"):
        np.testing.assert_array_equal(data.splits[name].tokens, source.splits[name].tokens)


@pytest.mark.parametrize("keep", ["closure", "all_facts"])
@pytest.mark.parametrize("exposure", ["natural", "both_hops"])
def test_what_is_trained_and_asked_is_what_the_definition_says(keep: str, exposure: str) -> None:
    """Brute force: fact by fact, its trained chains in either hop, until 60 items; then every chain of two facts."""
    data, source = (
        transfer(keep=keep, exposure=exposure),
        TwoHop.build(options("two_hop", exposure=exposure), 0, 10_000),
    )
    n, own = data.entities, list(facts_of(source))
    tail, ood = facts_of(data), dict(zip(own, source.graph.ood.tolist(), strict=True))
    old_chains = [row for row in source.train.tokens.tolist() if row[2] != n + 8]
    items: list[tuple[int, ...]] = []
    for fact in (own[i] for i in Stream(0, "transfer/retained").permutation(len(own))):
        h, r = fact
        items.append((h, n + r, n + 8))
        for a, r1, r2 in old_chains:
            uses = (a, r1 - n) == fact or (tail[a, r1 - n], r2 - n) == fact
            items += [(a, r1, r2)] if uses and (a, r1, r2) not in items else []
    atoms = {row for row in items[:60] if row[2] == n + 8}
    if keep == "all_facts":
        atoms = {(h, n + r, n + 8) for h, r in own}
    chains = {row for row in items[:60] if row[2] != n + 8}
    assert rows(data) == atoms | chains | rows(data, "new")
    assert rows(data, "train_ii") == {
        (a, r1, r2) for a, r1, r2 in chains if not ood[a, r1 - n] and not ood[tail[a, r1 - n], r2 - n]
    }
    old = {(h, r - n) for h, r, _ in atoms if not ood[h, r - n]}
    new = set(tail) - set(own)
    for split, left, right in (("new_old", new, old), ("old_new", old, new), ("new_new", new, new)):
        asked = {(h, n + r, n + r2) for (h, r), (b, r2) in product(left, right) if tail[h, r] == b}
        assert rows(data, split) == asked, split


def test_the_papers_size_gives_the_numbers_of_its_printed_run() -> None:
    """220 atomic and 7,780 composed items are retained; so few facts leave few tests, all of them leave thousands."""
    sizes = TwoHopTransfer.build(PAPER, 0, 3000)
    assert sizes.sizes["retained_atomic"] == pytest.approx(220, rel=0.1)
    assert sizes.sizes["retained_atomic"] + sizes.sizes["retained_chains"] == 8000
    assert sizes.sizes["train"] == 10_000
    assert len(sizes.splits["new_old"]) < 500
    whole = TwoHopTransfer.build(dataclasses.replace(PAPER, keep="all_facts"), 0, 3000)
    assert len(whole.splits["new_old"]) == len(whole.splits["old_new"]) == 3000


def test_transfer_data_is_the_same_on_every_machine_and_fewer_new_facts_are_the_first_ones() -> None:
    few, many = transfer(new_facts=5, keep="all_facts"), transfer(new_facts=10, keep="all_facts")
    assert rows(few, "new") < rows(many, "new")
    assert few.hash == "b242cd0a7c399161", "the data of a seed has changed: raise config.NUMERICS, put the hash here"


@pytest.mark.parametrize(
    ("changes", "key", "fragment"),
    [
        ({"new_facts": 61}, "data.new_facts", "more than the unused pairs, 20 x 8 - 100 = 60"),
        ({"retained": 261}, "data.retained", "more than 260"),
        ({"out_degree": 9}, "data.out_degree", "only 8 exist"),
    ],
)
def test_impossible_transfers(changes: dict[str, int], key: str, fragment: str) -> None:
    found = options("two_hop_transfer", **changes).problems()
    assert any(problem.key == key and fragment in problem.message for problem in found)


def test_an_empty_test_set_is_named() -> None:
    with pytest.raises(ValueError, match=r"split .*new_new.* is empty for seed 0; enlarge the graph or new_facts"):
        transfer(new_facts=1, retained=1)
