"""The probe `swap` on transformers whose weights are set by hand: the answer after each exchange is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from handmade import Written, values
from handmade_values import OPTIONS, compares, knows_by_heart, no_reader, subject, world

from grokstudy.trainables.probes.swap import _written, swap
from grokstudy.trainables.tasks.base import StoredRows
from grokstudy.trainables.tasks.comparison import World

DATA, TRUTH = world()
COMPARED = [name for name in DATA.splits if not name.startswith("atomic")]
Found = dict[tuple[str, str, int | None, str | None], float]
Make = Callable[[World], Written]


def measured(make: Make) -> Found:
    return values(list(swap(subject(make(TRUTH), DATA))))


def in_own_attribute(split: str) -> float:
    """Share of donors of another attribute whose entity has, in the receiver's, a value that gives the same label."""
    mechanism = DATA.splits[split].mechanism
    a, _, e2 = DATA.splits[split].inputs.T
    other, expected = mechanism.donor["value"][:, 1], mechanism.swap["value"][:, -1]
    a = a - OPTIONS.entities
    label = OPTIONS.first_label + 3 * a + np.sign(TRUTH.value_EA[other, a] - TRUTH.value_EA[e2, a]) + 1
    return float(np.mean((label == expected)[expected >= 0]))


def test_where_a_value_decides_any_other_attributes_value_does() -> None:
    found = measured(compares)
    for split in COMPARED:
        for name in ("value", "entity"):
            assert found[f"swap_{name}", split, None, None] == 1.0
            depths = [found[f"swap_{name}", split, depth, f"at_{name}"] for depth in range(3)]
            assert depths[1:] == [1.0, 0.0], "in block 1 the value is looked up, after block 2 nobody looks"
        assert found["swap_value", split, 0, "at_value"] == pytest.approx(in_own_attribute(split))
        assert found["swap_entity", split, 0, "at_entity"] == 1.0, "the entity itself, before it is looked up"


def test_a_model_that_knows_pairs_by_heart_follows_the_entity_and_not_the_value() -> None:
    """So exchanges within an attribute show nothing, and those across attributes stay at chance."""
    found = measured(knows_by_heart)
    for split in COMPARED:
        assert found["swap_entity", split, None, None] == 1.0
        assert found["swap_value", split, None, None] == pytest.approx(in_own_attribute(split))
    assert np.mean([in_own_attribute(split) for split in COMPARED]) < 0.55


def test_a_value_that_nothing_follows_from_changes_no_answer() -> None:
    found = measured(no_reader)
    assert {value for (_, _, layer, _), value in found.items() if layer is None} == {0.0}


def test_rows_without_a_donor_are_not_counted_and_none_at_all_is_a_missing_number() -> None:
    rows = DATA.splits["near_oo"]
    assert isinstance(rows, StoredRows)

    def only(which: np.ndarray) -> list[tuple[float, int]]:
        exchange = rows.mechanism.swap["value"].copy()
        exchange[~which, -1] = -1
        mechanism = dataclasses.replace(
            rows.mechanism, swap={"value": exchange}, donor={"value": rows.mechanism.donor["value"]}
        )
        data = dataclasses.replace(DATA, splits={"near_oo": dataclasses.replace(rows, mechanism=mechanism)})
        return [(float(m.value_M), int(m.n_M)) for m in swap(subject(compares(TRUTH), data)) if m.layer is None]

    there = rows.mechanism.swap["value"][:, -1] >= 0
    few = there & (np.cumsum(there) <= 5)
    assert only(few) == [(1.0, 5)]
    ((value, n),) = only(np.zeros(len(rows), bool))
    assert math.isnan(value)
    assert n == 0


def test_states_are_written_at_the_named_places_and_nowhere_else() -> None:
    own, donor = torch.zeros(1, 2, 5, 3), torch.arange(1.0, 31.0).view(1, 2, 5, 3)
    written = _written(own, donor, torch.tensor([[[2, 3], [0, 4]]]))
    for row, places in enumerate(((2, 3), (0, 4))):
        for place in range(5):
            expected = donor[0, row, place] if place in places else torch.zeros(3)
            assert torch.equal(written[0, row, place], expected)
