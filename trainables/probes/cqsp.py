"""Cross-query semantic patching: does the state at r1 carry the bridge in a form that hop 2 reads?

Source (h', r1') -> b'; target (h, r1, r2), an in-distribution chain with another bridge and answer; (b', r2) -> t'
is a fact. The target's state at (l, r1) is replaced by the source's; success is that the answer becomes t'
(arXiv 2505.23653). The four classes source fact {I, O} x second-hop fact {I, O} are the splits: sources and
second hops are those of the split's chains (h', r1', r2), first letter the source, second letter the second hop.

Where we differ: the composed chain (h', r1', r2) is one of the split, so that on the test splits it was never
trained in any regime (a model that looks whole chains up by the pair (h', r1') cannot pass); on `train_ii` it was,
as it is for nearly all pairs of the paper. The source state is taken from the chain instead of the fact alone: in a
causal model the two are the same.

Success makes the target's own answer go away too, so it holds for the causal strength of the site in the target:
`cqsp` is the functional measure of the circuit, and it needs no query of the split to be answered right.

Rows: `cqsp` at every inner depth at r1. Summaries: `cqsp` at (l*, r1), `site_depth` = l*.
"""

from __future__ import annotations

from collections.abc import Iterable

from grokstudy.trainables.probes.base import Measurement, Scene


def cqsp(scene: Scene) -> Iterable[Measurement]:
    """Measure every split, which is to say every class."""
    success_KMS = scene.bridge_transplants.success_KMS
    for k, depth in enumerate(scene.inner):
        yield from scene.rows("cqsp", (depth, scene.bridge_place), success_KMS[k], scene.in_context_MS)
    yield from scene.rows("cqsp", None, scene.at_site(success_KMS), scene.in_context_MS)
    depth_M = (scene.site_M + scene.inner.start).float()
    n_M = scene.means(success_KMS[0], scene.in_context_MS)[1][:, 0]
    yield Measurement("site_depth", scene.queries.splits[0], None, None, depth_M, n_M)
