"""Behaviour on the fixed evaluation splits, for all members of a pack in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from grokstudy.trainables.models.network import Network
from grokstudy.trainables.tasks.two_hop import Examples, TaskData
from grokstudy.trainables.training.losses import token_losses

CHUNK = {"cpu": 512, "cuda": 4096}
"""Examples per forward pass: what a core's cache holds, or what keeps a GPU busy in bounded memory."""


@dataclass(frozen=True)
class SplitBatch:
    """One split of every member, padded to the longest; S counts examples."""

    name: str
    tokens_MST: Tensor
    answer_at_MS: Tensor
    answer_MS: Tensor
    bridge_MS: Tensor
    """Bridge token, -1 for atomic facts and padding."""
    real_MS: Tensor
    """False where padded."""
    n: tuple[int, ...]
    """Number of real examples of each member."""

    @classmethod
    def stack(cls, name: str, members: list[Examples], device: torch.device) -> SplitBatch:
        """Pad and stack one split of several members."""
        longest = max(len(examples) for examples in members)

        def stacked(column: str, fill: int) -> Tensor:
            rows = []
            for examples in members:
                values = torch.as_tensor(getattr(examples, column))
                missing = values.new_full((longest - len(values), *values.shape[1:]), fill)
                rows.append(torch.cat([values, missing]))
            return torch.stack(rows).to(device)

        n = tuple(len(examples) for examples in members)
        real = torch.arange(longest, device=device) < torch.tensor(n, device=device)[:, None]
        return cls(
            name, stacked("tokens", 0), stacked("answer_at", 0), stacked("answer", 0), stacked("bridge", -1), real, n
        )

    def keep(self, rows: Tensor) -> SplitBatch:
        """Drop all members but these."""
        return SplitBatch(
            self.name,
            self.tokens_MST[rows],
            self.answer_at_MS[rows],
            self.answer_MS[rows],
            self.bridge_MS[rows],
            self.real_MS[rows],
            tuple(self.n[int(row)] for row in rows),
        )

    def mean(self, value_MS: Tensor) -> Tensor:
        """Mean over the real examples (M,)."""
        total_M = (value_MS.float() * self.real_MS).sum(dim=1)
        return total_M / self.real_MS.sum(dim=1)


@dataclass(frozen=True)
class Behaviour:
    """Accuracy, loss (nats) and logit margin of one split, each (M,)."""

    split: SplitBatch
    accuracy_M: Tensor
    loss_M: Tensor
    margin_M: Tensor


def stack_splits(data: list[TaskData], device: torch.device, cap: int | None = None) -> dict[str, SplitBatch]:
    """The splits of a pack, at most `cap` examples each."""
    names = data[0].splits
    return {name: SplitBatch.stack(name, [d.splits[name].take(slice(cap)) for d in data], device) for name in names}


def evaluate(
    model: Network, weights: dict[str, Tensor], splits: dict[str, SplitBatch], entities: int
) -> list[Behaviour]:
    """Measure every split. Arg max and margin are taken over the entity tokens 0 .. entities - 1."""
    widths = [split.tokens_MST.shape[1] for split in splits.values()]
    columns = [(s.tokens_MST, s.answer_at_MS, s.answer_MS) for s in splits.values()]
    tokens_MST, at_MS, answer_MS = (torch.cat(column, dim=1) for column in zip(*columns, strict=True))
    pieces, size = [], CHUNK[tokens_MST.device.type]
    parts = (torch.split(x, size, dim=1) for x in (tokens_MST, at_MS, answer_MS))
    for tokens, at, answer in zip(*parts, strict=True):
        logits_MSV = model.answer_logits(weights, tokens, at).float()
        pieces.append((token_losses(logits_MSV, answer), margins(logits_MSV, answer, entities)))
    measured = (torch.split(torch.cat(column, dim=1), widths, dim=1) for column in zip(*pieces, strict=True))
    return [
        Behaviour(split, split.mean(margin_MS > 0), split.mean(loss_MS), split.mean(margin_MS))
        for split, loss_MS, margin_MS in zip(splits.values(), *measured, strict=True)
    ]


def margins(logits_MSV: Tensor, answer_MS: Tensor, entities: int) -> Tensor:
    """Logit of the answer minus the largest other entity logit (M, S); positive when the answer is the arg max."""
    entity_logits = logits_MSV[..., :entities]
    answer = answer_MS[..., None]
    own = entity_logits.gather(-1, answer).squeeze(-1)
    others = entity_logits.scatter(-1, answer, -torch.inf)
    return own - others.amax(dim=-1)
