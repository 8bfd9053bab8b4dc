"""Where the attention of an answer goes, and what is lost without a head: probes for any task.

`attention_mass`: for each name that the task looks for, the share of a head's attention from an answer that lies on the
named places, mean over answers; per block and head, and as a summary the largest of them (arXiv 2507.20443 section 4,
Attn_k; arXiv 2505.21785 appendix D, induction scores). Tasks say what chance is.

`head_ablation`: accuracy and loss when a head puts out zero, per unique block and head; in a looped model in every
application of the block.

Axes: M member, S example, A answer, H head, T place.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from grokstudy.trainables.models.answers import answer_losses, answer_margins, token_losses
from grokstudy.trainables.probes.base import Measurement
from grokstudy.trainables.probes.subject import Sample, Subject, with_best


def attention_mass(subject: Subject) -> Iterator[Measurement]:
    """Share of attention on the places that the task names."""
    for sample in subject.samples:
        looks = sample.rows.mechanism.look
        if not looks:
            continue
        patterns = subject.model.patterns(subject.weights, sample.rows.inputs_MBx, sample.rows.at_MBA)
        for name, look_MSAT in looks.items():
            yield from _masses(sample, f"mass_{name}", look_MSAT, patterns)


def _masses(sample: Sample, name: str, look_MSAT: Tensor, patterns: list[Tensor]) -> Iterator[Measurement]:
    counted_MSA = look_MSAT.any(dim=3)
    weight_MSA = sample.rows.weight_MBA
    if weight_MSA is not None:
        counted_MSA = counted_MSA & (weight_MSA > 0)
    used_MS, measurements = counted_MSA.any(dim=2), []
    for layer, pattern_MSHAT in enumerate(patterns, 1):
        mass_MSHA = (pattern_MSHAT.float() * look_MSAT[:, :, None]).sum(dim=4)
        mass_MSH = (mass_MSHA * counted_MSA[:, :, None]).sum(dim=3) / counted_MSA.sum(dim=2).clamp(min=1)[..., None]
        for head, mass_MS in enumerate(mass_MSH.unbind(2)):
            measurements.append(sample.row(name, mass_MS, used_MS, layer, f"head{head}"))
    if measurements:
        yield from with_best(measurements, measurements)


def head_ablation(subject: Subject) -> Iterator[Measurement]:
    """Accuracy and loss without each head."""
    model = subject.model
    heads = model.options.heads
    for name, matrix in subject.weights.items():
        block, _, part = name.partition(".")
        if part != "out":
            continue
        for head in range(heads):
            width = matrix.shape[1] // heads
            without = matrix.clone()
            without[:, head * width : (head + 1) * width] = 0.0
            weights = {**subject.weights, name: without}
            for sample in subject.samples:
                rows = sample.rows
                output_MSAx = model.answer_logits(weights, rows.inputs_MBx, rows.at_MBA).float()
                loss_MSA = answer_losses(model, output_MSAx, rows.target_MBAx, token_losses)
                weight_MSA = torch.ones_like(loss_MSA) if rows.weight_MBA is None else rows.weight_MBA
                loss_MS = (loss_MSA * weight_MSA).sum(dim=2) / weight_MSA.sum(dim=2)
                site = (int(block) + 1, f"head{head}")
                everywhere = torch.ones_like(sample.real_MS)
                yield sample.row("ablated_loss", loss_MS, everywhere, *site)
                if model.shape.classes:
                    right_MS = answer_margins(model, output_MSAx, rows) > 0
                    yield sample.row("ablated_accuracy", right_MS, everywhere, *site)
