"""Chains of two and three hops, against brute force over tokens; the mechanism on models whose weights are known."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from handmade import Written, values

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.models.decoder import Transformer
from grokstudy.trainables.probes.lens import lens
from grokstudy.trainables.probes.splits import stack_splits
from grokstudy.trainables.probes.subject import Subject
from grokstudy.trainables.probes.swap import swap
from grokstudy.trainables.tasks.base import StoredRows, TaskData
from grokstudy.trainables.tasks.graph import Graph
from grokstudy.trainables.tasks.k_hop import KHop, KHopOptions
from grokstudy.trainables.tasks.two_hop import TwoHop, TwoHopOptions
from grokstudy.trainables.training.evaluate import evaluate

SMALL: dict[int, dict[str, Any]] = {
    2: {"entities": 24, "relations": 8, "out_degree": 6, "ood_fraction": 0.2, "phi": 2.5},
    3: {"hops": 3, "entities": 20, "relations": 8, "out_degree": 5, "ood_fraction": 0.2, "phi": 4.0},
}
PAPER = {
    2: KHopOptions(
        entities=2000, relations=200, out_degree=20, ood_fraction=0.05, no_later_hop=0.05, held_out_atomic=0.05,
        holdout=0.05, phi=7.2,
    ),
    3: KHopOptions(
        hops=3, entities=1000, relations=100, out_degree=10, ood_fraction=0.2, no_later_hop=0, held_out_atomic=0,
        holdout=0.05, phi=15,
    ),
}  # fmt: skip
DETAILED = ("iio", "ioi", "ioo", "oio", "ooi", "ooo")
Fact = tuple[int, int]


def build(hops: int, seed: int = 0, most: int = 100_000, **changes: Any) -> TaskData:
    return KHop.build(KHopOptions(**{**SMALL[hops], **changes}), seed, most)


class Reader:
    """Reads tokens by the documented order (entities, relations, padding), and the facts off the splits of facts."""

    def __init__(self, data: TaskData, options: KHopOptions) -> None:
        self.data, self.n, self.padding = data, options.entities, options.entities + options.relations
        self.tail: dict[Fact, int] = {}
        self.of_class: dict[str, set[Fact]] = {}
        for name in (split for split in data.splits if split.startswith("atomic_")):
            rows = list(self.lines(name))
            assert all(len(path) == 1 and at == 1 for path, at, _ in rows)
            self.of_class[name.removeprefix("atomic_")] = {(path[0]) for path, _, _ in rows}
            self.tail |= {path[0]: answer for path, _, answer in rows}

    def lines(self, split: str | None = None) -> Iterator[tuple[list[Fact], int, int]]:
        """First fact with relations behind it, as (entity or -1, relation), place and value of the answer."""
        rows = self.data.train if split is None else self.data.splits[split]
        assert isinstance(rows, StoredRows)
        for tokens, (at,), (answer,) in zip(rows.inputs.tolist(), rows.at.tolist(), rows.target.tolist(), strict=True):
            assert all(token == self.padding for token in tokens[at + 1 :])
            yield self.facts(tokens[: at + 1]), at, answer

    def facts(self, tokens: list[int]) -> list[Fact]:
        """The facts that a row goes through."""
        path, entity = [], tokens[0]
        for relation in tokens[1:]:
            fact = (entity, relation - self.n)
            path.append(fact)
            entity = self.tail.get(fact, -1)
        return path

    def chains(self, split: str | None = None) -> list[tuple[Fact, ...]]:
        return [tuple(path) for path, _, _ in self.lines(split) if len(path) > 1]


def reader(hops: int, **changes: Any) -> Reader:
    return Reader(build(hops, **changes), KHopOptions(**{**SMALL[hops], **changes}))


def letters_of(read: Reader, chain: tuple[Fact, ...]) -> str:
    return "".join("o" if fact in read.of_class["ood"] else "i" for fact in chain)


@pytest.mark.parametrize("hops", [2, 3])
def test_answers_are_reached_by_composing_facts(hops: int) -> None:
    read = reader(hops)
    assert len(read.tail) == KHopOptions(**SMALL[hops]).atomic_facts
    for split in (None, *read.data.splits):
        for path, at, answer in read.lines(split):
            assert at == len(path) == (hops if len(path) > 1 else 1)
            assert read.tail[path[-1]] == answer, split


@pytest.mark.parametrize("anchored", [True, False])
@pytest.mark.parametrize("hops", [2, 3])
def test_classes_are_trained_where_they_may_be_and_nowhere_else(hops: int, anchored: bool) -> None:
    read = reader(hops, anchored=anchored)
    of_class = read.of_class
    assert sum(map(len, of_class.values())) == len(set.union(*of_class.values())) == len(read.tail)
    atoms = [path[0] for path, _, _ in read.lines() if len(path) == 1]
    assert len(atoms) == len(set(atoms))
    assert set(atoms) == of_class["ood"] | (of_class["id"] | of_class["r"] if anchored else set())
    chains = read.chains()
    assert len(chains) == len(set(chains)) == round(SMALL[hops]["phi"] * (len(read.tail) - len(of_class["ood"])))
    first, later = {chain[0] for chain in chains}, {fact for chain in chains for fact in chain[1:]}
    assert not (first | later) & of_class["ood"]
    assert not later & of_class["r"]
    assert all(first & of_class[name] for name in ("id", "r", "h"))
    assert all(later & of_class[name] for name in ("id", "h"))


@pytest.mark.parametrize("hops", [2, 3])
def test_splits_are_every_chain_of_their_classes_and_none_is_trained(hops: int) -> None:
    """Brute force: every path over the graph, by its letters, and whether a later hop is of class R."""
    read = reader(hops)
    every: dict[str, set[tuple[Fact, ...]]] = {}
    of_head: dict[int, list[Fact]] = {}
    for fact in read.tail:
        of_head.setdefault(fact[0], []).append(fact)
    paths: list[tuple[Fact, ...]] = [(fact,) for fact in read.tail]
    for _ in range(hops - 1):
        paths = [(*path, fact) for path in paths for fact in of_head.get(read.tail[path[-1]], [])]
    for path in paths:
        letters = letters_of(read, path)
        if set(path[1:]) & read.of_class["r"]:
            names = ["r"] if "o" not in letters else []
        else:
            names = [letters[0] + ("o" if "o" in letters[1:] else "i"), *([letters] if letters in DETAILED else [])]
        for name in names:
            every.setdefault(name, set()).add(path)
    trained, held_out = set(read.chains()), set(read.chains("test_ii"))
    assert trained < every["ii"]
    assert set(read.chains("train_ii")) == trained
    assert held_out < every.pop("ii") - trained
    assert {name for name in read.data.splits if name.startswith("test_")} == {"test_ii", *(f"test_{n}" for n in every)}
    for name, chains in every.items():
        assert set(read.chains(f"test_{name}")) == chains, name
        assert not chains & trained


def test_a_smaller_phi_trains_on_a_subset_and_tests_do_not_depend_on_it() -> None:
    few, many = reader(3, phi=2.0), reader(3, phi=6.0)
    assert set(few.chains()) < set(many.chains())
    for name, rows in few.data.splits.items():
        if name != "train_ii":
            np.testing.assert_array_equal(rows.inputs, many.data.splits[name].inputs)
    assert len(few.chains("test_ii")) == math.ceil(0.1 * len(_without_ood(few)))


def _without_ood(read: Reader) -> list[tuple[Fact, ...]]:
    """All chains of three hops that could be trained."""
    barred = read.of_class["ood"] | read.of_class["r"]
    firsts = [fact for fact in read.tail if fact not in read.of_class["ood"]]
    later = [fact for fact in read.tail if fact not in barred]
    pairs = [(a, b) for a, b in product(firsts, later) if read.tail[a] == b[0]]
    return [(a, b, c) for (a, b), c in product(pairs, later) if read.tail[b] == c[0]]


def test_the_graph_and_its_ood_facts_are_those_of_two_hop() -> None:
    options = KHopOptions(**SMALL[2])
    size = {name: getattr(options, name) for name in ("entities", "relations", "out_degree", "ood_fraction", "phi")}
    ours, theirs = Graph.draw(options, 3), TwoHop.draw(TwoHopOptions(**size), 3).graph
    for name in ("head", "relation", "tail", "ood"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_classes_that_are_not_asked_for_are_not_there_and_three_letters_are_for_three_hops() -> None:
    plain = build(2, no_later_hop=0, held_out_atomic=0)
    letters = ("test_ii", "test_io", "test_oi", "test_oo")
    assert set(plain.splits) == {"train_ii", *letters, "atomic_id", "atomic_ood"}
    assert set(plain.splits) == set(KHop.splits_of(KHopOptions(**SMALL[2], no_later_hop=0, held_out_atomic=0)))
    assert set(build(2).splits) == set(KHop.splits_of(KHopOptions(**SMALL[2])))
    assert set(build(2).splits) - set(plain.splits) == {"test_r", "atomic_r", "atomic_h"}
    assert set(build(3).splits) - set(build(2).splits) == {f"test_{name}" for name in DETAILED}
    assert set(build(3).splits) == set(KHop.splits)
    every = [KHopOptions(no_later_hop=r, held_out_atomic=h, hops=k) for r, h, k in product((0, 0.1), (0, 0.1), (2, 3))]
    assert len({KHop.shape(options) for options in every}) == 8, "members of a pack have the same splits"


@pytest.mark.parametrize("hops", [2, 3])
def test_prior_is_the_most_frequent_trained_answer_of_the_last_relation(hops: int) -> None:
    read = reader(hops)
    counts: dict[tuple[bool, int], Counter[int]] = {}
    for path, _, answer in read.lines():
        counts.setdefault((len(path) > 1, path[-1][1]), Counter())[answer] += 1
    for split, rows in read.data.splits.items():
        guess = rows.mechanism.notes["prior"][:, 0].tolist()
        for said, (path, _, _) in zip(guess, read.lines(split), strict=True):
            seen = counts[len(path) > 1, path[-1][1]]
            assert seen[said] == max(seen.values())
    data = KHop.build(KHopOptions(entities=60), 0, 10_000)
    stacked = stack_splits([data], torch.device("cpu"))["test_oi"]
    output = torch.zeros(1, len(data.splits["test_oi"]), 1, 1)
    (share,) = stacked.mean(KHop.scores(output, stacked.batch())["prior"]).tolist()
    assert 1.5 / 60 < share < 0.3, "more than one entity in all, far from an answer"


@pytest.mark.parametrize("hops", [2, 3])
def test_donors_are_untrained_chains_of_the_same_letters_with_another_bridge(hops: int) -> None:
    read = reader(hops)
    trained = set(read.chains())
    for split in ("train_ii", "test_ii", "test_io", "test_oi", "test_oo", "test_r"):
        mechanism = read.data.splits[split].mechanism
        assert set(mechanism.swap) == set(mechanism.latent) == {f"b{hop}" for hop in range(1, hops)}
        for hop in range(1, hops):
            there = 0
            columns = (mechanism.latent[f"b{hop}"], mechanism.donor[f"b{hop}"], mechanism.swap[f"b{hop}"])
            chains = read.chains(split)
            for chain, (place, bridge), donor, (written, expected) in zip(chains, *columns, strict=True):
                other = tuple(read.facts(donor.tolist()))
                assert place == written == hop
                assert bridge == read.tail[chain[hop - 1]]
                if expected < 0:
                    assert other == chain
                    continue
                there += 1
                assert other not in trained
                assert [relation for _, relation in other[hop:]] == [relation for _, relation in chain[hop:]]
                assert read.tail[other[hop - 1]] != bridge
                assert expected == read.tail[other[-1]] != read.tail[chain[-1]]
                assert (other[0] in read.of_class["ood"]) == (chain[0] in read.of_class["ood"])
                assert ("o" in letters_of(read, other)[1:]) == ("o" in letters_of(read, chain)[1:])
            assert there > 0.4 * len(chains), (split, hop)
    for name in DETAILED:
        assert hops == 2 or not read.data.splits[f"test_{name}"].mechanism.swap


def shape_of(hops: int) -> tuple[TaskData, Graph, KHopOptions]:
    options = KHopOptions(
        hops=hops, entities=12, relations=6, out_degree=4, ood_fraction=0.3, no_later_hop=0.1, held_out_atomic=0.1,
        phi=1.0,
    )  # fmt: skip
    return KHop.build(options, 0, 200), Graph.draw(options, 0), options


def composes(hops: int, known: np.ndarray | None = None) -> Written:
    """Block k looks hop k up at its relation, from the entity that stands one place before. `known`: facts of hop 1."""
    _, graph, options = shape_of(hops)
    made = Written(*Written.blank(KHop.shape(options), layers=hops))
    relation, every = options.entities + graph.relation, np.ones(len(graph.head), bool)
    first = every if known is None else known
    made.attend(0, {1: 0}, "token", "brought", norm=math.sqrt(2))
    made.look_up(0, [("brought", graph.head[first]), ("token", relation[first])], graph.tail[first], math.sqrt(3))
    for block in range(1, hops):
        norm = 2.0 if block == 1 else math.sqrt(5)
        made.attend(block, {block + 1: block}, "out", "fetched", norm=norm)
        made.look_up(block, [("fetched", graph.head), ("token", relation)], graph.tail, norm=2.0)
    return made


def knows_by_heart() -> Written:
    """Every chain of two hops is looked up as a whole at r2."""
    _, graph, options = shape_of(2)
    made = Written(*Written.blank(KHop.shape(options)))
    first, second = graph.chains()
    h, r1, r2 = graph.two_hop(first, second).tokens.T
    made.attend(0, {2: 1}, "token", "brought", norm=math.sqrt(2))
    made.attend(1, {2: 0}, "token", "fetched", norm=math.sqrt(3))
    made.look_up(1, [("fetched", h), ("brought", r1), ("token", r2)], graph.tail[second], norm=2.0)
    return made


def seen(made: Written, hops: int) -> tuple[dict[str, float], dict[Any, float]]:
    """Accuracy by split, and what `lens` and `swap` measure."""
    data, _, _ = shape_of(hops)
    splits = stack_splits([data], torch.device("cpu"))
    model = made.model
    assert isinstance(model, Transformer)
    subject = Subject(model, made.weights, splits, 200)
    behaviours = evaluate(model, made.weights, splits, KHop, 1)
    return {b.split: float(b.accuracy_M) for b in behaviours}, values([*lens(subject), *swap(subject)])


COARSE = ("train_ii", "test_ii", "test_io", "test_oi", "test_oo", "test_r")


@pytest.mark.parametrize("hops", [2, 3])
def test_where_answers_run_through_bridges_bridges_are_read_and_exchanged(hops: int) -> None:
    accuracy, found = seen(composes(hops), hops)
    assert all(accuracy[name] == 1.0 for name in accuracy if not name.startswith("atomic"))
    for split in COARSE:
        for hop in range(1, hops):
            assert found[f"lens_b{hop}", split, hop, f"at_b{hop}"] == 1.0
            assert found[f"swap_b{hop}", split, hop, f"at_b{hop}"] == found[f"swap_b{hop}", split, None, None] == 1.0
            assert found[f"swap_b{hop}", split, hop + 1, f"at_b{hop}"] == 0.0, "already read"
            assert found[f"lens_b{hop}", split, hop - 1, f"at_b{hop}"] < 0.7, "not yet there"


def test_a_model_that_knows_chains_by_heart_answers_and_has_no_bridge_to_exchange() -> None:
    accuracy, found = seen(knows_by_heart(), 2)
    for split in COARSE:
        assert accuracy[split] == 1.0
        assert found["swap_b1", split, 1, "at_b1"] == 0.0
        assert found["lens_b1", split, 1, "at_b1"] < 0.4


def test_a_first_hop_that_knows_no_ood_fact_fails_where_the_letters_say() -> None:
    _, graph, _ = shape_of(3)
    accuracy, found = seen(composes(3, ~graph.ood), 3)
    for split in COARSE:
        assert (accuracy[split] == 1.0) == (split not in ("test_oi", "test_oo"))
        assert (found["swap_b1", split, None, None] == 1.0) == (split not in ("test_oi", "test_oo"))


def test_counts_at_the_papers_sizes() -> None:
    """The pools that the comments of the released notebook name; classes of chains vary by seed, facts do not."""
    built = {hops: KHop.build(PAPER[hops], 0, 300) for hops in (2, 3)}
    two, three = built[2].sizes, built[3].sizes
    assert (two["atomic"], two["atomic_ood"], two["atomic_r"], two["atomic_h"]) == (40_000, 2_000, 1_900, 1_900)
    assert two["trained_ii"] == round(7.2 * 38_000) == 273_600
    assert two["train"] == 273_600 + 38_100
    assert three["trained_ii"] == 120_000
    assert three["train"] == 130_000
    expected = {"chains_ii": 25_600, "chains_oi": 128_000, "chains_iio": 128_000, "chains_ioi": 128_000,
                "chains_ioo": 32_000, "chains_oio": 32_000, "chains_ooi": 32_000, "chains_ooo": 8_000}  # fmt: skip
    for name, count in expected.items():
        assert three[name] == pytest.approx(count, rel=0.05), name
    assert PAPER[3].phi_max == pytest.approx(60.8)
    for hops, data in built.items():
        raw = {"task": "k_hop", "data": dataclasses.asdict(PAPER[hops])}
        assert RunConfig.from_dict(raw).problems() == [] == KHop.check(PAPER[hops], 0)
        radix = PAPER[hops].vocabulary ** np.arange(hops + 1)
        trained = data.train.inputs @ radix  # type: ignore[union-attr]
        leaked = {name: np.isin(rows.inputs @ radix, trained).mean() for name, rows in data.splits.items()}
        assert {name for name, share in leaked.items() if share} == {"train_ii", "atomic_id", "atomic_ood"} | (
            {"atomic_r"} if hops == 2 else set()
        )


def test_data_is_the_same_on_every_machine() -> None:
    assert (build(2).hash, build(3).hash, build(2, anchored=False).hash) == GOLDEN, (
        "the data of a seed has changed: raise config.NUMERICS, then put the new hashes here"
    )


GOLDEN = ("2ab3e94eaba5fe8d", "a1ad4f41774f7b34", "cde7dc3db55cc2ea")


@pytest.mark.parametrize(
    ("changes", "key", "fragment"),
    [
        ({"phi": 5.0}, "data.phi", "5 is above its maximum for this graph"),
        ({"out_degree": 9}, "data.out_degree", "9 distinct relations per head, but only 8 exist"),
        ({"ood_fraction": 0.001}, "data.ood_fraction", "0.001 of 144 facts leaves none out-of-distribution"),
        ({"held_out_atomic": 0.001}, "data.held_out_atomic", "0.001 of 115 facts leaves none; give 0"),
        ({"no_later_hop": 0.6, "held_out_atomic": 0.5}, "data.held_out_atomic", "0.5, and no_later_hop 0.6, leave no"),
        ({"hops": 4}, "data.hops", "it must be"),
    ],
)
def test_impossible_options_are_told(changes: dict[str, float], key: str, fragment: str) -> None:
    problems = RunConfig.from_dict({"task": "k_hop", "data": {**SMALL[2], **changes}}).problems()
    assert [(p.key, fragment in p.message) for p in problems] == [(key, True)]


def test_a_phi_above_what_the_graph_of_a_seed_has_is_told_with_the_exact_limit() -> None:
    limits = []
    for seed in range(20):
        options = KHopOptions(**{**SMALL[2], "phi": 4.1})
        found = KHop.check(options, seed)
        read = Reader(build(2, seed, phi=0.1), options)
        barred = read.of_class["ood"] | read.of_class["r"]
        n = sum(
            read.tail[a] == b[0] for a, b in product(set(read.tail) - read.of_class["ood"], set(read.tail) - barred)
        )
        limits.append((n - math.ceil(0.1 * n)) / (len(read.tail) - len(read.of_class["ood"])))
        assert bool(found) == (limits[-1] < 4.1)
        if found:
            assert f"above {limits[-1]:.4g}, the maximum for the graph of seed {seed}" in found[0].message
            with pytest.raises(ValueError, match=f"4.1 is above {limits[-1]:.4g}"):
                build(2, seed, phi=4.1)
    assert min(limits) < 4.1 < max(limits)


def test_an_empty_split_is_named() -> None:
    with pytest.raises(ValueError, match=r"split .*test_oo.* is empty for seed 0; enlarge the graph or ood_fraction"):
        build(2, ood_fraction=0.01, phi=1.0)
