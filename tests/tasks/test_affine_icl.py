"""Affine recurrences against arithmetic, least squares by numpy, and models made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.models import build
from grokstudy.trainables.probes.attention import attention_mass
from grokstudy.trainables.probes.lens import value_lens
from grokstudy.trainables.probes.splits import stack_splits
from grokstudy.trainables.probes.subject import Subject
from grokstudy.trainables.tasks.affine_icl import KNOWN, LONG, WIDE, AffineICL, AffineOptions
from grokstudy.trainables.tasks.base import StoredRows
from grokstudy.trainables.training.evaluate import evaluate

CPU = torch.device("cpu")


def rows(split: str, most: int = 300, seed: int = 0, **changes: Any) -> StoredRows:
    found = AffineICL.build(AffineOptions(**changes), seed, most).splits[split]
    assert isinstance(found, StoredRows)
    return found


def whole(examples: StoredRows) -> np.ndarray:
    """Sequences (N, T + 1) with the last value that is asked."""
    return np.concatenate([examples.inputs[:, :, 0], examples.target[:, -1]], axis=1).astype(np.float64)


@pytest.mark.parametrize("slope", [1.0, 0.5])
@pytest.mark.parametrize("split", list(AffineICL.splits))
def test_one_slope_and_shift_explain_a_sequence(split: str, slope: float) -> None:
    examples = rows(split, slope=slope)
    x = whole(examples)
    assert x.shape[1] == 12 * (LONG if split == "long" else 1) + 1
    np.testing.assert_array_equal(examples.target[:, :-1, 0], examples.inputs[:, 1:, 0])
    assert (examples.at == np.arange(x.shape[1] - 1)).all()
    apart = x[:, 1] - x[:, 0]
    clear = np.abs(apart) > 0.05  # x_2 - x_1 = a (x_1 - x_0)
    a = (x[:, 2] - x[:, 1])[clear] / apart[clear]
    b = x[clear, 1] - a * x[clear, 0]
    np.testing.assert_allclose(x[clear, 1:], a[:, None] * x[clear, :-1] + b[:, None], atol=2e-4 * np.abs(x).max())
    low, high = (slope, WIDE * slope) if split == "wide" else (0, slope)
    assert low - 1e-4 <= np.abs(a).min() <= low + 0.03
    assert high - 0.03 <= np.abs(a).max() <= high + 1e-4
    assert abs(np.mean(a < 0) - 0.5) < 0.1
    for drawn in (b, x[:, 0]):
        assert 0.95 < np.abs(drawn).max() <= 1 + 1e-4
        assert abs(drawn.mean()) < 0.12


def test_no_tested_sequence_is_trained() -> None:
    values = {name: torch.from_numpy(x) for name, x in AffineICL.values([AffineOptions()], [0]).items()}
    drawn = AffineICL.draw(AffineOptions(), values, None, torch.arange(20_000)[None] * 7919 + 12345)
    trained = set(map(bytes, drawn.inputs_MBx[0, :, :3, 0].contiguous().numpy()))
    assert len(trained) == 20_000
    assert not trained & {bytes(np.ascontiguousarray(x)) for x in rows("fresh", 1000).inputs[:, :3, 0]}


def test_the_data_of_a_seed_stay_what_they_are() -> None:
    told = "the data of a seed has changed: raise config.NUMERICS, put the hash here"
    assert AffineICL.build(AffineOptions(), 0, 50).hash == "8118e30b007e9a44", told


def least_squares(x: np.ndarray, answer: int) -> float:
    """What numpy's solver, which takes the shortest of several solutions, says behind the places 0 .. answer."""
    seen = x[: answer + 1]
    design = np.stack([seen[:-1] - seen[:-1].mean(), np.ones(answer)], axis=1)
    slope, mean = np.linalg.lstsq(design, seen[1:], rcond=None)[0]
    return float(mean + slope * (seen[-1] - seen[:-1].mean()))


def test_least_squares_are_those_of_numpy_and_exact_from_the_third_answer_on() -> None:
    examples = rows("fresh", 40)
    said = examples.mechanism.notes["least_squares"]
    assert (said[:, 0] == 0).all()
    for x, line in zip(whole(examples), said, strict=True):
        found = [least_squares(x, answer) for answer in range(1, 12)]
        np.testing.assert_allclose(line[1:], found, atol=1e-4)
    np.testing.assert_allclose(said[:, 1], examples.inputs[:, 1, 0], err_msg="of one transition, the later value")
    np.testing.assert_allclose(said[:, KNOWN:], examples.target[:, KNOWN:, 0], atol=1e-4)


def config_of(layers: int = 1, **data: Any) -> RunConfig:
    raw = {
        "task": "affine_icl", "data": data,
        "model": {"layers": layers, "loops": 1, "width": 32, "heads": 1, "mlp_ratio": 1, "norm": "rmsnorm"},
    }  # fmt: skip
    config = RunConfig.from_dict(raw)
    assert config.problems() == []
    return config


@pytest.mark.parametrize(
    "changes", [{}, {"model": {"layers": 3, "loops": 1, "positions": "none"}}, {"data": {"length": 64}}]
)
def test_sizes_that_a_paper_may_have_are_accepted(changes: dict[str, Any]) -> None:
    config = RunConfig.from_dict({"task": "affine_icl", **changes})
    assert config.problems() == []
    assert set(AffineICL.build(config.data, 0, 5).splits) == set(AffineICL.splits)


SHARP, STEADY = 60.0, 100.0


