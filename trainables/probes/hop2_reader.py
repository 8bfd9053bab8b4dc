"""Hop-2 reader: given a good bridge, can the second hop be done?

The mean state at (l, r1) of b's in-distribution facts, without the query's own first hop, is written into the
context (h', r1', r2) at (l, r1); the value is the share whose answer becomes t = tail of (b, r2). Together with
hop 1 (the accuracy on atomic facts, `cqsp` with O sources) it localises a failure: on `test_io` and `test_oo` the
second-hop fact is out-of-distribution.

Where we differ from the plain test (write into the query itself): the context has another bridge and answer, so a
model that answers without a bridge scores 0 here, not its accuracy.

Rows: `hop2_reader` at every inner depth at r1; summary at (l*, r1). n counts queries whose bridge has at least two
other in-distribution facts among those drawn.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from trainables.probes.base import Measurement, Scene
from trainables.probes.centroids import centroids, fact_states


def hop2_reader(scene: Scene) -> Iterable[Measurement]:
    """Measure every split."""
    q = scene.queries
    success, used_MS = [], scene.in_context_MS
    for depth, state_MFD in zip(scene.inner, fact_states(scene), strict=True):
        donor_MSD, others_MS = _prototype(scene, state_MFD)
        used_MS = scene.in_context_MS & (others_MS >= 2)
        logits_MSV = scene.patched(q.context_MST, scene.context, depth, scene.r1, donor_MSD)
        success.append(scene.says(logits_MSV, q.answer_MS))
        yield from scene.rows("hop2_reader", (depth, scene.r1), success[-1], used_MS)
    yield from scene.rows("hop2_reader", None, scene.at_site(torch.stack(success)), used_MS)


def _prototype(scene: Scene, state_MFD: Tensor) -> tuple[Tensor, Tensor]:
    """Mean state (M, S, D) of the bridge's other in-distribution facts, and their number (M, S)."""
    q = scene.queries
    member_M1 = torch.arange(len(q.group_MS), device=q.group_MS.device)[:, None]
    mean_MGD, count_MG = centroids(scene, state_MFD)
    mean_MSD, count_MS = mean_MGD[member_M1, q.group_MS], count_MG[member_M1, q.group_MS]
    mine_MS = (q.own_fact_MS >= 0) & ~q.fact_ood_MF[member_M1, q.own_fact_MS]
    own_MSD = torch.where(mine_MS[..., None], state_MFD[member_M1, q.own_fact_MS], 0.0)
    others_MS = torch.where(q.group_MS >= 0, count_MS - mine_MS.float(), 0.0)
    return (mean_MSD * count_MS[..., None] - own_MSD) / others_MS.clamp(min=1)[..., None], others_MS
