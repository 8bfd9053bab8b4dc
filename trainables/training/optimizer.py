"""Optimisers on the flat rows of a pack, with learning rate, weight decay, betas and momentum per member.

`adamw` is equal to `torch.optim.AdamW` for one member (decoupled weight decay, arXiv 1711.05101), `sgd` to
`torch.optim.SGD` without decay; its decay is decoupled too.
Everything is a handful of operations on (M, P), whatever the number of layers; on a GPU one kernel of torch's for all
members of equal options, which moves 28 bytes per parameter in place of about 110. The average of the weights
(`train.ema`: average <- ema * average + (1 - ema) * weights after each update) is kept here too.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.checkpoint import Checkpoint


def learning_rate(config: RunConfig, step_K: NDArray[np.int64]) -> NDArray[np.float64]:
    """Learning rates (K,) of some updates (from 0): linear warm-up, then constant or cosine to zero."""
    options = config.optim
    rising_K = options.lr * np.minimum(1.0, (step_K + 1) / options.warmup if options.warmup else 1.0)
    if options.schedule == "constant":
        return np.broadcast_to(rising_K, step_K.shape)
    last = config.offset + config.train.steps
    progress_K = (step_K - options.warmup) / max(1, last - options.warmup)
    falling_K = options.lr * 0.5 * (1.0 + np.cos(math.pi * np.minimum(1.0, progress_K)))
    return np.where(step_K < options.warmup, rising_K, falling_K)


RATES = ("lr", "size", "root", "number")
"""What varies from update to update: learning rate, the same over the bias correction of the first moment,
root of the bias correction of the second, and its number from 1."""

LAUNCH = 1 << 18
"""Parameters whose traffic costs about as much as a kernel's launch."""
PIECE = 1 << 13
"""The same for one of the pieces that a kernel works through."""


def rates(configs: list[RunConfig], start: int, stop: int) -> Tensor:
    """RATES (K, R, M) of the updates start .. stop - 1 of each member's own count, on the host."""
    alike = itertools.groupby(configs, key=lambda config: config.offset)
    return torch.cat([_rates(list(group), start + offset, stop + offset) for offset, group in alike], dim=2)


def _rates(configs: list[RunConfig], start: int, stop: int) -> Tensor:
    """The same for members that have had equally many updates before, counted from the first of all."""
    beta1_M, beta2_M = (torch.tensor([getattr(c.optim, name) for c in configs]) for name in ("beta1", "beta2"))
    step_K = np.arange(start, stop)
    lr_KM = torch.from_numpy(np.stack([learning_rate(config, step_K) for config in configs], axis=1)).float()
    size_KM = torch.stack([lr_M / (1.0 - beta1_M**number) for number, lr_M in enumerate(lr_KM, start + 1)])
    root_KM = torch.stack([(1.0 - beta2_M**number).sqrt() for number in range(start + 1, stop + 1)])
    number_KM = torch.arange(start + 1, stop + 1, dtype=torch.float32)[:, None].expand_as(lr_KM)
    return torch.stack([lr_KM, size_KM, root_KM, number_KM], dim=1)


