"""How fast a configuration trains on this machine: a few steps, measured, then extended by arithmetic."""

from __future__ import annotations

import dataclasses
import time

import torch

from trainables.batches import Batch
from trainables.config import RunConfig
from trainables.losses import LOSSES
from trainables.model import POSITIONS, Transformer, step_flops
from trainables.optimizer import AdamW

PROBE_FLOPS = 3e9
PROBE_SECONDS = 0.3


def steps_per_second(config: RunConfig, device: str = "cpu", threads: int = 1) -> float:
    """Measured optimiser steps per second of one run alone.

    The batch is cut so that a step stays below a few GFLOP, and the time is scaled by floating-point operations:
    an estimate within tens of per cent, in well under a second.
    """
    torch.set_num_threads(threads)
    vocabulary = config.data.vocabulary
    full = step_flops(config.model, vocabulary, config.train.batch)
    batch = max(1, min(config.train.batch, int(config.train.batch * PROBE_FLOPS / full)))
    small = dataclasses.replace(config, train=dataclasses.replace(config.train, batch=batch))
    seconds = _seconds_per_step(small, torch.device(device))
    return 1.0 / (seconds * full / step_flops(config.model, vocabulary, batch))


def _seconds_per_step(config: RunConfig, device: torch.device) -> float:
    model = Transformer(config.model, config.data.vocabulary)
    flat_MP = model.initial(0)[None].to(device).requires_grad_()
    optimizer = AdamW([config], model.matrix_mask(), device)
    shape = (1, config.train.batch)
    batch = Batch(
        torch.randint(config.data.vocabulary, (*shape, POSITIONS), device=device),
        torch.full(shape, POSITIONS - 1, device=device),
        torch.randint(config.data.vocabulary, shape, device=device),
    )
    lr_M = torch.full((1,), config.optim.lr, device=device)

    def update(step: int) -> None:
        loss_M = LOSSES[config.train.loss](model, model.unpack(flat_MP), batch)
        (grad_MP,) = torch.autograd.grad(loss_M.sum(), flat_MP)
        with torch.no_grad():
            optimizer.step(flat_MP, grad_MP, lr_M, step).cpu()

    update(0)
    begun, count = time.perf_counter(), 0
    while count < 2 or time.perf_counter() - begun < PROBE_SECONDS:
        count += 1
        update(count)
    return (time.perf_counter() - begun) / count
