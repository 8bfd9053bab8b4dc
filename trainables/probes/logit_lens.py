"""Logit lens: which token does each intermediate state already spell?

lens(x) = W_U norm_final(x) for the state x at (depth, position). For a token class c (b bridge, t answer, r2 second
relation): rank_c = #{v : lens_v >= lens_c} (1 is alone at the top; ties count against), hit = [rank 1],
MRR = mean 1/rank, prob = mean softmax probability (arXiv 2405.15071 section 3.2; 2601.09049 section 3). Depth 0 is
the embedding.

Summaries: `bridge_hit` and `bridge_mrr` at position r1, best depth from 1 to the last but one (the strict site);
`bridge_hit_any`, the any-site rule of 2601.09049: the bridge is top 1 at any depth and position before the last
depth; `bridge_hit_permuted` and `bridge_hit_any_permuted`, the same for the bridge of another query (baseline);
`r2_mrr` at position r2, best depth as above (what hop 2 needs is still there).
Decodable is not used (arXiv 2505.23653): for that see `patching` and `cqsp`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from grokstudy.trainables.probes.base import Measurement, Scene

Ranks = dict[str, list[Tensor]]
"""Token class -> rank (M, S, T) at every depth."""


def logit_lens(scene: Scene) -> Iterable[Measurement]:
    """Measure every split at every site."""
    tokens = _tokens(scene)
    ranks: Ranks = {name: [] for name in tokens}
    for depth, resid_MSTD in enumerate(scene.clean):
        logits_MSTV = scene.model.unembed(scene.weights, resid_MSTD[:, :, : len(scene.positions)]).float()
        total_MST = logits_MSTV.logsumexp(dim=-1)
        for name, token_MS in tokens.items():
            rank_MST, own_MST = lens_rank(logits_MSTV, token_MS)
            ranks[name].append(rank_MST)
            if name != "permuted":
                yield from _site_rows(scene, name, depth, rank_MST, (own_MST - total_MST).exp())
    yield from _summaries(scene, ranks)


def _tokens(scene: Scene) -> dict[str, Tensor]:
    """Token (M, S) of each class; `permuted` is the bridge of the query before, within its split."""
    q = scene.queries
    bridge_MS = q.bridge_MS.clamp(min=0)
    return {
        "bridge": bridge_MS, "answer": q.answer_MS.clamp(min=0), "r2": q.tokens_MST[:, :, 2],
        "permuted": bridge_MS.gather(1, _before(scene)),
    }  # fmt: skip


def _before(scene: Scene) -> Tensor:
    """Column (M, S) of the query before in the same split; before the first comes the last real one."""
    q = scene.queries
    column_S = torch.arange(len(q.split_S), device=q.split_S.device)
    begin_S = torch.searchsorted(q.split_S, q.split_S)
    same_SS = q.split_S[:, None] == q.split_S
    last_MS = begin_S + (q.real_MS[:, None] & same_SS).sum(dim=-1) - 1
    return torch.where(column_S == begin_S, last_MS, column_S - 1).clamp(min=0)


def lens_rank(logits_MSTV: Tensor, token_MS: Tensor) -> tuple[Tensor, Tensor]:
    """Rank (M, S, T) of a token at each position, ties counted against it; and its logit."""
    index = token_MS[:, :, None, None].expand(-1, -1, logits_MSTV.shape[2], 1)
    own = logits_MSTV.gather(-1, index)
    return (logits_MSTV >= own).sum(dim=-1), own.squeeze(-1)


def _site_rows(scene: Scene, name: str, depth: int, rank_MST: Tensor, prob_MST: Tensor) -> Iterator[Measurement]:
    measures = {"hit": rank_MST == 1, "mrr": 1 / rank_MST, "rank": rank_MST, "prob": prob_MST}
    value_XTMS = torch.stack([value.float() for value in measures.values()]).permute(0, 3, 1, 2)
    mean_XTMJ, n_MJ = scene.means(value_XTMS, scene.queries.real_MS)
    for measure, mean_TMJ in zip(measures, mean_XTMJ, strict=True):
        for place, mean_MJ in enumerate(mean_TMJ):
            yield from scene.split_rows(f"lens_{name}_{measure}", (depth, place), mean_MJ, n_MJ)


def _summaries(scene: Scene, ranks: Ranks) -> Iterator[Measurement]:
    real_MS, behind, r2 = scene.queries.real_MS, scene.bridge_place, scene.positions.index("r2")

    def best(name: str, value_KMS: Tensor) -> Iterator[Measurement]:
        mean_KMJ, n_MJ = scene.means(value_KMS, real_MS)
        return scene.split_rows(name, None, mean_KMJ.amax(dim=0), n_MJ)

    inner = {name: torch.stack([rank[depth] for depth in scene.inner]) for name, rank in ranks.items()}
    for suffix, name in (("", "bridge"), ("_permuted", "permuted")):
        yield from best(f"bridge_hit{suffix}", inner[name][..., behind] == 1)
        hits = torch.stack([(rank_MST == 1).any(dim=-1) for rank_MST in ranks[name][:-1]])
        yield from scene.rows(f"bridge_hit_any{suffix}", None, hits.any(dim=0), real_MS)
    yield from best("bridge_mrr", 1 / inner["bridge"][..., behind])
    yield from best("r2_mrr", 1 / inner["r2"][..., r2])
