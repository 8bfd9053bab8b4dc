"""Logit lens: which token does each intermediate state already spell?

lens(x) = W_U norm_final(x) for the state x at (depth, position). For a token class c (b bridge, t answer, r2 second
relation): rank_c = 1 + #{v : lens_v > lens_c}, hit = [rank 1], MRR = mean 1/rank, prob = softmax probability
(SCIENCE: arXiv 2405.15071 section 3.2; 2601.09049 section 3). Depth 0 is the embedding.

Summaries: `bridge_hit`, `bridge_mrr` at position r1, best depth from 1 to the last but one (the strict site);
`bridge_hit_any`, the any-site rule of 2601.09049: the bridge is top 1 at any depth and position before the last
depth; `bridge_hit_permuted` and `bridge_hit_any_permuted`, the same for the bridge of another example (baseline).
Decodable is not used: for that see the causal probes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from trainables.evaluate import SplitBatch
from trainables.probes.base import Measurement, Scene

Ranks = dict[str, Tensor]


def logit_lens(scene: Scene) -> Iterable[Measurement]:
    """Measure every two-hop split."""
    for split in scene.two_hop():
        yield from _split(scene, split)


def _split(scene: Scene, split: SplitBatch) -> Iterator[Measurement]:
    ranks: list[Ranks] = []
    for depth, resid_MSTD in enumerate(scene.states(split)):
        logits_MSTV = scene.model.unembed(scene.weights, resid_MSTD).float()
        wanted = _tokens(split)
        ranks.append({name: lens_rank(logits_MSTV, token_MS) for name, token_MS in wanted.items()})
        yield from _site_rows(scene, split, depth, logits_MSTV, wanted, ranks[-1])
    yield from _summaries(scene, split, ranks)


def _tokens(split: SplitBatch) -> dict[str, Tensor]:
    """Token (M, S) of each class; `permuted` is the bridge of the next example."""
    bridge_MS = split.bridge_MS.clamp(min=0)
    return {
        "bridge": bridge_MS,
        "answer": split.answer_MS,
        "r2": split.tokens_MST[:, :, 2],
        "permuted": _next_example(bridge_MS, split.n),
    }


def _next_example(token_MS: Tensor, n: tuple[int, ...]) -> Tensor:
    """Shift each member's real examples by one, cyclically."""
    shifted = token_MS.clone()
    for member, count in enumerate(n):
        shifted[member, :count] = token_MS[member, :count].roll(1)
    return shifted


def lens_rank(logits_MSTV: Tensor, token_MS: Tensor) -> Tensor:
    """Rank (M, S, T) of a token at each position, 1 is the top."""
    index = token_MS[:, :, None, None].expand(-1, -1, logits_MSTV.shape[2], 1)
    own = logits_MSTV.gather(-1, index)
    return 1 + (logits_MSTV > own).sum(dim=-1)


def _site_rows(
    scene: Scene, split: SplitBatch, depth: int, logits_MSTV: Tensor, wanted: dict[str, Tensor], ranks: Ranks
) -> Iterator[Measurement]:
    prob_MSTV = logits_MSTV.softmax(dim=-1)
    for place, position in enumerate(scene.positions):
        for name in ("bridge", "answer", "r2"):
            rank_MS = ranks[name][:, :, place].float()
            prob_MS = prob_MSTV[:, :, place].gather(-1, wanted[name][:, :, None]).squeeze(-1)
            values = {"hit": rank_MS == 1, "mrr": 1 / rank_MS, "rank": rank_MS, "prob": prob_MS}
            for measure, value_MS in values.items():
                label = f"lens_{name}_{measure}"
                yield Measurement(label, split.name, depth, position, split.mean(value_MS), split.n)


def _summaries(scene: Scene, split: SplitBatch, ranks: list[Ranks]) -> Iterator[Measurement]:
    def row(name: str, value_M: Tensor) -> Measurement:
        return Measurement(name, split.name, None, None, value_M, split.n)

    r1 = scene.positions.index("r1")
    inner = ranks[1:-1] or ranks[:-1]
    for suffix, token in (("", "bridge"), ("_permuted", "permuted")):
        at_r1 = [depth[token][:, :, r1] for depth in inner]
        yield row(f"bridge_hit{suffix}", torch.stack([split.mean(rank == 1) for rank in at_r1]).amax(dim=0))
        anywhere = torch.stack([(depth[token] == 1).any(dim=-1) for depth in ranks[:-1]]).any(dim=0)
        yield row(f"bridge_hit_any{suffix}", split.mean(anywhere))
    yield row("bridge_mrr", torch.stack([split.mean(1 / depth["bridge"][:, :, r1]) for depth in inner]).amax(dim=0))
