"""Behaviour on the fixed evaluation splits, for all members of a pack in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from grokstudy.trainables.models.members import stacked
from grokstudy.trainables.models.network import Network, margins
from grokstudy.trainables.tasks.graph import Examples, TaskData
from grokstudy.trainables.training.losses import token_losses

FORWARD_EXAMPLES = {"cpu": 512, "cuda": 4096}
"""Examples per forward pass: what a core's cache holds, or what keeps a GPU busy in bounded memory."""


@dataclass(frozen=True)
class SplitBatch:
    """One split of every member, padded to the longest; S counts examples."""

    tokens_MST: Tensor
    answer_at_MS: Tensor
    answer_MS: Tensor
    real_MS: Tensor
    """False where padded."""

    @classmethod
    def stack(cls, members: list[Examples], device: torch.device) -> SplitBatch:
        """Pad and stack one split of several members."""
        columns = [stacked(getattr(e, name) for e in members) for name in ("tokens", "answer_at", "answer")]
        real_MS = stacked(torch.ones(len(e), dtype=torch.bool) for e in members)
        return cls(*(column.to(device) for column in (*columns, real_MS)))

    def mean(self, value_MS: Tensor) -> Tensor:
        """Mean over the real examples (M,)."""
        total_M = (value_MS.float() * self.real_MS).sum(dim=1)
        return total_M / self.real_MS.sum(dim=1)


@dataclass(frozen=True)
class Behaviour:
    """Accuracy, loss (nats) and logit margin of one split, each (M,)."""

    split: str
    accuracy_M: Tensor
    loss_M: Tensor
    margin_M: Tensor


def stack_splits(data: list[TaskData], device: torch.device) -> dict[str, SplitBatch]:
    """The splits of a pack."""
    return {name: SplitBatch.stack([d.splits[name] for d in data], device) for name in data[0].splits}


def evaluate(
    model: Network, weights: dict[str, Tensor], splits: dict[str, SplitBatch], entities: int
) -> list[Behaviour]:
    """Measure every split. Arg max and margin are taken over the entity tokens 0 .. entities - 1."""
    widths = [split.tokens_MST.shape[1] for split in splits.values()]
    columns = [(s.tokens_MST, s.answer_at_MS, s.answer_MS) for s in splits.values()]
    tokens_MST, at_MS, answer_MS = (torch.cat(column, dim=1) for column in zip(*columns, strict=True))
    size = FORWARD_EXAMPLES[tokens_MST.device.type]
    batches = (torch.split(x, size, dim=1) for x in (tokens_MST, at_MS, answer_MS))
    measured = []
    for tokens, at, answer in zip(*batches, strict=True):
        logits_MSV = model.answer_logits(weights, tokens, at).float()
        measured.append((token_losses(logits_MSV, answer), margins(logits_MSV, answer, entities)))
    by_split = (torch.split(torch.cat(column, dim=1), widths, dim=1) for column in zip(*measured, strict=True))
    return [
        Behaviour(name, split.mean(margin_MS > 0), split.mean(loss_MS), split.mean(margin_MS))
        for (name, split), loss_MS, margin_MS in zip(splits.items(), *by_split, strict=True)
    ]
