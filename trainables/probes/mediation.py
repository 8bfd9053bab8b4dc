"""Mediation: does the answer run through the state at r1?

Interchange intervention accuracy (arXiv 2106.02997) of the variable "bridge" at (l, r1), over pairs of a query and a
donor chain of the same class that was never trained and is answered right:
`iia` = share of the pairs in which the query, with the donor's state, is answered as the donor;
`iia_chance` = share in which it is answered with another tail of the relation;
`donor_right` = share of all donors that are answered right: how much of the split `iia` speaks for;
`necessity` = share of the right answers of the split that are lost when the state is replaced by the mean state of all
queries (null on fewer than 30 right answers);
`answer_chance` = share of queries whose answer is the tail with which r2 was trained most often.

`iia` says where an answer is carried, not that it was composed: a model that looks chains up by the state at r1 has 1
on the chains that it knows. Composition is what `capacity` tells. Whether the query itself is answered plays no part in
`iia`, since its own state is overwritten.

Rows: `iia` and `necessity` at every inner depth at r1. Summaries at (l*, r1) of `exchanges.py`, and `mediation_depth` =
l*. Null on fewer than 30 pairs or right answers.
"""

from __future__ import annotations

from collections.abc import Iterable

from grokstudy.trainables.probes.base import Measurement, Scene
from grokstudy.trainables.probes.capacity import depth_row
from grokstudy.trainables.probes.exchanges import LEAST


def mediation(scene: Scene) -> Iterable[Measurement]:
    """Measure every split."""
    e = scene.exchanges
    pairs_MSN = e.donor_right_MSN & e.swap.used_MSN
    iia_KMJ, n_MJ = e.pair_means(e.swap.hit_KMSN, pairs_MSN, LEAST)
    for k, depth in enumerate(scene.inner):
        yield from scene.split_rows("iia", (depth, scene.bridge_place), iia_KMJ[k], n_MJ)
        yield from scene.rows("necessity", (depth, scene.bridge_place), e.erased_KMS[k], scene.correct_MS, LEAST)
    yield from scene.split_rows("iia", None, e.at_site(iia_KMJ), n_MJ)
    chance_KMJ, compared_MJ = e.pair_means(e.swap.chance_KMSN, pairs_MSN & e.swap.compared_MSN, LEAST)
    yield from scene.split_rows("iia_chance", None, e.at_site(chance_KMJ), compared_MJ)
    yield from scene.split_rows("donor_right", None, *e.pair_means(e.donor_right_MSN, e.swap.used_MSN, LEAST))
    yield from scene.rows("necessity", None, e.at_site(e.erased_KMS), scene.correct_MS, LEAST)
    yield from scene.rows("answer_chance", None, e.partners.guessed_MS == 1, scene.queries.real_MS)
    yield depth_row(scene, "mediation_depth")
