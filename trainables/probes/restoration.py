"""Restoration (denoising): is this state enough to bring the answer back?

The dual of patching: the context (h', r1', r2) is the query with h and r1 corrupted, with answer t'. Writing the
clean state at (l, p) into its run, with LD = logit t - logit t':
`restore` = share of the correctly answered queries whose answer t is recovered;
`restore_ld` = (LD_restored - LD_context) / (LD_clean - LD_context), each a mean over those queries.

Summaries at (l*, r1): `restoration`, `restoration_ld`; null on fewer than 10 correctly answered queries
(arXiv 2604.07822 appendix E in style). The transplant at r1 is the one of `cqsp`; here it is conditional on the
clean answer being right, there it is not.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from grokstudy.trainables.probes.base import MIN_CORRECT, Measurement, Scene, logit_gap
from grokstudy.trainables.probes.patching import normalised


def restoration(scene: Scene) -> Iterable[Measurement]:
    """Measure the three token places at every inner depth."""
    q = scene.queries
    used_MS = scene.correct_MS & scene.in_context_MS
    before_MS = logit_gap(scene.finish(q.context_MST, scene.context), q.answer_MS, q.context_answer_MS)
    whole_MS = logit_gap(scene.clean_logits_MSV, q.answer_MS, q.context_answer_MS) - before_MS

    def shares(success_MS: Tensor, gap_MS: Tensor, site: tuple[int, int] | None) -> Iterable[Measurement]:
        name = "restoration" if site is None else "restore"
        yield from scene.rows(name, site, success_MS, used_MS, MIN_CORRECT)
        yield from scene.split_rows(f"{name}_ld", site, *normalised(scene, gap_MS - before_MS, whole_MS, used_MS))

    for place in range(3):
        moved = scene.bridge_transplants if place == scene.bridge_place else scene.transplants(place)
        for k, depth in enumerate(scene.inner):
            yield from shares(moved.success_KMS[k], moved.gap_KMS[k], (depth, place))
    written = scene.bridge_transplants
    yield from shares(scene.at_site(written.success_KMS), scene.at_site(written.gap_KMS), None)
