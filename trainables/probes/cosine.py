"""Cosine lens: do all facts that lead to a bridge reach the same state at r1?

x is the state at (l, r1) of an atomic fact (h, r) -> e, mu_e the mean over e's in-distribution facts without x
itself (arXiv 2505.23653; there x is part of its own centroid, and there is no baseline between entities).
`cohesion` = mean_e mean_i cos(x_i, mu_e) over in-distribution facts (split atomic_id);
`alignment` = mean_e mean_j cos(x_j, mu_e) over out-of-distribution facts (split atomic_ood);
`separation` = mean cosine of the same states with the centroids of all other entities: the baseline, since raw
cosines drift with anisotropy; `cohesion_margin` and `alignment_margin` are the differences.
Entities with at least two in-distribution facts count; n is the number of entities.

Rows at every inner depth; summaries at (l*, r1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from grokstudy.trainables.probes.base import Measurement, Scene
from grokstudy.trainables.probes.centroids import centroids, fact_states

KINDS = {False: ("atomic_id", "cohesion"), True: ("atomic_ood", "alignment")}


def cosine(scene: Scene) -> Iterable[Measurement]:
    """Measure in- and out-of-distribution facts."""
    own_K2MG, other_K2MG = (torch.stack(c) for c in zip(*(_cosines(scene, x) for x in fact_states(scene)), strict=True))
    for ood, (split, name) in KINDS.items():
        own_KMG, other_KMG = own_K2MG[:, int(ood)], other_K2MG[:, int(ood)]
        for k, depth in enumerate(scene.inner):
            yield from _rows(split, name, (depth, scene.positions[scene.bridge_place]), own_KMG[k], other_KMG[k])
        yield from _rows(split, name, (None, None), scene.at_site(own_KMG), scene.at_site(other_KMG))


def _rows(
    split: str, name: str, site: tuple[int | None, str | None], own_MG: Tensor, other_MG: Tensor
) -> Iterator[Measurement]:
    n_M = own_MG.isfinite().sum(dim=1).float()
    own_M, other_M = own_MG.nanmean(dim=1), other_MG.nanmean(dim=1)
    for label, value_M in ((name, own_M), ("separation", other_M), (f"{name}_margin", own_M - other_M)):
        yield Measurement(label, split, *site, value_M, n_M)


def _cosines(scene: Scene, state_MFD: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cosine (2, M, G) with the own centroid and with the others; first axis in- and out-of-distribution."""
    q = scene.queries
    group_MF = q.fact_group_MF
    member_M1 = torch.arange(len(group_MF), device=group_MF.device)[:, None]
    mean_MGD, count_MG = centroids(scene, state_MFD)
    own_MFD, own_count_MF = mean_MGD[member_M1, group_MF], count_MG[member_M1, group_MF]
    rest_MFD = (own_MFD * own_count_MF[..., None] - state_MFD) / (own_count_MF - 1)[..., None]
    own_MF = F.cosine_similarity(state_MFD, torch.where(q.fact_ood_MF[..., None], own_MFD, rest_MFD), dim=-1)
    unit_MFD, unit_MGD = F.normalize(state_MFD, dim=-1), F.normalize(mean_MGD, dim=-1)
    exists_MG = count_MG >= 2
    total_MD = (unit_MGD * exists_MG[..., None]).sum(dim=1)
    self_MF = (unit_MFD * unit_MGD[member_M1, group_MF]).sum(dim=-1)
    other_MF = ((unit_MFD * total_MD[:, None]).sum(dim=-1) - self_MF) / (exists_MG.sum(dim=1) - 1)[:, None]
    return _by_kind(scene, own_MF), _by_kind(scene, other_MF)


def _by_kind(scene: Scene, value_MF: Tensor) -> Tensor:
    """Mean over the facts of each group (2, M, G), in- and out-of-distribution apart; NaN where there is none."""
    q = scene.queries
    index_MF = q.fact_group_MF.clamp(min=0)
    means = []
    for ood in (False, True):
        used_MF = (q.fact_group_MF >= 0) & (q.fact_ood_MF == ood)
        empty_MG = value_MF.new_zeros(len(value_MF), q.groups)
        total_MG = empty_MG.scatter_add(1, index_MF, torch.where(used_MF, value_MF, 0.0))
        means.append(total_MG / empty_MG.scatter_add(1, index_MF, used_MF.float()))
    return torch.stack(means)
