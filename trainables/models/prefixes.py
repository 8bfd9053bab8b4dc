"""Beginnings of sequences, each once: what a model that sees no later place need compute once.

Examples of an evaluation share most of theirs: a thousand chains of a graph begin with a hundred entities.

Axes: M member, S sequence, T place, R row (one beginning), N some rows, A answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from grokstudy.trainables.models.members import stacked
from grokstudy.trainables.randomness import IntArray

FORWARD_PLACES = {"cpu": 3 * 512, "cuda": 3 * 4096}
"""Places of one forward pass where many examples are looked at: what a core's cache holds, or what keeps a GPU busy in
bounded memory."""
BEYOND = 1 << 62
"""Behind all keys, and a float to the bit."""


@dataclass(frozen=True)
class Prefixes:
    """The beginnings of some sequences of every member, padded to whole pieces; a padded row is one of token 0.

    All pieces that go through a model are equally large, so that a member's numbers are the same to the bit in a pack
    whose other members have more beginnings.
    """

    token_MR: Tensor
    """The last token."""
    place_MR: Tensor
    """And its place."""
    before_MRT: Tensor
    """Rows of its own beginnings, the shortest first and itself; what stands behind its place means nothing."""
    key_MR: Tensor
    """Ascending: the row before, from 1, or 0 at the first place, times `tokens`, plus the token."""
    tokens: int
    most: int
    """How many rows go through a model at a time."""

    @classmethod
    def of(cls, tokens_MST: Tensor, last_MS: Tensor) -> Prefixes:
        """Of sequences that are read up to their place `last_MS`."""
        tokens, device = int(tokens_MST.max()) + 1, tokens_MST.device
        pairs = zip(tokens_MST.cpu().numpy(), last_MS.cpu().numpy(), strict=True)
        token, place, before, key = zip(*(_member(*pair, tokens) for pair in pairs), strict=True)
        columns = stacked(token), stacked(place), stacked(before), stacked(key, BEYOND)
        token_MR, place_MR, before_MRT, key_MR = (x.to(device) for x in columns)
        most = at_once(tokens_MST)
        more = -token_MR.shape[1] % most
        token_MR, place_MR = F.pad(token_MR, (0, more)), F.pad(place_MR, (0, more))
        before_MRT, key_MR = F.pad(before_MRT, (0, 0, 0, more)), F.pad(key_MR, (0, more), value=BEYOND)
        return cls(token_MR, place_MR, before_MRT, key_MR, tokens, most)

    @property
    def count(self) -> int:
        """R."""
        return self.token_MR.shape[1]

    def pieces(self, row_MN: Tensor) -> tuple[Tensor, ...]:
        """Rows in equal pieces, the last filled up with row 0."""
        return torch.split(F.pad(row_MN, (0, -row_MN.shape[1] % self.most)), self.most, dim=1)

    def rows(self, tokens_MSx: Tensor) -> Tensor:
        """The row of each sequence, or beginning, up to each of its places; of those that this was made of.

        Behind the place up to which a sequence was read there may be none: what is given there means nothing.
        """
        before_MS = torch.zeros_like(tokens_MSx[:, :, 0])
        rows = []
        for token_MS in tokens_MSx.unbind(2):
            row_MS = torch.searchsorted(self.key_MR, before_MS * self.tokens + token_MS).clamp(max=self.count - 1)
            rows.append(row_MS)
            before_MS = row_MS + 1
        return torch.stack(rows, dim=2)


def at_once(inputs_MSx: Tensor) -> int:
    """How many examples, or beginnings of such, go through a model at a time."""
    return max(1, FORWARD_PLACES[inputs_MSx.device.type] // max(inputs_MSx.shape[2], 3))


def _member(tokens_ST: IntArray, last_S: IntArray, tokens: int) -> tuple[IntArray, ...]:
    """Token, place, rows before and key of each beginning."""
    before_S = np.zeros_like(last_S)
    before_RT = np.zeros((1, tokens_ST.shape[1]), np.int64)  # what stands before a first place, and then the rows
    places, keys = [], []
    for t, token_S in enumerate(tokens_ST.T):
        read = last_S >= t
        key, own = np.unique(before_S[read] * tokens + token_S[read], return_inverse=True)
        count = len(before_RT)
        rows = before_RT[key // tokens]
        rows[:, t] = count - 1 + np.arange(len(key))
        before_RT = np.concatenate([before_RT, rows])
        before_S[read] = count + own
        places.append(np.full(len(key), t))
        keys.append(key)
    key_R = np.concatenate(keys)
    return key_R % tokens, np.concatenate(places), before_RT[1:], key_R
