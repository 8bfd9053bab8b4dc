"""The probe `lens` on transformers whose weights are set by hand: what it reads is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from handmade import Written, values
from handmade_values import compares, knows_by_heart, no_reader, subject, world

from grokstudy.trainables.config import Model
from grokstudy.trainables.models import build
from grokstudy.trainables.probes.lens import lens
from grokstudy.trainables.probes.splits import stack_splits
from grokstudy.trainables.probes.subject import Subject
from grokstudy.trainables.tasks.base import Mechanism, StoredRows
from grokstudy.trainables.tasks.comparison import Comparison, World
from grokstudy.trainables.training.evaluate import evaluate

DATA, TRUTH = world()
COMPARED = [name for name in DATA.splits if not name.startswith("atomic")]
Make = Callable[[World], Written]


@pytest.mark.parametrize(("make", "accuracy"), [(compares, 1.0), (knows_by_heart, 1.0), (no_reader, 0.0)])
def test_the_models_answer_what_they_are_made_to_answer(make: Make, accuracy: float) -> None:
    seen = subject(make(TRUTH), DATA)
    found = {b.split: float(b.accuracy_M) for b in evaluate(seen.model, seen.weights, seen.splits, Comparison, 1)}
    assert {found[name] for name in COMPARED} == {accuracy}


@pytest.mark.parametrize("make", [compares, no_reader])
@pytest.mark.parametrize("name", ["v1", "v2"])
def test_values_are_read_where_they_are_whether_they_are_used_or_not(make: Make, name: str) -> None:
    found = values(list(lens(subject(make(TRUTH), DATA))))
    for split in COMPARED:
        assert found[f"lens_{name}", split, None, None] == found[f"lens_{name}", split, 1, f"at_{name}"] == 1.0
        assert found[f"lens_{name}", split, 0, f"at_{name}"] < 0.6, "not before they are looked up"


def test_nothing_is_read_where_no_value_is() -> None:
    """All values tie, and the first that there is counts as read: what share of entities has it."""
    found = values(list(lens(subject(knows_by_heart(TRUTH), DATA))))
    for split in COMPARED:
        for name, latent in DATA.splits[split].mechanism.latent.items():
            lowest = np.mean(latent[:, 1] == latent[:, 1].min())
            assert found[f"lens_{name}", split, None, None] == pytest.approx(lowest)


def test_a_member_of_a_pack_is_measured_as_alone_and_one_possible_value_is_always_read() -> None:
    model = build(Model(layers=2, loops=1, width=16, heads=2), Comparison.shape(Comparison.Options()))
    both = [Comparison.build(Comparison.Options(), seed, 200) for seed in (0, 1)]
    latents = [data.splits["near_oo"].mechanism.latent["v1"] for data in both]
    one = np.where(latents[1][:, 1:] == latents[1][0, 1], latents[1], np.array([0, -1]))
    asked = [
        dataclasses.replace(data, splits={"near_oo": dataclasses.replace(rows, mechanism=Mechanism(latent={"v1": x}))})
        for data, x in zip(both, (latents[0], one), strict=True)
        if isinstance(rows := data.splits["near_oo"], StoredRows)
    ]
    flat_MP = torch.stack([model.initial(seed) for seed in (0, 1)])

    def measured(members: list[int]) -> list[list[float]]:
        weights = model.unpack(flat_MP[members])
        splits = stack_splits([asked[i] for i in members], torch.device("cpu"))
        return [m.value_M.tolist() for m in lens(Subject(model, weights, splits, 200))]

    together, alone = measured([0, 1]), [measured([0]), measured([1])]
    assert together == [[*first, *second] for first, second in zip(*alone, strict=True)]
    assert {value for (value,) in alone[1]} == {1.0}
    assert max(value for (value,) in alone[0]) < 1.0
