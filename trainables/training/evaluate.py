"""Behaviour on the fixed evaluation splits, for all members of a pack in one pass.

Axes: M member, S example of a split, T place, A answer, x what a target or an input has behind its axes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grokstudy.trainables.models.answers import answer_losses, answer_margins, token_losses
from grokstudy.trainables.models.network import Network
from grokstudy.trainables.models.prefixes import Prefixes, at_once
from grokstudy.trainables.probes.splits import SplitBatch
from grokstudy.trainables.tasks.base import Task
from grokstudy.trainables.words import GOLDEN, several, splitmix64, uniform


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


@dataclass(frozen=True)
class Group:
    """Splits of equal length, which go through the model together."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    inputs_MSx: Tensor
    at_MSA: Tensor
    prefixes: Prefixes | None
    """Of the examples, where the model takes such."""
    row_MSA: Tensor
    """Where the answers are among them."""

    def answers(self, model: Network, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Outputs (M, S, A, x) at the answers of each split."""
        if self.prefixes is not None:
            output_MSAx = model.answers_of_prefixes(weights, self.prefixes, self.row_MSA).float()
        else:
            size = at_once(self.inputs_MSx)
            columns = (torch.split(self.inputs_MSx, size, dim=1), torch.split(self.at_MSA, size, dim=1))
            pieces = [model.answer_logits(weights, *piece).float() for piece in zip(*columns, strict=True)]
            output_MSAx = torch.cat(pieces, dim=1)
        return dict(zip(self.names, torch.split(output_MSAx, [*self.sizes], dim=1), strict=True))


def grouped(model: Network, splits: Mapping[str, SplitBatch]) -> list[Group]:
    """All splits, those of equal length beside each other."""
    alike: dict[tuple[int, ...], list[str]] = {}
    for name, split in splits.items():
        alike.setdefault((*split.inputs_MSx.shape[2:], split.at_MSA.shape[2]), []).append(name)
    groups = []
    for names in alike.values():
        columns = [(splits[name].inputs_MSx, splits[name].at_MSA) for name in names]
        inputs_MSx, at_MSA = (torch.cat(column, dim=1) for column in zip(*columns, strict=True))
        prefixes, row_MSA = None, at_MSA
        if model.takes_prefixes(inputs_MSx):
            prefixes = Prefixes.of(inputs_MSx, at_MSA.amax(dim=2))
            row_MSA = prefixes.rows(inputs_MSx).gather(2, at_MSA)
        sizes = tuple(splits[name].at_MSA.shape[1] for name in names)
        groups.append(Group(tuple(names), sizes, inputs_MSx, at_MSA, prefixes, row_MSA))
    return groups


def evaluate(
    model: Network,
    weights: dict[str, Tensor],
    splits: Mapping[str, SplitBatch],
    task: type[Task],
    generated: int,
    temperature: float = 0.0,
    groups: Sequence[Group] | None = None,
) -> list[Behaviour]:
    """Measure every split, with so many examples that run freely. Arg max and margin are over the task's candidates.

    `groups`: what `grouped` made of the splits, where they are evaluated again and again.
    """
    outputs: dict[str, Tensor] = {}
    for group in grouped(model, splits) if groups is None else groups:
        outputs |= group.answers(model, weights)
    behaviours = [_behaviour(model, task, name, split, outputs[name]) for name, split in splits.items()]
    if not task.generates:
        return behaviours
    free = {name: free_running(model, weights, split, task, generated, temperature) for name, split in splits.items()}
    return [dataclasses.replace(b, scores={**b.scores, **free[b.split]}) for b in behaviours]


def _behaviour(model: Network, task: type[Task], name: str, split: SplitBatch, output_MSAx: Tensor) -> Behaviour:
    loss_MSA, rows = answer_losses(model, output_MSAx, split.target_MSAx, token_losses), split.batch()
    scores = task.scores(output_MSAx, rows)
    if model.shape.classes:
        margin_MS = answer_margins(model, output_MSAx, rows)
    else:
        margin_MS = torch.full_like(loss_MSA[..., 0], torch.nan)
    accuracy_M = split.mean(scores.get("accuracy", margin_MS > 0))
    own = {key: split.mean(value_MS) for key, value_MS in scores.items() if key != "accuracy"}
    return Behaviour(name, accuracy_M, _weighted(split, loss_MSA), split.mean(margin_MS), own)


def _weighted(split: SplitBatch, loss_MSA: Tensor) -> Tensor:
    """Mean loss (M,) over the answers of the real examples, by their weight."""
    if split.weight_MSA is None:
        return split.mean(loss_MSA.mean(dim=2))
    weight_MSA = split.weight_MSA * split.real_MS[..., None]
    return (loss_MSA * weight_MSA).sum(dim=(1, 2)) / weight_MSA.sum(dim=(1, 2))


def free_running(
    model: Network, weights: dict[str, Tensor], split: SplitBatch, task: type[Task], most: int, temperature: float = 0.0
) -> dict[str, Tensor]:
    """What the task's `judge` makes of the answers that a model gives one after the other, each fed back (M,).

    Without a temperature an answer is the largest logit, else it is drawn.
    """
    batch, predictions = split.batch().first(most), []
    word_MS = _words_of(batch.inputs_MBx) if temperature else None
    for a in range(batch.at_MBA.shape[2]):
        output_MSx = model.answer_logits(weights, batch.inputs_MBx, batch.at_MBA[:, :, a]).float()
        if word_MS is not None:
            output_MSx = output_MSx / temperature + _gumbel(word_MS, a, output_MSx.shape[-1])
        predictions.append(model.said(output_MSx) if model.shape.classes else output_MSx)
        batch = task.feed(batch, a, predictions[-1])
    real_MS = split.real_MS[:, :most]
    judged = task.judge(torch.stack(predictions, dim=2), batch)
    return {name: _mean(value_MS.float(), real_MS) for name, value_MS in judged.items()}


def _mean(value_MS: Tensor, real_MS: Tensor) -> Tensor:
    """Mean (M,) over the real examples that have a value, NaN where there is none."""
    mask_MS = real_MS & ~value_MS.isnan()
    return torch.where(mask_MS, value_MS, 0.0).sum(dim=1) / mask_MS.sum(dim=1)


def _words_of(inputs_MSx: Tensor) -> Tensor:
    """A 64-bit word (M, S) of each example, of its content: what is drawn for it is the same at every evaluation."""
    content_MSx = inputs_MSx.flatten(2)
    content_MSx = content_MSx.view(torch.int32).long() if content_MSx.is_floating_point() else content_MSx
    word_MS = torch.zeros_like(content_MSx[:, :, 0])
    for x in range(content_MSx.shape[2]):
        word_MS = splitmix64(word_MS * GOLDEN + content_MSx[:, :, x] + 1)
    return word_MS


def _gumbel(word_MS: Tensor, answer: int, classes: int) -> Tensor:
    """Gumbel noise (M, S, V) for an answer of this number: the largest of logits with it is a draw of their softmax."""
    return -(-uniform(several(word_MS, answer * classes, classes)).log()).log()
