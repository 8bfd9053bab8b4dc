"""In-context regression against what is known in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.models import build
from grokstudy.trainables.probes.splits import stack_splits
from grokstudy.trainables.tasks.icl_regression import LONG, ICLRegression, RegressionOptions
from grokstudy.trainables.training.evaluate import evaluate
from grokstudy.trainables.training.optimizer import SGD, rates

CPU = torch.device("cpu")


def config_of(**data: Any) -> RunConfig:
    raw = {"task": "icl_regression", "data": data, "model": {"family": "attention", "heads": 1, "values": "fixed"}}
    return RunConfig.from_dict(raw)


def test_features_are_orthonormal_and_labels_are_lipschitz() -> None:
    options = RegressionOptions(features=6, dimension=8, lipschitz=3.0, noise=0.0)
    values = ICLRegression.values([options], [5])
    feature = values["feature_MKD"][0]
    np.testing.assert_allclose(feature @ feature.T, np.eye(6), atol=1e-6)
    rows = ICLRegression.build(options, 5, 200).splits["fresh"]
    x, y = rows.inputs[:, :-1, :-1], rows.inputs[:, :-1, -1]
    slopes = np.abs(y[:, 1:] - y[:, :-1]) / np.maximum(np.linalg.norm(x[:, 1:] - x[:, :-1], axis=-1), 1e-9)
    apart = np.linalg.norm(x[:, 1:] - x[:, :-1], axis=-1) > 1e-3
    assert slopes[apart].max() <= 3.0 + 1e-3
    assert (rows.inputs[:, -1, -1] == 0).all(), "a query does not tell its label"
    assert ICLRegression.build(options, 5, 3).splits["long"].inputs.shape[1] == LONG * options.context + 1


def test_without_noise_perfect_attention_has_no_error_and_uniform_attention_has_the_baselines() -> None:
    config = config_of(noise=0.0, context=32, lipschitz=2.0)
    model = build(config.model, config.example)
    data = ICLRegression.build(config.data, 0, 400)
    splits = stack_splits([data], CPU)
    uniform = {"scores": torch.zeros(1, 1, 8, 8)}
    perfect = {"scores": 1e3 * torch.eye(8)[None, None]}
    with torch.no_grad():
        before, after = (evaluate(model, w, splits, ICLRegression, 1) for w in (uniform, perfect))
    assert float(before[0].scores["relative"]) == pytest.approx(1.0, abs=1e-4)
    there = 1 - (7 / 8) ** 32  # of prompts that have an example with the query's feature
    assert float(after[0].accuracy_M) == pytest.approx(there, abs=0.03)
    assert float(after[0].scores["relative"]) < 0.05


def test_attention_that_looks_at_the_feature_has_all_the_mass_and_uniform_attention_has_chance() -> None:
    from grokstudy.trainables.probes.attention import attention_mass
    from grokstudy.trainables.probes.subject import Subject

    config = config_of(noise=0.0, context=64)
    model = build(config.model, config.example)
    splits = stack_splits([ICLRegression.build(config.data, 0, 400)], CPU)
    mass = {}
    for name, scale in (("uniform", 0.0), ("perfect", 1e3)):
        weights = {"scores": scale * torch.eye(8)[None, None]}
        found = {(m.probe, m.split, m.layer): m for m in attention_mass(Subject(model, weights, splits, 400))}
        mass[name] = float(found["mass_feature", "fresh", None].value_M)
        assert float(found["mass_feature", "fresh", 1].value_M) == mass[name]
    assert mass["uniform"] == pytest.approx(1 / 8, abs=0.01)
    assert mass["perfect"] > 0.999


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_gradient_descent_is_that_of_torch(momentum: float) -> None:
    raw = {"optim": {"name": "sgd", "momentum": momentum, "lr": 0.1, "weight_decay": 0.0, "warmup": 0}}
    config = RunConfig.from_dict(raw)
    stream = torch.Generator().manual_seed(0)
    ours = torch.randn(1, 7, generator=stream)
    theirs = torch.nn.Parameter(ours[0].clone())
    optimizer, reference = SGD([config], torch.ones(7), CPU), torch.optim.SGD([theirs], lr=0.1, momentum=momentum)
    optimizer.begin(ours, [None])
    for step in range(5):
        grad = torch.randn(1, 7, generator=stream)
        theirs.grad = grad[0].clone()
        reference.step()
        norm_M = optimizer.step(ours, grad, rates([config], step, step + 1)[0])
        assert float(norm_M) == pytest.approx(float(grad.norm()))
    torch.testing.assert_close(ours[0], theirs.detach())


def test_decay_of_gradient_descent_is_decoupled() -> None:
    raw = {"optim": {"name": "sgd", "momentum": 0.9, "lr": 0.1, "weight_decay": 0.5, "warmup": 0}}
    optimizer = SGD([RunConfig.from_dict(raw)], torch.ones(2), CPU)
    weights = torch.tensor([[2.0, -4.0]])
    optimizer.begin(weights, [None])
    optimizer.step(weights, torch.zeros(1, 2), rates(optimizer.configs, 0, 1)[0])
    torch.testing.assert_close(weights, torch.tensor([[2.0, -4.0]]) * (1 - 0.1 * 0.5))


def test_an_offset_of_places_is_refused_where_there_are_no_tokens() -> None:
    raw = {"task": "icl_regression", "model": {"family": "decoder", "positions": "learned_offset"}}
    (problem,) = RunConfig.from_dict(raw).problems()
    assert str(problem) == "model.positions: learned_offset needs tokens, and task icl_regression has real inputs"
