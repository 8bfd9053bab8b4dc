"""What an output is worth against a target: what training, evaluation and probes all reckon with.

Axes: M member, S example, A answer, V class, N any of them, x any.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from grokstudy.trainables.models.network import IGNORED, Network, margins
from grokstudy.trainables.tasks.base import Batch

TokenLoss = Callable[[Tensor, Tensor], Tensor]


def answer_losses(model: Network, output_MSAx: Tensor, target_MSAx: Tensor, token_loss: TokenLoss) -> Tensor:
    """Loss of each answer (M, S, A): cross-entropy in nats, or half the squared error, summed over its numbers."""
    if model.shape.classes:
        return token_loss(output_MSAx, target_MSAx)
    return 0.5 * (output_MSAx.float() - target_MSAx).square().sum(dim=-1)


def token_losses(logits_MxV: Tensor, target_Mx: Tensor) -> Tensor:
    """Cross-entropy of each target, in the shape of the targets; 0 where ignored."""
    flat_NV = logits_MxV.reshape(-1, logits_MxV.shape[-1]).float()
    flat = F.cross_entropy(flat_NV, target_Mx.reshape(-1), reduction="none", ignore_index=IGNORED)
    return flat.view(target_Mx.shape)


def answer_margins(model: Network, logits_MSAV: Tensor, rows: Batch) -> Tensor:
    """Smallest margin (M, S) of an example's answers: positive when all that are there are the arg max."""
    low, high = model.shape.range
    margin_MSA = margins(logits_MSAV, rows.target_MBAx, high, low)
    if rows.weight_MBA is not None:  # an answer that is not there is never wrong
        margin_MSA = margin_MSA.masked_fill(rows.weight_MBA == 0, torch.inf)
    return margin_MSA.amin(dim=2)
