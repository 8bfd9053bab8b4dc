"""Training losses, per member of a pack, in nats: cross-entropy of which tokens, with which normaliser.

`stablemax` (arXiv 2501.04697) takes s(x) = x + 1 for x >= 0 and 1 / (1 - x) below in place of exp(x), in float64:
the loss of the released code of arXiv 2601.09049.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from grokstudy.trainables.models.answers import TokenLoss, answer_losses, token_losses
from grokstudy.trainables.models.network import IGNORED, Network
from grokstudy.trainables.registry import Registry
from grokstudy.trainables.tasks.base import Batch

Loss = Callable[[Network, dict[str, Tensor], Batch], Tensor]


def answer_loss(model: Network, weights: dict[str, Tensor], batch: Batch, token_loss: TokenLoss) -> Tensor:
    """Mean loss (M,) of the answers of a batch, weighted where the task weighs them."""
    output_MBAx = model.answer_logits(weights, batch.inputs_MBx, batch.at_MBA)
    loss_MBA = answer_losses(model, output_MBAx, batch.target_MBAx, token_loss)
    if batch.weight_MBA is None:
        return loss_MBA.mean(dim=(1, 2))
    return (loss_MBA * batch.weight_MBA).sum(dim=(1, 2)) / batch.weight_MBA.sum(dim=(1, 2))


def all_tokens_loss(model: Network, weights: dict[str, Tensor], batch: Batch, token_loss: TokenLoss) -> Tensor:
    """Mean cross-entropy (M,) over every token that the family is to say, of examples with one answer.

    Each token weighs the same, or each example where the family takes its mean first.
    """
    logits_MBTV = model.unembed(weights, model.residual(weights, batch.inputs_MBx))
    target_MBT = model.targets(batch.inputs_MBx, batch.at_MBA[..., 0], batch.target_MBAx[..., 0])
    losses_MBT = token_loss(logits_MBTV, target_MBT)
    counted_MBT = target_MBT != IGNORED
    if model.mean_per_example:
        return (losses_MBT.sum(dim=2) / counted_MBT.sum(dim=2)).mean(dim=1)
    return losses_MBT.sum(dim=(1, 2)) / counted_MBT.sum(dim=(1, 2))


def stablemax_losses(logits_MxV: Tensor, target_Mx: Tensor) -> Tensor:
    """Cross-entropy of each target under stablemax, in the shape of the targets; 0 where ignored."""
    logits_MxV = logits_MxV.double()
    below = 1 / (1 - logits_MxV.clamp(max=0))
    score_MxV = torch.where(logits_MxV < 0, below, logits_MxV + 1)
    own_Mx = score_MxV.gather(-1, target_Mx.clamp(min=0)[..., None]).squeeze(-1)
    losses_Mx = score_MxV.sum(dim=-1).log() - own_Mx.log()
    return losses_Mx.masked_fill(target_Mx == IGNORED, 0.0).float()


answer = partial(answer_loss, token_loss=token_losses)
all_tokens = partial(all_tokens_loss, token_loss=token_losses)
answer_stablemax = partial(answer_loss, token_loss=stablemax_losses)
all_tokens_stablemax = partial(all_tokens_loss, token_loss=stablemax_losses)

LOSSES: Registry[Loss] = Registry(
    "loss",
    {
        "answer": "trainables.training.losses:answer",
        "all_tokens": "trainables.training.losses:all_tokens",
        "answer_stablemax": "trainables.training.losses:answer_stablemax",
        "all_tokens_stablemax": "trainables.training.losses:all_tokens_stablemax",
    },
)
