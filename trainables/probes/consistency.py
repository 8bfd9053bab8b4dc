"""Path consistency: are the queries with a decodable bridge the ones that are answered?

hit = the bridge is the lens's top token at (l*, r1); correct = the query is answered.
`consistency_hit_given_correct`, `consistency_correct_given_hit` (null on fewer than 10), and `consistency_phi`, the
phi coefficient of the 2 x 2 table (null when a row or a column is empty). The causal version, the share of answered
queries that flip when (l*, r1) is patched, is `causal_strength` of the probe `patching`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from grokstudy.trainables.probes.base import MIN_CORRECT, Measurement, Scene
from grokstudy.trainables.probes.logit_lens import lens_rank


def consistency(scene: Scene) -> Iterable[Measurement]:
    """Measure every split."""
    q = scene.queries
    state_MSD = scene.at_site(torch.stack([scene.clean[depth][:, :, scene.bridge_place] for depth in scene.inner]))
    logits_MSTV = scene.model.unembed(scene.weights, state_MSD[:, :, None]).float()
    hit_MS = lens_rank(logits_MSTV, q.bridge_MS.clamp(min=0))[0].squeeze(-1) == 1
    hit_MS, correct_MS = hit_MS & q.real_MS, scene.correct_MS
    yield from scene.rows("consistency_hit_given_correct", None, hit_MS, correct_MS, MIN_CORRECT)
    yield from scene.rows("consistency_correct_given_hit", None, correct_MS, hit_MS, MIN_CORRECT)
    both = torch.stack([hit_MS & correct_MS, hit_MS, correct_MS])
    (both_MJ, hit_MJ, correct_MJ), n_MJ = scene.means(both, q.real_MS)
    spread_MJ = (hit_MJ * (1 - hit_MJ) * correct_MJ * (1 - correct_MJ)).sqrt()
    yield from scene.split_rows("consistency_phi", None, (both_MJ - hit_MJ * correct_MJ) / spread_MJ, n_MJ)
