"""The two halves of the circuit, each measured without the other and without the query being answered.

`hop1_writer`: the clean state at (l, r1) of the query (h, r1, r2), which should hold its bridge b, is written into an
in-distribution context (h', r1', r2*) whose relation makes an in-distribution fact (b, r2*) -> t*; share whose answer
becomes t*. Does hop 1 of this query write a bridge that a working second hop can use? r2* is another relation than
r2; the chain (h, r1, r2*) may have been trained.

`hop2_reader`: the mean state at (l, r1) of b's in-distribution facts, without the query's own first hop, is written
into a context (h', r1', r2); share whose answer becomes t = tail of (b, r2). Given a good bridge, can hop 2 of this
query be done? n counts queries whose bridge has at least two other in-distribution facts among those drawn. The
plain test writes into the query itself; here the context has another bridge and answer, so that a model that answers
without a bridge scores 0, not its accuracy.

`circuit_strength` = the smaller of the two: both halves are there for these queries, at this site. It can be 1 while
no query is answered, and 0 while all are: it is what behaviour is compared with. It is not independent of the answer,
since the writer's chains may have been trained: docs/science.md#known-weaknesses.

Rows: both halves at every inner depth at r1. Summaries at (l*, r1).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from grokstudy.trainables.probes.base import Measurement, Scene
from grokstudy.trainables.probes.centroids import centroids, fact_states


def circuit(scene: Scene) -> Iterable[Measurement]:
    """Measure every split."""
    means = []
    for name, (success_KMS, used_MS) in {"hop1_writer": _writer(scene), "hop2_reader": _reader(scene)}.items():
        for k, depth in enumerate(scene.inner):
            yield from scene.rows(name, (depth, scene.bridge_place), success_KMS[k], used_MS)
        means.append(scene.means(scene.at_site(success_KMS), used_MS))
        yield from scene.split_rows(name, None, *means[-1])
    (writer_MJ, n_MJ), (reader_MJ, other_MJ) = means
    yield from scene.split_rows(
        "circuit_strength", None, torch.minimum(writer_MJ, reader_MJ), torch.minimum(n_MJ, other_MJ)
    )


def _writer(scene: Scene) -> tuple[Tensor, Tensor]:
    """Success (K, M, S) of the query's own state with another second hop, and where it is defined (M, S)."""
    q = scene.queries
    onward, success = scene.donor(q.onward_MST), []
    for depth in scene.inner:
        donor_MSD = scene.clean[depth][:, :, scene.bridge_place]
        logits_MSV = scene.patched(q.onward_MST, onward, depth, scene.bridge_place, donor_MSD)
        success.append(scene.says(logits_MSV, q.onward_answer_MS))
    return torch.stack(success), q.onward_answer_MS >= 0


def _reader(scene: Scene) -> tuple[Tensor, Tensor]:
    """Success (K, M, S) of the mean state of other facts with the query's second hop, and where it is defined."""
    q = scene.queries
    success, used_MS = [], scene.in_context_MS
    for depth, state_MFD in zip(scene.inner, fact_states(scene), strict=True):
        donor_MSD, others_MS = _prototype(scene, state_MFD)
        used_MS = scene.in_context_MS & (others_MS >= 2)
        logits_MSV = scene.patched(q.context_MST, scene.context, depth, scene.bridge_place, donor_MSD)
        success.append(scene.says(logits_MSV, q.answer_MS))
    return torch.stack(success), used_MS


def _prototype(scene: Scene, state_MFD: Tensor) -> tuple[Tensor, Tensor]:
    """Mean state (M, S, D) of the bridge's other in-distribution facts, and their number (M, S)."""
    q = scene.queries
    member_M1 = torch.arange(len(q.group_MS), device=q.group_MS.device)[:, None]
    mean_MGD, count_MG = centroids(scene, state_MFD)
    mean_MSD, count_MS = mean_MGD[member_M1, q.group_MS], count_MG[member_M1, q.group_MS]
    known_MS = (q.own_fact_MS >= 0) & ~q.fact_ood_MF[member_M1, q.own_fact_MS]
    own_MSD = torch.where(known_MS[..., None], state_MFD[member_M1, q.own_fact_MS], 0.0)
    others_MS = torch.where(q.group_MS >= 0, count_MS - known_MS.float(), 0.0)
    return (mean_MSD * count_MS[..., None] - own_MSD) / others_MS.clamp(min=1)[..., None], others_MS
