"""Interchange of a state between two examples that a task names: a probe for any task (arXiv 2405.15071 section 3.2).

The donor's states at the named places are written into the receiver at the same places and depth; success: the
receiver's answer is the one that the task names for this pair. Per depth, and as a summary the best depth strictly
inside the model. What a donor carries besides the state that is meant counts as success too: tasks say which donors
they take.

Axes: M member, S example, T place, P written place, D width.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from grokstudy.trainables.models.network import at_position
from grokstudy.trainables.probes.base import Measurement
from grokstudy.trainables.probes.subject import Subject, inside, with_best


def swap(subject: Subject) -> Iterator[Measurement]:
    """Share of exchanges after which the answer is the one that the donor's state stands for."""
    for sample in subject.samples:
        mechanism = sample.rows.mechanism
        own = subject.states(sample.rows.inputs_MBx) if mechanism.swap else []
        for name, swap_MSx in mechanism.swap.items():
            place_MSP, expected_MS = swap_MSx[..., :-1], swap_MSx[..., -1]
            donor = subject.states(mechanism.donor[name])
            measurements = []
            for depth in range(len(own)):
                written = _written(own[depth], donor[depth], place_MSP)
                output_MSx = subject.model.resume(
                    subject.weights, sample.rows.inputs_MBx, [*own[:depth], written], sample.rows.at_MBA[..., 0]
                )
                success_MS = subject.model.said(output_MSx.float()) == expected_MS
                measurements.append(sample.row(f"swap_{name}", success_MS, expected_MS >= 0, depth, f"at_{name}"))
            yield from with_best(measurements, inside(measurements))


def _written(resid_MSTD: Tensor, donor_MSTD: Tensor, place_MSP: Tensor) -> Tensor:
    index = place_MSP[..., None].expand(-1, -1, -1, resid_MSTD.shape[3])
    return resid_MSTD.scatter(2, index, at_position(donor_MSTD, place_MSP))