def made(config: RunConfig, back: int | None, gain: float = 1.0) -> Subject:
    """A model of one block whose head looks so many places back, or evenly, and whose readout is `gain` times x_n.

    A large constant in every state keeps norms from taking the size out of x. The head puts out nothing.
    """
    model = build(config.model, config.example)
    weights = {p.name: torch.zeros(1, *p.shape) for p in model.parameters}
    for name in ("0.norm1", "0.norm2", "norm_final"):
        weights[name] += 1.0
    width, places = config.model.width, config.example.longest
    weights["input"][0, 0, 0] = 1.0
    weights["position"][0, :, 1] = STEADY
    weights["position"][0, torch.arange(places), 2 + torch.arange(places)] = 1.0
    scale = STEADY / width**0.5
    weights["unembed"][0, 0, 0] = gain * scale
    query, key, _ = weights["0.qkv"][0].view(width, 3, width).unbind(1)
    if back is not None:
        later = torch.arange(back, places)
        query[2 + later, 2 + later - back] = SHARP * scale
        key[2 + torch.arange(places), 2 + torch.arange(places)] = SHARP * scale
    splits = stack_splits([AffineICL.build(config.data, 0, 300)], CPU)
    return Subject(model, weights, splits, 300)


def behaviour(subject: Subject) -> dict[str, dict[str, float]]:
    with torch.no_grad():
        found = evaluate(subject.model, subject.weights, subject.splits, AffineICL, 1)
    return {b.split: {k: v.item() for k, v in {"accuracy": b.accuracy_M, **b.scores}.items()} for b in found}


def test_a_model_that_copies_has_the_error_of_saying_the_value_again() -> None:
    subject = made(config_of(), 1)
    for split, scores in behaviour(subject).items():
        assert scores["nmse"] == pytest.approx(scores["persistence"], rel=0.02), split
        assert scores["relative"] == pytest.approx(1, rel=0.02)
        assert scores["least_squares"] < 1e-6
    follows = {(m.probe, m.split, m.layer): m.value_M.item() for m in value_lens(subject)}
    examples = rows("fresh")
    between = np.corrcoef(examples.inputs[:, :, 0].ravel(), examples.target[:, :, 0].ravel())[0, 1]
    assert follows["follows_now", "fresh", None] == follows["follows_now", "fresh", 1] == pytest.approx(1, abs=1e-3)
    assert follows["follows_next", "fresh", 1] == pytest.approx(between, abs=5e-3)


def test_a_model_that_says_nothing_follows_nothing_and_errs_by_the_variance() -> None:
    subject = made(config_of(), None, gain=0.0)
    examples = rows("fresh")
    known = examples.target[:, KNOWN:, 0]
    scores = behaviour(subject)["fresh"]
    assert scores["nmse"] == pytest.approx(np.mean(known**2) / known.var(), rel=1e-4)
    assert scores["first"] == pytest.approx(np.mean(examples.target[:, 0] ** 2) / known.var(), rel=1e-4)
    assert scores["accuracy"] == pytest.approx(np.mean((np.abs(known) <= 0.1).all(1)), abs=1e-6)
    assert all(np.isnan(m.value_M.item()) for m in value_lens(subject))


class Solver:
    """Stands for a network that says what least squares say."""

    def __init__(self, config: RunConfig) -> None:
        self.shape = config.example

    def takes_prefixes(self, inputs_MBx: Tensor) -> bool:
        return False

    def answer_logits(self, weights: Any, inputs_MBx: Tensor, at_MBA: Tensor) -> Tensor:
        x = inputs_MBx[..., 0].double().numpy()
        said = np.zeros(x.shape)
        for index in np.ndindex(*x.shape[:2]):
            said[index][1:] = [least_squares(x[index], answer) for answer in range(1, x.shape[2])]
        return torch.from_numpy(said).float()[..., None]


def test_a_model_that_knows_the_rule_has_no_error_from_the_third_answer_on() -> None:
    config = config_of(length=6)
    splits = stack_splits([AffineICL.build(config.data, 0, 40)], CPU)
    for found in evaluate(Solver(config), {}, splits, AffineICL, 1):  # type: ignore[arg-type]
        assert found.accuracy_M.item() == 1
        assert found.scores["nmse"].item() < 1e-6 > found.scores["third"].item()
        assert found.scores["second"].item() > 1e-3
        assert torch.isnan(found.margin_M).all()


def masses(subject: Subject) -> dict[tuple[str, str], float]:
    return {(m.probe, m.split): m.value_M.item() for m in attention_mass(subject) if m.layer is None}


def test_a_head_that_looks_back_has_all_of_its_mass_there_and_an_even_one_its_share() -> None:
    before, even = masses(made(config_of(), 1)), masses(made(config_of(), None))
    n = np.arange(1, 12)
    assert before["mass_before", "fresh"] == pytest.approx(1, abs=1e-3)
    assert masses(made(config_of(), 2))["mass_before", "fresh"] < 0.1
    assert even["mass_before", "fresh"] == pytest.approx(np.mean(1 / (n + 1)), rel=1e-3)
    halves = np.mean((n[1:] // 2) / (n[1:] + 1))
    assert even["mass_alike", "fresh"] == even["mass_unlike", "fresh"] == pytest.approx(halves, rel=1e-3)


def test_alike_and_unlike_are_halves_by_distance_from_the_current_value() -> None:
    examples = rows("fresh", 60)
    look = examples.mechanism.look
    for i, x in enumerate(examples.inputs[:, :, 0]):
        for n in range(12):
            apart = np.abs(x[:n] - x[n])
            alike, unlike = look["alike"][i, n], look["unlike"][i, n]
            assert not alike[n:].any()
            assert not unlike[n:].any()
            assert alike.sum() == unlike.sum() == n // 2
            if n >= 2:
                assert apart[alike[:n]].max() <= apart[unlike[:n]].min()
            assert np.flatnonzero(look["before"][i, n]).tolist() == ([n - 1] if n else [])
