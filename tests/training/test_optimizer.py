"""AdamW on flat rows against torch.optim.AdamW, and the learning-rate schedule."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.training.optimizer import AdamW, learning_rate, rates

Small = Callable[..., RunConfig]
CASES = [
    {},
    {"lr": 0.05, "beta1": 0.5, "beta2": 0.9, "eps": 1e-3},
    {"weight_decay": 0.0},
    {"clip": 0.1},
    {"decay": "matrices"},
]


@pytest.mark.parametrize("optim", CASES, ids=str)
def test_equals_torch(small: Small, optim: dict[str, object]) -> None:
    config = small(optim={"warmup": 3, **optim})
    generator = torch.Generator().manual_seed(0)
    mask = torch.tensor([1.0, 1.0, 0.0, 0.0])
    flat = torch.randn(1, 4, generator=generator)
    ours, theirs = AdamW([config], mask, torch.device("cpu")), _torch_adamw(config, flat)
    row = flat.clone()
    for step in range(20):
        grad = torch.randn(1, 4, generator=generator)
        ours.step(row, grad, rates([config], step, step + 1)[0])
        _torch_step(theirs, config, grad[0], step)
    expected = torch.cat([p.detach() for group in theirs.param_groups for p in group["params"]])
    torch.testing.assert_close(row[0], expected, rtol=1e-5, atol=1e-6)


def _torch_adamw(config: RunConfig, flat: torch.Tensor) -> torch.optim.AdamW:
    options = config.optim
    groups = [
        {"params": [torch.nn.Parameter(flat[0, :2].clone())], "weight_decay": options.weight_decay},
        {
            "params": [torch.nn.Parameter(flat[0, 2:].clone())],
            "weight_decay": options.weight_decay if options.decay == "all" else 0.0,
        },
    ]
    return torch.optim.AdamW(groups, lr=options.lr, betas=(options.beta1, options.beta2), eps=options.eps)


def _torch_step(optimizer: torch.optim.AdamW, config: RunConfig, grad: torch.Tensor, step: int) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter, piece in zip(parameters, (grad[:2], grad[2:]), strict=True):
        parameter.grad = piece.clone()
    if config.optim.clip is not None:
        torch.nn.utils.clip_grad_norm_(parameters, config.optim.clip)
    for group in optimizer.param_groups:
        group["lr"] = float(learning_rate(config, np.array([step]))[0])
    optimizer.step()


def test_members_have_their_own_hyperparameters(small: Small) -> None:
    configs = [small(optim={"lr": lr, "weight_decay": wd}) for lr, wd in ((0.1, 0.0), (0.01, 1.0))]
    together = AdamW(configs, torch.ones(3), torch.device("cpu"))
    flat, grad = torch.ones(2, 3), torch.tensor([[1.0, -2.0, 3.0]] * 2)
    both = flat.clone()
    for step in range(5):
        together.step(both, grad, rates(configs, step, step + 1)[0])
    for member, config in enumerate(configs):
        alone = AdamW([config], torch.ones(3), torch.device("cpu"))
        row = flat[:1].clone()
        for step in range(5):
            alone.step(row, grad[:1], rates([config], step, step + 1)[0])
        torch.testing.assert_close(both[member], row[0])


def test_warmup_is_linear_and_reaches_the_peak(small: Small) -> None:
    config = small(optim={"lr": 1.0, "warmup": 4})
    assert learning_rate(config, np.arange(6)).tolist() == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_cosine_ends_near_zero_and_its_length_is_part_of_the_run(small: Small) -> None:
    short, long = (small(optim={"schedule": "cosine", "warmup": 0}, train={"steps": n}) for n in (10, 20))
    first, last = learning_rate(short, np.array([0, 10]))
    assert first == short.optim.lr
    assert last == pytest.approx(0.0, abs=1e-12)
    assert short.run_id != long.run_id
