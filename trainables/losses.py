"""Training losses, per member of a pack."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.batches import Batch
from trainables.model import Transformer

IGNORED = -100


def answer_loss(model: Transformer, weights: dict[str, Tensor], batch: Batch) -> Tensor:
    """Mean cross-entropy (M,) of the answer, in nats."""
    logits_MBV = model.answer_logits(weights, batch.tokens_MBT, batch.answer_at_MB)
    return token_losses(logits_MBV, batch.answer_MB).mean(dim=1)


def all_tokens_loss(model: Transformer, weights: dict[str, Tensor], batch: Batch) -> Tensor:
    """Mean cross-entropy (M,) over every next token up to the answer, each position weighing the same, in nats."""
    logits_MBTV = model.unembed(weights, model.residual(weights, batch.tokens_MBT))
    target_MBT = next_tokens(batch)
    losses_MBT = token_losses(logits_MBTV, target_MBT)
    counted_M = (target_MBT != IGNORED).sum(dim=(1, 2))
    return losses_MBT.sum(dim=(1, 2)) / counted_M


def next_tokens(batch: Batch) -> Tensor:
    """Targets (M, B, T): the following input token, the answer at its place, ignored behind it."""
    shifted = F.pad(batch.tokens_MBT[:, :, 1:], (0, 1), value=IGNORED)
    place = torch.arange(shifted.shape[2], device=shifted.device)
    answer_at = batch.answer_at_MB[:, :, None]
    target = torch.where(place == answer_at, batch.answer_MB[:, :, None], shifted)
    return target.masked_fill(place > answer_at, IGNORED)


def token_losses(logits_MxV: Tensor, target_Mx: Tensor) -> Tensor:
    """Cross-entropy of each target, in the shape of the targets; 0 where ignored."""
    flat_NV = logits_MxV.reshape(-1, logits_MxV.shape[-1]).float()
    flat = F.cross_entropy(flat_NV, target_Mx.reshape(-1), reduction="none", ignore_index=IGNORED)
    return flat.view(target_Mx.shape)


LOSSES = {"answer": answer_loss, "all_tokens": all_tokens_loss}
