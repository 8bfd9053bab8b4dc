"""Comparison of values, against brute force over tokens, and against what is known in closed form."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.probes.splits import SplitBatch
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.tasks.base import StoredRows, TaskData
from grokstudy.trainables.tasks.comparison import Comparison, ComparisonOptions
from grokstudy.trainables.training.pack import Pack

SMALL: dict[str, Any] = {"entities": 30, "attributes": 3, "values": 5, "ood_fraction": 0.2, "phi": 4.0}
PAPER = ComparisonOptions(entities=1000, attributes=20, values=20, phi=12.6, separators=True)
PAIRS = ("ii", "io", "oi", "oo")
Facts = dict[tuple[int, int], int]


def build(seed: int = 0, most: int = 10_000, **changes: Any) -> TaskData:
    return Comparison.build(ComparisonOptions(**{**SMALL, **changes}), seed, most)


class Reader:
    """Reads tokens by the documented order: entities, attributes, values, labels (<, =, >) by attribute, padding."""

    def __init__(self, options: ComparisonOptions) -> None:
        self.e, self.a, self.v = options.entities, options.attributes, options.values
        self.separators = options.separators

    def is_fact(self, row: tuple[int, ...]) -> bool:
        return row[0] < self.e

    def fact(self, row: tuple[int, ...]) -> tuple[int, int]:
        padding = self.e + self.a + self.v + 3 * self.a
        assert all(token == padding for token in row[2:])
        return row[0], row[1] - self.e

    def comparison(self, row: tuple[int, ...]) -> tuple[int, int, int]:
        padding = self.e + self.a + self.v + 3 * self.a
        if self.separators:
            assert (row[1], row[3]) == (padding + 1, padding + 2)
            row = (row[0], row[2], row[4])
        return row[0] - self.e, row[1], row[2]

    def value(self, token: int) -> int:
        return token - self.e - self.a

    def label(self, a: int, v1: int, v2: int) -> int:
        return self.e + self.a + self.v + 3 * a + (0 if v1 < v2 else 1 if v1 == v2 else 2)


def lines(rows: StoredRows) -> list[tuple[tuple[int, ...], int]]:
    return [(tuple(row), int(answer)) for row, answer in zip(rows.inputs.tolist(), rows.target[:, 0], strict=True)]


def facts_of(data: TaskData, read: Reader) -> Facts:
    """The table of values, from the facts that are trained."""
    return {read.fact(row): read.value(answer) for row, answer in lines(data.train) if read.is_fact(row)}  # type: ignore[arg-type]


def compared(data: TaskData, read: Reader, split: str | None = None) -> list[tuple[int, int, int]]:
    rows = lines(data.train if split is None else data.splits[split])  # type: ignore[arg-type]
    return [read.comparison(row) for row, _ in rows if not read.is_fact(row)]


@pytest.mark.parametrize("separators", [False, True])
def test_answers_follow_from_the_trained_facts(separators: bool) -> None:
    data, read = build(separators=separators), Reader(ComparisonOptions(**SMALL, separators=separators))
    value = facts_of(data, read)
    assert set(value) == set(product(range(30), range(3)))
    for name, rows in {"train": data.train, **data.splits}.items():
        assert isinstance(rows, StoredRows)
        for (row, answer), at in zip(lines(rows), rows.at[:, 0], strict=True):
            if read.is_fact(row):
                assert (answer, at) == (read.e + read.a + value[read.fact(row)], 1), name
            else:
                a, e1, e2 = read.comparison(row)
                assert e1 != e2
                assert (answer, at) == (read.label(a, value[e1, a], value[e2, a]), len(row) - 1), name


@pytest.mark.parametrize("both_orders", [False, True])
def test_no_tested_pair_is_trained_in_either_order(both_orders: bool) -> None:
    data, read = build(both_orders=both_orders), Reader(ComparisonOptions(**SMALL))
    trained = compared(data, read)
    assert len(trained) == len(set(trained)) == 4 * 3 * 24
    pairs = {(a, frozenset((e1, e2))) for a, e1, e2 in trained}
    mirrored = {(a, e2, e1) for a, e1, e2 in trained}
    assert (mirrored == set(trained)) == both_orders
    for split in (f"{kind}_{letters}" for kind in ("test", "near") for letters in PAIRS):
        assert not pairs & {(a, frozenset((e1, e2))) for a, e1, e2 in compared(data, read, split)}, split
    assert set(compared(data, read, "train_cmp")) == set(trained)


def test_letters_say_the_class_of_each_entity_and_classes_differ_between_attributes() -> None:
    data, read = build(), Reader(ComparisonOptions(**SMALL))
    fact_sets = {name: {read.fact(row) for row, _ in lines(data.splits[name])} for name in ("atomic_id", "atomic_ood")}  # type: ignore[arg-type]
    ood = fact_sets["atomic_ood"]
    assert fact_sets["atomic_id"] == set(product(range(30), range(3))) - ood
    assert [sum(a == b for _, b in ood) for a in range(3)] == [6, 6, 6]
    assert len({frozenset(e for e, b in ood if b == a) for a in range(3)}) > 1
    for letters in PAIRS:
        asked = compared(data, read, f"test_{letters}")
        assert {"".join("o" if (e, a) in ood else "i" for e in (e1, e2)) for a, e1, e2 in asked} == {letters}
        assert set(compared(data, read, f"near_{letters}")) <= set(asked)
    for a, e1, e2 in compared(data, read):
        assert not {(e1, a), (e2, a)} & ood
    every = {(a, x, y) for a in range(3) for (x, b), (y, c) in product(ood, ood) if a == b == c and x != y}
    assert set(compared(data, read, "test_oo")) == every


def test_held_out_pairs_are_held_out_in_both_orders_and_tests_do_not_depend_on_what_is_trained() -> None:
    data, read = build(), Reader(ComparisonOptions(**SMALL))
    held_out = set(compared(data, read, "test_ii"))
    assert held_out == {(a, e2, e1) for a, e1, e2 in held_out}
    assert len(held_out) == 2 * int(np.ceil(0.1 * 3 * 24 * 23 / 2))
    more = build(phi=8.0)
    assert set(compared(data, read)) < set(compared(more, read))
    for name, rows in build(both_orders=True).splits.items():
        if name != "train_cmp":
            np.testing.assert_array_equal(rows.inputs, data.splits[name].inputs)


def test_near_pairs_are_near_and_balanced_however_few_are_looked_at() -> None:
    data, read = build(most=90), Reader(ComparisonOptions(**SMALL))
    value = facts_of(data, read)
    for letters in PAIRS:
        apart = [value[e1, a] - value[e2, a] for a, e1, e2 in compared(data, read, f"near_{letters}")]
        assert apart == [-1, 0, 1] * (len(apart) // 3), "each label in turn, so that a probe's first rows are balanced"
        assert 0 < len(apart) <= 90


@pytest.mark.parametrize("values", [10, 20])
def test_baselines_are_what_the_formulas_say(values: int) -> None:
    """The best rules that know nothing, or one value, on a world that is large enough for expectations."""
    options = ComparisonOptions(entities=200, attributes=6, values=values, ood_fraction=0.3, phi=1.0)
    data, read = Comparison.build(options, 0, 3000), Reader(options)
    value, top = facts_of(data, read), values - 1
    expected = sum(max(v, top - v) for v in range(values)) / values**2
    for split, constant, one, split_at in (
        ("test_oo", (1 - 1 / values) / 2, expected, top / 2),
        ("near_oo", 1 / 3, values / (3 * top), top),
    ):
        known = np.array([(value[e1, a], value[e2, a]) for a, e1, e2 in compared(data, read, split)])
        v1, v2 = known.T
        for said, right in ((-1, constant), (1, constant), (np.where(v1 < split_at, -1, 1), one),
                            (np.where(v2 < split_at, 1, -1), one)):  # fmt: skip
            assert np.mean(np.sign(v1 - v2) == said) == pytest.approx(right, abs=0.03), split
        if split == "near_oo":
            assert np.mean(v1 == v2) == pytest.approx(1 / 3)


def test_donors_have_the_value_alone_in_common_with_what_they_stand_for() -> None:
    data, read = build(), Reader(ComparisonOptions(**SMALL))
    value = facts_of(data, read)
    ood = {read.fact(row) for row, _ in lines(data.splits["atomic_ood"])}  # type: ignore[arg-type]
    trained = {(a, frozenset((e1, e2))) for a, e1, e2 in compared(data, read)}
    for split in ("train_cmp", *(f"{kind}_{letters}" for kind in ("test", "near") for letters in PAIRS)):
        mechanism = data.splits[split].mechanism
        for kind in Comparison.swaps:
            there = 0
            rows = zip(compared(data, read, split), mechanism.donor[kind].tolist(), mechanism.swap[kind], strict=True)
            for (a, e1, e2), donor, (place, expected) in rows:
                b, other, same = read.comparison(donor)
                assert (place, same) == (1, e2)
                if expected < 0:
                    assert (b, other) == (a, e1)
                    continue
                there += 1
                assert (a == b) == (kind == "entity")
                assert other not in (e1, e2)
                assert ((other, b) in ood) == ((e1, a) in ood)
                assert (b, frozenset((other, e2))) not in trained
                v2 = value[e2, a]
                assert expected == read.label(a, value[other, b], v2) != read.label(a, value[e1, a], v2)
                assert abs(value[other, b] - v2) <= 1 or not split.startswith("near")
            assert there > (0.9 if kind == "value" else 0.3) * len(mechanism.swap[kind]), (split, kind)


def test_values_are_looked_for_where_their_entities_stand_and_exchanged_with_the_separator_behind() -> None:
    options = ComparisonOptions(**SMALL, separators=True)
    data, read = build(separators=True), Reader(options)
    value, rows = facts_of(data, read), data.splits["near_oo"]
    for (a, e1, e2), v1, v2 in zip(compared(data, read, "near_oo"), *rows.mechanism.latent.values(), strict=True):
        assert v1.tolist() == [2, 33 + value[e1, a]]
        assert v2.tolist() == [4, 33 + value[e2, a]]
    assert rows.mechanism.swap["value"][:, :2].tolist() == [[2, 3]] * len(rows)


def test_scores_weigh_labels_alike_and_look_at_the_kind_of_answer() -> None:
    options = ComparisonOptions(**SMALL)
    rows = Comparison.build(options, 0, 10_000).splits["test_oo"]
    split = SplitBatch.stack([rows], torch.device("cpu"))
    kind = (rows.target[:, 0] - options.first_label) % 3
    less = rows.target[:, 0] - kind  # says < of the right attribute always
    elsewhere = (less + 3 - options.first_label) % 9 + options.first_label
    for said, second, macro, of_kind in (
        (less, less, 1 / 3, np.mean(kind == 0)),
        (elsewhere, rows.target[:, 0], 0.0, 1.0),  # says another attribute's label, with the right one behind it
        (rows.target[:, 0], less, 1.0, 1.0),
    ):
        output = torch.zeros(1, len(rows), 1, options.vocabulary)
        index = torch.arange(len(rows))
        output[0, index, 0, torch.as_tensor(second)] = 1.0
        output[0, index, 0, torch.as_tensor(said)] = 2.0
        output[..., options.padding] = 9.0  # cannot be said
        scores = {name: float(split.mean(x)) for name, x in Comparison.scores(output, split.batch()).items()}
        assert scores["macro"] == pytest.approx(macro, abs=1e-5)
        assert scores["right_of_kind"] == pytest.approx(of_kind, abs=1e-5)


def test_counts_at_the_papers_size() -> None:
    data = Comparison.build(PAPER, 0, 60)
    assert data.sizes == {
        "atomic": 20_000, "atomic_id": 18_000, "atomic_ood": 2_000, "pairs_ii": 8_091_000, "held_out": 809_100,
        "test_ii": 1_618_200, "test_io": 1_800_000, "test_oi": 1_800_000, "test_oo": 198_000, "trained": 226_800,
        "train": 246_800,
    }  # fmt: skip
    assert PAPER.phi_max == pytest.approx(809, abs=0.5)
    assert {rows.inputs.shape[1] for rows in data.splits.values()} == {5}
    assert all(len(rows) == 60 for rows in data.splits.values())


def test_counts_at_the_default_size() -> None:
    sizes = Comparison.build(ComparisonOptions(), 0, 1000).sizes
    assert (sizes["atomic"], sizes["trained"], sizes["test_oo"]) == (500, 3600, 450)
    assert ComparisonOptions().vocabulary == 131
    assert ComparisonOptions().phi_max == pytest.approx(80, abs=0.2)


def test_data_is_the_same_on_every_machine() -> None:
    assert (build().hash, build(separators=True).hash) == GOLDEN, (
        "the data of a seed has changed: raise config.NUMERICS, then put the new hashes here"
    )


GOLDEN = ("3e299184a4747f54", "9db96baecdd2dd9e")


def test_a_member_of_a_pack_is_its_solo_run_to_the_bit(tmp_path: Path) -> None:
    """Seed and phi differ between the members, and so does how many examples they have."""
    small = {
        "task": "comparison", "model": {"layers": 2, "loops": 1, "width": 16, "heads": 2},
        "train": {"steps": 12, "batch": 16}, "eval": {"every": 6, "max_examples": 30},
    }  # fmt: skip
    configs = [RunConfig.from_dict({**small, "seed": s, "data": {**SMALL, "phi": phi}}) for s, phi in ((0, 4), (1, 9))]
    packed, solo = Store(tmp_path / "packed"), Store(tmp_path / "solo")
    for store, packs in ((packed, [configs]), (solo, [[config] for config in configs])):
        for members in packs:
            pack = Pack(members, store, "cpu")
            while not pack.finished:
                pack.advance(60.0)
    for config in configs:
        for name in TABLES:
            together, alone = (records.read(RunDir(store, config.run_id), name) for store in (packed, solo))
            assert together.num_rows > 0
            assert repr(together.to_pylist()) == repr(alone.to_pylist()), name  # by repr, as some values are missing


@pytest.mark.parametrize(
    ("changes", "key", "fragment"),
    [
        ({"phi": 30.0}, "data.phi", "30 is above 20.69"),
        ({"ood_fraction": 0.03}, "data.ood_fraction", "0.03 of 30 entities leaves no pair"),
        ({"ood_fraction": 0.97}, "data.ood_fraction", "leaves no pair"),
    ],
)
def test_impossible_options_are_told(changes: dict[str, float], key: str, fragment: str) -> None:
    raw = {"task": "comparison", "data": {**SMALL, **changes}}
    (problem,) = RunConfig.from_dict(raw).problems()
    assert problem.key == key
    assert fragment in problem.message


def test_too_many_values_leave_no_near_pairs_and_that_is_told() -> None:
    with pytest.raises(ValueError, match=r"split .*near_oo is empty for seed 0; .*take fewer values"):
        build(values=200)
