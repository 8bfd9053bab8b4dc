"""States of atomic facts at r1, and their mean per bridge: what the cosine lens and the hop-2 reader share."""

from __future__ import annotations

import torch
from torch import Tensor

from grokstudy.trainables.probes.base import Scene


def fact_states(scene: Scene) -> list[Tensor]:
    """States (M, F, D) at r1 of the atomic facts, at every inner depth."""
    states = scene.donor(scene.queries.fact_MFT)
    return [states[depth][:, :, scene.bridge_place].float() for depth in scene.inner]


def centroids(scene: Scene, state_MFD: Tensor) -> tuple[Tensor, Tensor]:
    """Mean state (M, G, D) of each bridge's in-distribution facts, and their number (M, G)."""
    q = scene.queries
    used_MF = (q.fact_group_MF >= 0) & ~q.fact_ood_MF
    index_MF = q.fact_group_MF.clamp(min=0)
    count_MG = state_MFD.new_zeros(len(state_MFD), q.groups).scatter_add(1, index_MF, used_MF.float())
    total_MGD = state_MFD.new_zeros(*count_MG.shape, state_MFD.shape[-1])
    index_MFD = index_MF[..., None].expand_as(state_MFD)
    total_MGD = total_MGD.scatter_add(1, index_MFD, torch.where(used_MF[..., None], state_MFD, 0.0))
    return total_MGD / count_MG.clamp(min=1)[..., None], count_MG