class Optimizer(ABC):
    """Moments, update and average of a pack. Both moments are kept, whatever an optimiser makes of them."""

    columns: ClassVar[tuple[str, ...]]
    """Options that are laid out per member."""

    def __init__(
        self, configs: list[RunConfig], matrix_mask_P: Tensor, device: torch.device, fused: bool = False
    ) -> None:
        """Zero moments for M members of P parameters. `fused`: torch's kernel, where there is one that can do it."""

        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32).to(device)[:, None]

        self.configs, self.fused = configs, fused
        options = [config.optim for config in configs]
        for name in self.columns:
            setattr(self, f"{name}_M1", column([getattr(o, name) for o in options]))
        self.decay_M1 = column([o.weight_decay for o in options])
        self.clip_M1 = column([math.inf if o.clip is None else o.clip for o in options])
        self.clips = any(o.clip is not None for o in options)
        self.mask_P = matrix_mask_P.to(device) if options[0].decay == "matrices" else None
        self.spans = _spans(matrix_mask_P if self.mask_P is not None else torch.ones_like(matrix_mask_P))
        self.mean_MP = torch.zeros(len(configs), len(matrix_mask_P), device=device)
        self.square_MP = torch.zeros_like(self.mean_MP)
        self.ema_M1 = column([config.train.ema for config in configs])
        self.averages = any(config.train.ema > 0 for config in configs)
        self.average_MP: Tensor | None = None

    def begin(self, flat_MP: Tensor, restored: Sequence[Checkpoint | None]) -> None:
        """Take moments and averages from checkpoints; an average begins at the initial weights."""
        self.average_MP = flat_MP.detach().clone() if self.averages else None
        for row, checkpoint in enumerate(restored):
            if checkpoint is not None:
                self.restore(row, checkpoint)

    def restore(self, row: int, checkpoint: Checkpoint) -> None:
        """Take moments and average of one member, into the tensors that are there. Without an average: the weights."""
        self.mean_MP[row] = checkpoint.mean_P.to(self.mean_MP.device)
        self.square_MP[row] = checkpoint.square_P.to(self.mean_MP.device)
        if self.average_MP is not None:
            average_P = checkpoint.flat_P if checkpoint.average_P is None else checkpoint.average_P
            self.average_MP[row] = average_P.to(self.mean_MP.device)

    def evaluated(self, flat_MP: Tensor) -> Tensor:
        """The weights to evaluate: their average, or the weights themselves."""
        return flat_MP.detach() if self.average_MP is None else self.average_MP

    def changed(self) -> list[Tensor]:
        """The tensors here that an update writes."""
        return [x for x in (self.mean_MP, self.square_MP, self.average_MP) if x is not None]

    def checkpoint(self, flat_MP: Tensor, row: int, step: int) -> Checkpoint:
        """The state of one member."""
        average_P = None if self.average_MP is None or self.ema_M1[row] == 0 else self.average_MP[row]
        return Checkpoint(step, flat_MP.detach()[row], self.mean_MP[row], self.square_MP[row], average_P)

    def step(self, flat_MP: Tensor, grad_MP: Tensor, rates_RM: Tensor) -> Tensor:
        """Update the rows in place with their gradient; returns its norm (M,)."""
        norm_M1 = torch.linalg.vector_norm(grad_MP, dim=1, keepdim=True)
        scale_M1 = (self.clip_M1 / (norm_M1 + 1e-6)).clamp(max=1.0) if self.clips else None
        self._update(flat_MP, grad_MP, scale_M1, rates_RM)
        if self.average_MP is not None:
            self.average_MP.lerp_(flat_MP, 1.0 - self.ema_M1)
        norm_M: Tensor = norm_M1.squeeze(1)
        return norm_M

    @abstractmethod
    def _update(self, flat_MP: Tensor, grad_MP: Tensor, scale_M1: Tensor | None, rates_RM: Tensor) -> None:
        """Move weights and moments in place; the gradient, which is clipped by `scale_M1`, may be written over."""

    def _decay(self, flat_MP: Tensor, lr_M1: Tensor) -> None:
        """Decoupled weight decay."""
        decay = 1.0 - lr_M1 * self.decay_M1
        flat_MP.mul_(decay if self.mask_P is None else 1.0 - (1.0 - decay) * self.mask_P)

    def keep(self, rows: Tensor) -> None:
        """Drop all members but these."""
        self.configs = [self.configs[row] for row in rows.tolist()]
        for name in (*(f"{c}_M1" for c in self.columns), "decay_M1", "clip_M1", "ema_M1", "mean_MP", "square_MP"):
            setattr(self, name, getattr(self, name)[rows].contiguous())
        if self.average_MP is not None:
            self.average_MP = self.average_MP[rows].contiguous()


class SGD(Optimizer):
    """Gradient descent, with momentum where there is one; the first moment is the direction that is kept."""

    columns = ("momentum",)
    momentum_M1: Tensor

    def _update(self, flat_MP: Tensor, grad_MP: Tensor, scale_M1: Tensor | None, rates_RM: Tensor) -> None:
        grad_MP = grad_MP if scale_M1 is None else grad_MP * scale_M1
        lr_M1 = rates_RM[RATES.index("lr")][:, None]
        self._decay(flat_MP, lr_M1)
        self.mean_MP.mul_(self.momentum_M1).add_(grad_MP)
        flat_MP.sub_(lr_M1 * self.mean_MP)


