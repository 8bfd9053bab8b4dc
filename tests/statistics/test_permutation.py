"""The permutation test against enumeration by hand, and against what is known of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from grokstudy.analysis.statistics.permutation import DRAWS, MOST, permutation, scores


def members(n: int, size: int) -> np.ndarray:
    return np.arange(n) < size


def test_scores_are_observed_less_expected_events() -> None:
    # hazards: 1/4 at 1, 1/2 at 3 (the second is censored before it)
    found = scores(np.array([1.0, 2, 3, 4]), np.array([True, False, True, False]))
    assert found.tolist() == pytest.approx([1 - 1 / 4, -1 / 4, 1 - 3 / 4, -3 / 4])
    assert found.sum() == pytest.approx(0)


def test_the_total_score_is_the_numerator_of_the_log_rank_test() -> None:
    stream = np.random.default_rng(1)
    time, observed, a = stream.integers(1, 12, 15).astype(float), stream.random(15) < 0.7, members(15, 6)
    expected = 0.0
    for t in np.unique(time[observed]):
        at_risk = time >= t
        expected += (observed & (time == t)).sum() * (at_risk & a).sum() / at_risk.sum()
    assert scores(time, observed)[a].sum() == pytest.approx((observed & a).sum() - expected)


def test_complete_separation_of_five_and_five_has_two_assignments_of_252() -> None:
    time = np.array([1.0, 2, 3, 4, 5, 10, 11, 12, 13, 14])
    found = permutation(scores(time, np.ones(10, bool)), members(10, 5), np.zeros(10))
    assert [found.p, found.least] == pytest.approx([2 / 252] * 2)
    assert found.error is None


def test_within_seeds_only_names_of_one_seed_are_exchanged() -> None:
    time = np.array([1.0, 2, 3, 4, 5, 10, 11, 12, 13, 14])
    seed = np.tile(np.arange(5), 2)
    found = permutation(scores(time, np.ones(10, bool)), members(10, 5), seed)
    assert (found.p, found.least) == (2 / 32, 2 / 32)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.integers(0, 2)), min_size=2, max_size=8), st.data())
def test_p_is_the_share_of_assignments_that_are_as_far_out(
    rows: list[tuple[int, bool, int]], data: st.DataObject
) -> None:
    time, observed, seed = (np.array(column) for column in zip(*rows, strict=True))
    a = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    score = scores(time.astype(float), observed)
    same = [np.array(names) for names in itertools.product((False, True), repeat=len(rows))
            if all(np.array(names)[seed == s].sum() == a[seed == s].sum() for s in set(seed.tolist()))]  # fmt: skip
    totals = np.array([score[names].sum() for names in same])
    far = abs(totals - totals.mean())
    found = permutation(score, a, seed)
    assert found.p == pytest.approx((far >= abs(score[a].sum() - totals.mean()) - 1e-9).mean())
    assert found.least <= found.p <= 1


def test_too_many_assignments_are_drawn_with_an_error_that_is_told() -> None:
    stream = np.random.default_rng(2)
    time = stream.exponential(size=60)
    time[:8] *= 2
    score, a = scores(time, np.ones(60, bool)), members(60, 8)
    one, two = (permutation(score, a, np.zeros(60)) for _ in range(2))
    assert one == two
    assert one.error == pytest.approx(np.sqrt(one.p * (1 - one.p) / DRAWS))
    sides = (stats.CensoredData(uncensored=part) for part in (time[:8], time[8:]))
    assert one.p == pytest.approx(stats.logrank(*sides).pvalue, abs=0.05)


def test_ten_against_ten_are_still_enumerated() -> None:
    assert MOST >= 184_756
    found = permutation(scores(np.arange(1.0, 21), np.ones(20, bool)), members(20, 10), np.zeros(20))
    assert found.p == pytest.approx(2 / 184_756)
    assert found.error is None
