"""Exchanges of the state at r1 between a query and its partners, at every inner depth; what `capacity` and `mediation`
share, computed once per checkpoint (docs/science.md#capacity-mediation-decodability).

- writing: the query's state, put into a chain of another head, with another second hop: does its answer become the
  tail of (b, r2*)?
- reading: the state of another fact with the query's bridge, put into a chain with the query's second hop and another
  bridge: does its answer become t? The receiver would answer something else by itself, so a model that ignores the
  state at r1 scores 0.
- swap: the state of a chain with another bridge, put into the query: does its answer become that chain's?
- erased: the mean state of all queries, put into the query: is its answer still t?

l* is, per member and evaluation, the inner depth at which the swaps succeed most often on `train_ii`, whose queries are
trained and whose donors are not; the first of equals. No split that is reported beside it has a part in the choice.

Axes: as in `base.py`, and N partner.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from grokstudy.trainables.probes.base import Scene, of_each
from grokstudy.trainables.probes.partners import MOST, Partners

LEAST = 30
"""A share is not defined on fewer queries, pairs or right answers than these."""


@dataclass(frozen=True)
class Exchange:
    """What the receivers answer with the donors' states."""

    hit_KMSN: Tensor
    """Whether they answer what the exchange should give."""
    chance_KMSN: Tensor
    """Whether they answer another tail of the same relation, drawn beside it."""
    used_MSN: Tensor
    """Where there is a partner."""
    compared_MSN: Tensor
    """Where there is another tail, too."""

    @property
    def defined_MS(self) -> Tensor:
        """Queries with at least one partner."""
        return self.used_MSN.any(dim=-1)

    @cached_property
    def share_KMS(self) -> Tensor:
        """Share of a query's exchanges that hit; 0 where there are none."""
        return _mean(self.hit_KMSN, self.used_MSN)

    @cached_property
    def chance_KMS(self) -> Tensor:
        """Share of a query's exchanges that give the other tail."""
        return _mean(self.chance_KMSN, self.compared_MSN)


class Exchanges:
    """All exchanges of a scene."""

    def __init__(self, scene: Scene) -> None:
        """Nothing is computed before it is asked for."""
        assert scene.queries.partners is not None, "queries are drawn for the probes of the run"
        self.scene = scene
        self.partners: Partners = scene.queries.partners

    @cached_property
    def writing(self) -> Exchange:
        """The query's state in others."""
        p, scene = self.partners, self.scene
        logits = []
        for n in range(MOST):
            receiver_MST = p.writing_MSNT[:, :, n]
            states = scene.donor(receiver_MST)
            logits.append(self._at_depths(receiver_MST, states, scene.clean))
        return self._exchange(logits, p.writing_answer_MSN, p.writing_other_MSN)

    @cached_property
    def reading(self) -> Exchange:
        """Other states of the query's bridge, in others."""
        p, scene = self.partners, self.scene
        logits = []
        for n in range(MOST):
            receiver_MST = p.reading_MSNT[:, :, n]
            donor = scene.donor(p.donor_MSNT[:, :, n])
            logits.append(self._at_depths(receiver_MST, scene.donor(receiver_MST), donor))
        return self._exchange(logits, p.reading_answer_MSN, p.reading_other_MSN)

    @cached_property
    def swap(self) -> Exchange:
        """States of other bridges, in the query."""
        q = self.scene.queries
        logits = [self._at_depths(q.tokens_MST, self.scene.clean, states) for states in self._swap_states]
        return self._exchange(logits, self.partners.swap_answer_MSN, self.partners.swap_other_MSN)

    @cached_property
    def donor_right_MSN(self) -> Tensor:
        """Whether the donor chain of a swap is answered right."""
        p, scene = self.partners, self.scene
        right = [
            scene.says(scene.finish(p.swap_MSNT[:, :, n], states), p.swap_answer_MSN[:, :, n])
            for n, states in enumerate(self._swap_states)
        ]
        return torch.stack(right, dim=-1) & (p.swap_answer_MSN >= 0)

    @cached_property
    def erased_KMS(self) -> Tensor:
        """Whether the query is no longer answered t with the mean state of all queries at r1."""
        q, scene = self.scene.queries, self.scene
        real_MS1 = q.real_MS[..., None]
        lost = []
        for depth in scene.inner:
            state_MSD = scene.clean[depth][:, :, scene.bridge_place]
            mean_M1D = torch.where(real_MS1, state_MSD, 0.0).sum(dim=1, keepdim=True) / real_MS1.sum(
                dim=1, keepdim=True
            )
            logits_MSV = scene.patched(
                q.tokens_MST, scene.clean, depth, scene.bridge_place, mean_M1D.expand_as(state_MSD)
            )
            lost.append(~scene.says(logits_MSV, q.answer_MS))
        return torch.stack(lost)

    @cached_property
    def site_M(self) -> Tensor:
        """Index into `inner` of each member's l*."""
        success_KMJ, _ = self.pair_means(self.swap.hit_KMSN, self.swap.used_MSN)
        return success_KMJ[:, :, 0].nan_to_num(-1.0).argmax(dim=0)

    @property
    def depth_M(self) -> Tensor:
        """Each member's l*, as a depth."""
        return (self.site_M + self.scene.inner.start).float()

    def at_site(self, value_KMx: Tensor) -> Tensor:
        """Each member's value at its own l* (M, x), of values at every inner depth."""
        return of_each(value_KMx, self.site_M)

    def pair_means(self, value_xMSN: Tensor, used_MSN: Tensor, least: int = 1) -> tuple[Tensor, Tensor]:
        """Mean (x, M, J) over the used pairs of each split, NaN below `least` of them; and how many (M, J)."""
        used_MSN = used_MSN & self.scene.queries.real_MS[..., None]
        n_MJ = torch.einsum("msn,sj->mj", used_MSN.float(), self.scene.share_SJ)
        total_xMJ = torch.einsum("...msn,sj->...mj", (value_xMSN & used_MSN).float(), self.scene.share_SJ)
        return (total_xMJ / n_MJ).masked_fill(n_MJ < max(least, 1), torch.nan), n_MJ

    @cached_property
    def _swap_states(self) -> list[list[Tensor]]:
        return [self.scene.donor(self.partners.swap_MSNT[:, :, n]) for n in range(MOST)]

    def _at_depths(self, receiver_MST: Tensor, states: list[Tensor], donor: list[Tensor]) -> list[Tensor]:
        """Answer logits of the receivers with the donors' state at r1, for every inner depth."""
        scene = self.scene
        return [
            scene.patched(receiver_MST, states, depth, scene.bridge_place, donor[depth][:, :, scene.bridge_place])
            for depth in scene.inner
        ]

    def _exchange(self, logits: list[list[Tensor]], answer_MSN: Tensor, other_MSN: Tensor) -> Exchange:
        """Score the logits, by partner and then by inner depth."""

        def says(token_MSN: Tensor) -> Tensor:
            hits = [
                torch.stack([self.scene.says(logits_MSV, token_MSN[:, :, n]) for logits_MSV in at_depths])
                for n, at_depths in enumerate(logits)
            ]
            return torch.stack(hits, dim=-1) & (token_MSN >= 0)

        return Exchange(says(answer_MSN), says(other_MSN), answer_MSN >= 0, other_MSN >= 0)


def _mean(value_KMSN: Tensor, used_MSN: Tensor) -> Tensor:
    used_MSN = used_MSN.float()
    mean: Tensor = (value_KMSN * used_MSN).sum(dim=-1) / used_MSN.sum(dim=-1).clamp(min=1)
    return mean
