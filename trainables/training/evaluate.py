"""Behaviour on the fixed evaluation splits, for all members of a pack in one pass.

Axes: M member, S example of a split, T place, A answer, x what a target or an input has behind its axes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grokstudy.trainables.models.members import stacked
from grokstudy.trainables.models.network import Network, margins
from grokstudy.trainables.tasks.base import NOTHING, Batch, Mechanism, Rows, Task, TaskData
from grokstudy.trainables.training.losses import answer_losses, token_losses

FORWARD_PLACES = {"cpu": 3 * 512, "cuda": 3 * 4096}
"""Places per forward pass: what a core's cache holds, or what keeps a GPU busy in bounded memory."""


@dataclass(frozen=True)
class SplitBatch:
    """One split of every member, padded to the longest; S counts examples."""

    inputs_MSx: Tensor
    at_MSA: Tensor
    target_MSAx: Tensor
    real_MS: Tensor
    """False where padded."""
    weight_MSA: Tensor | None = None
    mechanism_MS: Mechanism = NOTHING
    """What probes look for."""

    @classmethod
    def stack(cls, members: Sequence[Rows], device: torch.device) -> SplitBatch:
        """Pad and stack one split of several members."""
        weights = [e.weight for e in members if e.weight is not None]
        return cls(
            stacked(e.inputs for e in members).to(device), stacked(e.at for e in members).to(device),
            stacked(e.target for e in members).to(device),
            stacked(torch.ones(len(e), dtype=torch.bool) for e in members).to(device),
            stacked(weights).to(device) if weights else None, _stacked([e.mechanism for e in members], device),
        )  # fmt: skip

    def mean(self, value_MS: Tensor) -> Tensor:
        """Mean over the real examples (M,)."""
        total_M = (value_MS.float() * self.real_MS).sum(dim=1)
        return total_M / self.real_MS.sum(dim=1)

    def batch(self) -> Batch:
        """The examples as they are scored."""
        return Batch(self.inputs_MSx, self.at_MSA, self.target_MSAx, self.weight_MSA, self.mechanism_MS)


def _stacked(members: Sequence[Mechanism], device: torch.device) -> Mechanism:
    """What is looked for in every member, padded to the longest."""
    columns = [
        {name: stacked(getattr(m, kind)[name] for m in members).to(device) for name in arrays}
        for kind, arrays in vars(members[0]).items()
    ]
    return Mechanism(*columns)


@dataclass(frozen=True)
class Behaviour:
    """Accuracy, loss and margin of one split, each (M,), and the task's own scores.

    Loss is in nats, or half a squared error; the margin in logits, NaN where outputs are real.
    """

    split: str
    accuracy_M: Tensor
    loss_M: Tensor
    margin_M: Tensor
    scores: Mapping[str, Tensor]


def stack_splits(data: Sequence[TaskData], device: torch.device) -> dict[str, SplitBatch]:
    """The splits of a pack."""
    return {name: SplitBatch.stack([d.splits[name] for d in data], device) for name in data[0].splits}


def evaluate(
    model: Network, weights: dict[str, Tensor], splits: Mapping[str, SplitBatch], task: type[Task], generated: int
) -> list[Behaviour]:
    """Measure every split, with so many examples that run freely. Arg max and margin are over the task's candidates."""
    outputs = answers(model, weights, splits)
    behaviours = [_behaviour(model, task, name, split, outputs[name]) for name, split in splits.items()]
    if not task.generates:
        return behaviours
    return [
        dataclasses.replace(b, scores={**b.scores, **free_running(model, weights, splits[b.split], task, generated)})
        for b in behaviours
    ]


def answers(model: Network, weights: dict[str, Tensor], splits: Mapping[str, SplitBatch]) -> dict[str, Tensor]:
    """Outputs (M, S, A, x) at the answers of each split; splits of equal length go through the model together."""
    alike: dict[tuple[int, ...], list[str]] = {}
    for name, split in splits.items():
        alike.setdefault((*split.inputs_MSx.shape[2:], split.at_MSA.shape[2]), []).append(name)
    outputs: dict[str, Tensor] = {}
    for (length, *_), names in alike.items():
        columns = [(splits[name].inputs_MSx, splits[name].at_MSA) for name in names]
        inputs_MSx, at_MSA = (torch.cat(column, dim=1) for column in zip(*columns, strict=True))
        size = max(1, FORWARD_PLACES[at_MSA.device.type] // max(length, 3))
        pieces = zip(torch.split(inputs_MSx, size, dim=1), torch.split(at_MSA, size, dim=1), strict=True)
        output_MSAx = torch.cat([model.answer_logits(weights, *piece).float() for piece in pieces], dim=1)
        widths = [splits[name].at_MSA.shape[1] for name in names]
        outputs |= dict(zip(names, torch.split(output_MSAx, widths, dim=1), strict=True))
    return outputs


def _behaviour(model: Network, task: type[Task], name: str, split: SplitBatch, output_MSAx: Tensor) -> Behaviour:
    loss_MSA = answer_losses(model, output_MSAx, split.target_MSAx, token_losses)
    scores = task.scores(output_MSAx, split.batch())
    if model.shape.classes:
        low, high = model.shape.range
        margin_MSA = margins(output_MSAx, split.target_MSAx, high, low)
        if split.weight_MSA is not None:  # an answer that is not there is never wrong
            margin_MSA = margin_MSA.masked_fill(split.weight_MSA == 0, torch.inf)
        margin_MS = margin_MSA.amin(dim=2)
        accuracy_M = split.mean(margin_MS > 0)
    else:
        margin_MS = torch.full_like(loss_MSA[..., 0], torch.nan)
        accuracy_M = split.mean(scores["accuracy"])
    own = {key: split.mean(value_MS) for key, value_MS in scores.items() if key != "accuracy"}
    return Behaviour(name, accuracy_M, _weighted(split, loss_MSA), split.mean(margin_MS), own)


def _weighted(split: SplitBatch, loss_MSA: Tensor) -> Tensor:
    """Mean loss (M,) over the answers of the real examples, by their weight."""
    if split.weight_MSA is None:
        return split.mean(loss_MSA.mean(dim=2))
    weight_MSA = split.weight_MSA * split.real_MS[..., None]
    return (loss_MSA * weight_MSA).sum(dim=(1, 2)) / weight_MSA.sum(dim=(1, 2))


def free_running(
    model: Network, weights: dict[str, Tensor], split: SplitBatch, task: type[Task], most: int
) -> dict[str, Tensor]:
    """What the task's `judge` makes of the answers that a model gives one after the other, each fed back (M,)."""
    batch = split.batch()
    batch = Batch(
        batch.inputs_MBx[:, :most], batch.at_MBA[:, :most], batch.target_MBAx[:, :most],
        None if batch.weight_MBA is None else batch.weight_MBA[:, :most],
    )  # fmt: skip
    said = []
    for a in range(batch.at_MBA.shape[2]):
        output_MSx = model.answer_logits(weights, batch.inputs_MBx, batch.at_MBA[:, :, a]).float()
        if model.shape.classes:
            low, high = model.shape.range
            output_MSx = output_MSx[..., low:high].argmax(dim=-1) + low
        said.append(output_MSx)
        batch = task.feed(batch, a, output_MSx)
    real_MS = split.real_MS[:, :most]
    judged = task.judge(torch.stack(said, dim=2), batch)
    return {name: (value_MS.float() * real_MS).sum(dim=1) / real_MS.sum(dim=1) for name, value_MS in judged.items()}