class AdamW(Optimizer):
    """Adam with decoupled weight decay."""

    columns = ("beta1", "beta2", "eps")
    beta1_M1: Tensor
    beta2_M1: Tensor
    eps_M1: Tensor

    def _update(self, flat_MP: Tensor, grad_MP: Tensor, scale_M1: Tensor | None, rates_RM: Tensor) -> None:
        groups = self._groups() if self.fused else []
        if scale_M1 is not None and not (groups and len(grad_MP) == 1):
            grad_MP, scale_M1 = grad_MP * scale_M1, None
        if groups:
            self._one_kernel(groups, flat_MP, grad_MP, scale_M1, rates_RM)
        else:
            self._written_out(flat_MP, grad_MP, rates_RM)

    def _written_out(self, flat_MP: Tensor, grad_MP: Tensor, rates_RM: Tensor) -> None:
        lr_M1, size_M1, root_M1, _ = rates_RM[..., None]
        self._decay(flat_MP, lr_M1)
        self.mean_MP.lerp_(grad_MP, 1.0 - self.beta1_M1)
        self.square_MP.mul_(self.beta2_M1).addcmul_(grad_MP, grad_MP * (1.0 - self.beta2_M1))
        root_MP = self.square_MP.sqrt().div_(root_M1).add_(self.eps_M1)
        flat_MP.addcdiv_(self.mean_MP * -size_M1, root_MP)

    def _one_kernel(
        self, groups: list[list[int]], flat_MP: Tensor, grad_MP: Tensor, scale_M1: Tensor | None, rates_RM: Tensor
    ) -> None:
        """`scale_M1` of a member alone: the kernel clips while it reads, and the gradient is not passed once more."""
        for rows, decays in itertools.product(groups, (True, False)):
            options = self.configs[rows[0]].optim
            tensors = (flat_MP, grad_MP, self.mean_MP, self.square_MP)
            flat, grad, mean, square = (self._pieces(x_MP, rows, decays) for x_MP in tensors)
            lr, number = rates_RM[RATES.index("lr"), rows[0]], rates_RM[RATES.index("number"), rows[0]]
            if flat:
                torch._fused_adamw_(
                    flat, grad, mean, square, [], [number] * len(flat), lr=lr,
                    beta1=options.beta1, beta2=options.beta2, eps=options.eps, amsgrad=False, maximize=False,
                    weight_decay=options.weight_decay if decays else 0.0,
                    grad_scale=None if scale_M1 is None else scale_M1[0, 0].reciprocal(),
                )  # fmt: skip

    def _pieces(self, x_MP: Tensor, rows: list[int], decays: bool) -> list[Tensor]:
        """The contiguous pieces of these members that decay, or those that do not."""
        spans = [span for span, decaying in self.spans if decaying == decays]
        if self.mask_P is None and len(rows) == len(x_MP):
            return [x_MP] * len(spans)
        return [x_MP[row, span] for row in rows for span in spans]

    def _groups(self) -> list[list[int]]:
        """Members of equal options, when the groups and their pieces are large enough for a kernel of torch's."""
        groups: dict[object, list[int]] = {}
        for row, config in enumerate(self.configs):
            length = None if config.optim.schedule == "constant" else config.train.steps
            groups.setdefault((config.optim, length, config.offset), []).append(row)
        least = max(LAUNCH * len(groups), PIECE * len(self.configs) * len(self.spans))
        return list(groups.values()) if self.mean_MP.numel() >= least else []


OPTIMIZERS: dict[str, type[Optimizer]] = {"adamw": AdamW, "sgd": SGD}
"""The optimisers by `optim.name`."""


def _spans(mask_P: Tensor) -> list[tuple[slice, bool]]:
    """Runs of equal value, with that value."""
    values, counts = torch.unique_consecutive(mask_P, return_counts=True)
    ends = list(itertools.accumulate(counts.tolist()))
    return [(slice(end - n, end), bool(v)) for v, n, end in zip(values, counts.tolist(), ends, strict=True)]
