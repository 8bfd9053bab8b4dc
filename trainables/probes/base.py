"""What a probe is: a pure function of a scene, returning measurements per member.

A probe never changes weights or random state; it runs without gradients. Interventions write the state of one run
(the donor) into another (the receiver) at one site and continue from there; neither blocks before the site nor, in a
causal model, earlier positions are computed again. Shared by the probes and computed once per checkpoint: the clean
runs, the runs of the contexts, and the transplants of the clean state into the context.

The causal site is (l*, r1): l* is, per member, the depth from 1 to the last but one whose transplant at r1 succeeds
most often on `train_ii`. No other split has a part in the choice, so none of their values is selected on noise. The
probes `capacity` and `mediation` choose theirs by exchanges of untrained chains (`exchanges.py`).

Axes: M member, S query, T token, D width, V vocabulary, J split, K inner depth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from grokstudy.trainables.models.embedding import lookup
from grokstudy.trainables.models.network import Network, margins
from grokstudy.trainables.probes.queries import Queries
from grokstudy.trainables.tasks.graph import BRIDGE_PLACES

if TYPE_CHECKING:
    from grokstudy.trainables.probes.exchanges import Exchanges

MIN_CORRECT = 10
"""A share of the correctly answered queries is not defined on fewer than these."""


@dataclass(frozen=True)
class Measurement:
    """One number per member: `value_M` (NaN where it is not defined) at a site, or a summary without site."""

    probe: str
    split: str
    layer: int | None
    position: str | None
    value_M: Tensor
    n_M: Tensor
    """Examples really used."""


@dataclass(frozen=True)
class Transplants:
    """What the model answers with a donor state at one place, for every inner depth."""

    success_KMS: Tensor
    """Whether the answer is the donor's."""
    gap_KMS: Tensor
    """Logit of the donor's answer minus logit of the receiver's."""


