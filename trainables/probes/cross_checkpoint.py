"""Do an early and a late checkpoint of one run speak the same code at r1? States of the one written into the other.

A query's state at (l, r1) in the donor is written into the receiver's run of the query's context, another chain with
the same second relation; success is that the receiver answers the query's answer. The transplant is that of `cqsp`,
but for the donor being another checkpoint; within one checkpoint it is `cqsp`, the ceiling. The query need not be
answered by either. An untrained donor is the null: how often the receiver says that answer with no bridge at all.

Not in the registry of probes, since it needs two checkpoints: see `training/transplants.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from grokstudy.trainables.probes.base import Measurement, Scene

DONORS, RECEIVERS = ("early", "late", "untrained"), ("early", "late")
"""Who gives a state to whom, in the names of the measurements: `early_into_late`."""


def cross_checkpoint(scenes: Mapping[str, Scene]) -> Iterable[Measurement]:
    """Measure every pair of donor and receiver at each inner depth, and as a summary at the late checkpoint's l*.

    The scenes are of one run, on the same queries, by the names in DONORS.
    """
    late = scenes["late"]
    for name in RECEIVERS:
        receiver, q = scenes[name], scenes[name].queries
        for donor in DONORS:
            success = []
            for depth in receiver.inner:
                state_MSD = scenes[donor].clean[depth][:, :, receiver.bridge_place]
                logits_MSV = receiver.patched(q.context_MST, receiver.context, depth, receiver.bridge_place, state_MSD)
                success.append(receiver.says(logits_MSV, q.answer_MS))
            measured = f"{donor}_into_{name}"
            for depth, success_MS in zip(receiver.inner, success, strict=True):
                yield from receiver.rows(measured, (depth, receiver.bridge_place), success_MS, receiver.in_context_MS)
            yield from receiver.rows(measured, None, late.at_site(torch.stack(success)), receiver.in_context_MS)
