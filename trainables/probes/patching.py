"""Activation patching (noising): does the answer hang on this state?

The state at (l, p) of a query is replaced by that of the corrupted query, whose token at p is another one of the
same type with another true answer t' (arXiv 2405.15071 section 3.2, causal tracing). With LD = logit t - logit t':
`patch_effect` = share of the correctly answered queries that are no longer answered t;
`patch_effect_ld` = (LD_clean - LD_patched) / (LD_clean - LD_corrupted), each a mean over those queries: 0 no effect,
1 the whole effect of the corrupted token; not defined where the corrupted token has no effect. Depth 0 is the
corrupted token itself.

Summaries at (l*, r1): `causal_strength`, `causal_strength_ld`, and `causal_strength_all`, the published formula
1 - share answered t over all queries, which is 1 for a model that answers nothing. The first two are only taken over
queries that the model answers (null on fewer than 10), and n says on how many.
Patching r1 tells that the answer hangs on what r1 holds, be it the bridge or still the token: see `cqsp`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from grokstudy.trainables.probes.base import MIN_CORRECT, Measurement, Scene, logit_gap


def patching(scene: Scene) -> Iterable[Measurement]:
    """Measure the three token places at every depth before the last."""
    q = scene.queries
    for place in range(3):
        exists_MS = q.corrupted_answer_MSP[:, :, place] >= 0
        used_MS = scene.correct_MS & exists_MS
        flipped, lost = _patched(scene, place)
        for depth, (flipped_MS, lost_MS) in enumerate(zip(flipped, lost, strict=True)):
            yield from scene.rows("patch_effect", (depth, place), flipped_MS, used_MS, MIN_CORRECT)
            if depth:
                ratio = normalised(scene, lost_MS, lost[0], used_MS)
                yield from scene.split_rows("patch_effect_ld", (depth, place), *ratio)
        if place == scene.bridge_place:
            first = scene.inner.start
            flipped_MS = scene.at_site(torch.stack(flipped[first:]))
            yield from scene.rows("causal_strength", None, flipped_MS, used_MS, MIN_CORRECT)
            yield from scene.rows("causal_strength_all", None, flipped_MS, exists_MS)
            ratio = normalised(scene, scene.at_site(torch.stack(lost[first:])), lost[0], used_MS)
            yield from scene.split_rows("causal_strength_ld", None, *ratio)


def _patched(scene: Scene, place: int) -> tuple[list[Tensor], list[Tensor]]:
    """For each depth whether the answer is no longer t (M, S), and by how much LD fell (M, S)."""
    q = scene.queries
    donor_MST, other_MS = q.corrupted_MSPT[:, :, place], q.corrupted_answer_MSP[:, :, place]
    donor = scene.donor(donor_MST)
    clean_MS = logit_gap(scene.clean_logits_MSV, q.answer_MS, other_MS)
    flipped, lost = [], []
    for depth in range(scene.model.depth):
        if depth == 0:
            logits_MSV = scene.finish(donor_MST, donor)
        else:
            logits_MSV = scene.patched(q.tokens_MST, scene.clean, depth, place, donor[depth][:, :, place])
        flipped.append(~scene.says(logits_MSV, q.answer_MS))
        lost.append(clean_MS - logit_gap(logits_MSV, q.answer_MS, other_MS))
    return flipped, lost


def normalised(scene: Scene, part_MS: Tensor, whole_MS: Tensor, used_MS: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the part over mean of the whole (M, J), and n; NaN where the whole is not positive."""
    (part_MJ, whole_MJ), n_MJ = scene.means(torch.stack([part_MS, whole_MS]), used_MS, MIN_CORRECT)
    return (part_MJ / whole_MJ).masked_fill(whole_MJ <= 0, torch.nan), n_MJ