@dataclass
class Scene:
    """A pack at one checkpoint, and the queries to look at."""

    model: Network
    weights: dict[str, Tensor]
    queries: Queries
    entities: int

    @property
    def positions(self) -> tuple[str, ...]:
        """Names of the positions that are measured."""
        return self.model.positions

    @property
    def inner(self) -> range:
        """Depths at which a bridge can be read: after a block and before another. (0,) if there is one block."""
        return range(1, self.model.depth) or range(1)

    @property
    def bridge_place(self) -> int:
        """Where the bridge is looked for: there the model says the tail of a fact (h, r1) (`Network.says_behind`)."""
        return self.positions.index(BRIDGE_PLACES[self.model.says_behind])

    @cached_property
    def clean(self) -> list[Tensor]:
        """States (M, S, T, D) of the queries at every effective depth."""
        return self.run(self.queries.tokens_MST)

    @cached_property
    def context(self) -> list[Tensor]:
        """States of the contexts, but for those at the last depth."""
        return self.donor(self.queries.context_MST)

    @cached_property
    def clean_logits_MSV(self) -> Tensor:
        """What the model says to the queries."""
        return self.finish(self.queries.tokens_MST, self.clean)

    @cached_property
    def correct_MS(self) -> Tensor:
        """Whether the model answers the query."""
        return self.queries.real_MS & self.says(self.clean_logits_MSV, self.queries.answer_MS)

    @cached_property
    def share_SJ(self) -> Tensor:
        """1 where a query belongs to a split."""
        return torch.nn.functional.one_hot(self.queries.split_S, len(self.queries.splits)).float()

    @cached_property
    def in_context_MS(self) -> Tensor:
        """Queries that have a context."""
        return self.queries.context_answer_MS >= 0

    @cached_property
    def bridge_transplants(self) -> Transplants:
        """The clean state at r1 written into the context at r1."""
        return self.transplants(self.bridge_place)

    @cached_property
    def site_M(self) -> Tensor:
        """Index into `inner` of each member's l*."""
        success_KMJ, _ = self.means(self.bridge_transplants.success_KMS, self.in_context_MS)
        return success_KMJ[:, :, 0].nan_to_num(-1.0).argmax(dim=0)

    @cached_property
    def exchanges(self) -> Exchanges:
        """Exchanges of states with untrained chains."""
        from grokstudy.trainables.probes.exchanges import Exchanges

        return Exchanges(self)

    def donor(self, tokens_MST: Tensor) -> list[Tensor]:
        """States (M, S, T, D) at every depth but the last, which `finish` only needs where the answer is said.

        Of sequences that are among the queries' own, or begin one.
        """
        if not self.model.takes_prefixes(tokens_MST):
            return self.run(tokens_MST, max(self.model.depth - 1, 0))
        row_MST = self.queries.prefixes.rows(tokens_MST)
        return [lookup(state_MRD, row_MST) for state_MRD in self.prefix_states]

    @cached_property
    def prefix_states(self) -> list[Tensor]:
        """States (M, R, D) of all beginnings of the queries' sequences, at every depth but the last."""
        prefixes, last = self.queries.prefixes, max(self.model.depth - 1, 0)
        return self.model.states_of_prefixes(self.weights, prefixes, last)

    def run(self, tokens_MST: Tensor, last: int | None = None) -> list[Tensor]:
        """States (M, S, T, D) at every effective depth until `last`, or the end."""
        return states_of(self.model, self.weights, tokens_MST, last)

    def finish(self, tokens_MST: Tensor, path: list[Tensor], place: int = 0, unedited: Sequence[Tensor] = ()) -> Tensor:
        """Answer logits (M, S, V) of two-hop queries whose states from depth 0 on are `path`, the rest computed.

        `place` and `unedited` as in `Network.resume`.
        """
        answer_at_MS = torch.full_like(tokens_MST[:, :, 0], 2)
        return self.model.resume(self.weights, tokens_MST, path, answer_at_MS, place, unedited).float()

    def patched(self, tokens_MST: Tensor, states: list[Tensor], depth: int, place: int, donor_MSD: Tensor) -> Tensor:
        """Answer logits (M, S, V) of the receiver with a donor state at one site."""
        resid_MSTD = states[depth].clone()
        resid_MSTD[:, :, place] = donor_MSD
        return self.finish(tokens_MST, [*states[:depth], resid_MSTD], place, states)

    def transplants(self, place: int) -> Transplants:
        """Write the clean state at one place into the context, at every inner depth."""
        q = self.queries
        logits = [
            self.patched(q.context_MST, self.context, depth, place, self.clean[depth][:, :, place])
            for depth in self.inner
        ]
        success = [self.says(logits_MSV, q.answer_MS) for logits_MSV in logits]
        gap = [logit_gap(logits_MSV, q.answer_MS, q.context_answer_MS) for logits_MSV in logits]
        return Transplants(torch.stack(success), torch.stack(gap))

    def says(self, logits_MSV: Tensor, token_MS: Tensor) -> Tensor:
        """Whether a token is above every other entity (M, S), as in the accuracy."""
        return margins(logits_MSV, token_MS.clamp(min=0), self.entities) > 0

    def at_site(self, value_KMx: Tensor) -> Tensor:
        """Each member's value at its own l* (M, x), of values at every inner depth."""
        return of_each(value_KMx, self.site_M)

    def means(self, value_xMS: Tensor, used_MS: Tensor, least: int = 1) -> tuple[Tensor, Tensor]:
        """Mean (x, M, J) over the used queries of each split, NaN below `least` of them; and how many (M, J)."""
        used_MSJ = (used_MS & self.queries.real_MS)[..., None] * self.share_SJ
        n_MJ = used_MSJ.sum(dim=1)
        value_xMS = torch.where(used_MS, value_xMS.float(), 0.0)
        mean_xMJ = (value_xMS[..., None] * used_MSJ).sum(dim=-2) / n_MJ
        return mean_xMJ.masked_fill(n_MJ < max(least, 1), torch.nan), n_MJ

    def rows(
        self, probe: str, site: tuple[int, int] | None, value_MS: Tensor, used_MS: Tensor, least: int = 1
    ) -> Iterator[Measurement]:
        """One mean per split, at a (depth, place) or as a summary."""
        return self.split_rows(probe, site, *self.means(value_MS, used_MS, least))

    def split_rows(
        self, probe: str, site: tuple[int, int] | None, value_MJ: Tensor, n_MJ: Tensor
    ) -> Iterator[Measurement]:
        """One measurement per split."""
        layer, position = (None, None) if site is None else (site[0], self.positions[site[1]])
        for split, value_M, n_M in zip(self.queries.splits, value_MJ.unbind(1), n_MJ.unbind(1), strict=True):
            yield Measurement(probe, split, layer, position, value_M, n_M)


Probe = Callable[[Scene], Iterable[Measurement]]


def states_of(model: Network, weights: dict[str, Tensor], inputs_MSx: Tensor, last: int | None = None) -> list[Tensor]:
    """States (M, S, T, D) at every effective depth until `last`, or the end."""
    states: list[Tensor] = []

    def record(_: int, resid_MSTD: Tensor) -> Tensor:
        states.append(resid_MSTD)
        return resid_MSTD

    model.residual(weights, inputs_MSx, record, last)
    return states


def of_each(value_KMx: Tensor, site_M: Tensor) -> Tensor:
    """Each member's value at its own site (M, x), of values at every inner depth."""
    return value_KMx[site_M, torch.arange(value_KMx.shape[1], device=value_KMx.device)]


def logit_gap(logits_MSV: Tensor, token_MS: Tensor, other_MS: Tensor) -> Tensor:
    """Logit of one token minus logit of another (M, S); -1 for a token that is not there is allowed."""
    both_MS2 = torch.stack([token_MS, other_MS], dim=-1).clamp(min=0)
    own_MS, other = logits_MSV.gather(-1, both_MS2).unbind(-1)
    return own_MS - other
