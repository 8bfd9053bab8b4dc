"""Numbers made of words: the published generator, the right ranges, and the same bits when compiled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from grokstudy.trainables.words import choice, fresh, normal, permutation, several, splitmix64, uniform

WORDS = (torch.arange(4000) * 7919 + 123_456_789)[None]


def test_splitmix64_gives_the_published_sequence() -> None:
    # The first outputs for state 0, of the reference implementation (Vigna, splitmix64.c).
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    found = [int(fresh(torch.zeros(1, dtype=torch.int64), number)[0]) % 2**64 for number in (1, 2, 3)]
    assert found == expected
    assert torch.equal(several(WORDS, 5, 3)[..., 1], fresh(WORDS, 6))
    assert int(splitmix64(torch.zeros(1, dtype=torch.int64))[0]) == 0


def test_numbers_are_in_range_and_even() -> None:
    drawn = choice(several(WORDS, 1, 5), 7)
    assert (int(drawn.min()), int(drawn.max())) == (0, 6)
    counts = np.bincount(drawn.flatten().numpy(), minlength=7)
    assert abs(counts / counts.sum() - 1 / 7).max() < 0.01
    unit = uniform(several(WORDS, 1, 5))
    assert 0 < float(unit.min()) < float(unit.max()) < 1
    gauss = normal(WORDS, 1, 7)
    assert gauss.shape == (1, 4000, 7)
    assert abs(float(gauss.mean())) < 0.02
    assert float(gauss.std()) == pytest.approx(1.0, abs=0.02)
    orders = permutation(WORDS, 1, 6)
    assert torch.equal(orders.sort(dim=-1).values, torch.arange(6).expand_as(orders))
    assert abs(np.bincount(orders[0, :, 0].numpy(), minlength=6) / 4000 - 1 / 6).max() < 0.03


DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "several": lambda word: several(word, 3, 5),
    "far": lambda word: fresh(word, 1 << 20),
    "choice": lambda word: choice(several(word, 1, 5), 8),
    "uniform": lambda word: uniform(several(word, 1, 5)),
    "permutation": lambda word: permutation(word, 2, 6),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it compiles
@pytest.mark.parametrize("name", DRAWS)
def test_compiled_draws_are_the_same_bits(name: str) -> None:
    draw = DRAWS[name]
    compiled = torch.compile(draw, fullgraph=True, dynamic=False)
    assert torch.equal(draw(WORDS), compiled(WORDS))
