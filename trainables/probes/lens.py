"""What a readout says of the states inside a model: probes for any task.

`lens`: share of examples whose named latent is the arg max of the unembedded state at its place, over the classes that
the latent takes in the split; per depth, and as a summary the best depth strictly inside the model (logit lens, with
the final norm). `value_lens`: correlation over examples between the readout where an answer is and a named real number
(arXiv 2410.17438 section 4, by correlation: before the last block the scale of a readout means nothing).

Axes: M member, S example, A answer, D width, V class.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from grokstudy.trainables.models.network import at_position
from grokstudy.trainables.probes.base import Measurement
from grokstudy.trainables.probes.subject import Sample, Subject, inside, with_best


def lens(subject: Subject) -> Iterator[Measurement]:
    """Share of latents that are read at their places."""
    for sample in subject.samples:
        latents = sample.rows.mechanism.latent
        if not latents:
            continue
        states = subject.states(sample.rows.inputs_MBx)
        for name, latent_MS2 in latents.items():
            place_MS, class_MS = latent_MS2.unbind(2)
            mask_MS = class_MS >= 0
            other_MSV = ~_taken(class_MS, mask_MS & sample.real_MS, subject.model.shape.width)
            measurements = []
            for depth, state_MSTD in enumerate(states):
                logits_MSV = subject.model.unembed(subject.weights, at_position(state_MSTD, place_MS)).float()
                hit_MS = logits_MSV.masked_fill(other_MSV, -torch.inf).argmax(dim=-1) == class_MS
                measurements.append(sample.row(f"lens_{name}", hit_MS, mask_MS, depth, f"at_{name}"))
            yield from with_best(measurements, inside(measurements))


def _taken(class_MS: Tensor, used_MS: Tensor, classes: int) -> Tensor:
    """(M, 1, V): whether a class lies in the range that a member's latent takes."""
    low_M = class_MS.masked_fill(~used_MS, classes).amin(dim=1)
    high_M = class_MS.masked_fill(~used_MS, -1).amax(dim=1)
    class_V = torch.arange(classes, device=class_MS.device)
    return (class_V >= low_M[:, None, None]) & (class_V <= high_M[:, None, None])


def value_lens(subject: Subject) -> Iterator[Measurement]:
    """Correlation of readouts with real numbers that the task names."""
    for sample in subject.samples:
        truths = sample.rows.mechanism.truth
        if not truths:
            continue
        states = subject.states(sample.rows.inputs_MBx)
        for depth, state_MSTD in enumerate(states[1:], 1):
            read_MSA = subject.model.unembed(subject.weights, at_position(state_MSTD, sample.rows.at_MBA))[..., 0]
            for name, truth_MSA in truths.items():
                row = _correlation(sample, f"follows_{name}", read_MSA.float(), truth_MSA)
                yield Measurement(row.probe, row.split, depth, "answer", row.value_M, row.n_M)
                if depth == len(states) - 1:
                    yield row


def _correlation(sample: Sample, name: str, read_MSA: Tensor, truth_MSA: Tensor) -> Measurement:
    used_MSA = sample.real_MS[..., None].expand_as(truth_MSA) & truth_MSA.isfinite()
    if sample.rows.weight_MBA is not None:
        used_MSA = used_MSA & (sample.rows.weight_MBA > 0)
    n_M = used_MSA.sum(dim=(1, 2))

    def centred(x_MSA: Tensor) -> Tensor:
        x_MSA = torch.where(used_MSA, x_MSA, 0.0)
        return torch.where(used_MSA, x_MSA - (x_MSA.sum(dim=(1, 2)) / n_M)[:, None, None], 0.0)

    x, y = centred(read_MSA), centred(truth_MSA)
    spread_M = (x.square().sum(dim=(1, 2)) * y.square().sum(dim=(1, 2))).sqrt()
    value_M = (x * y).sum(dim=(1, 2)) / spread_M
    value_M = value_M.masked_fill(spread_M == 0, torch.nan)
    return Measurement(name, sample.split, None, None, value_M, sample.real_MS.sum(dim=1))
