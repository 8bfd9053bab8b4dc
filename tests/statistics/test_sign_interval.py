"""The interval of a median: coverage as tables have it, and bounds that keep their place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokstudy.analysis.statistics.sign_interval import ENOUGH, LEVEL, rank, sign_interval

INF = np.inf


@pytest.mark.parametrize(
    ("n", "k", "coverage"),
    [(1, 1, 0), (2, 1, 0.5), (4, 1, 0.875), (5, 1, 0.9375), (6, 1, 0.9688), (9, 2, 0.9609), (20, 6, 0.9586)],
)
def test_ranks_are_those_of_the_tables(n: int, k: int, coverage: float) -> None:
    """Conover, Practical Nonparametric Statistics, table A3: the binomial with p = 1/2."""
    assert rank(n)[0] == k
    assert rank(n)[1] == pytest.approx(coverage, abs=1e-4)


def test_five_values_are_the_fewest_whose_range_comes_near_the_level() -> None:
    assert rank(ENOUGH - 1)[1] < 0.9 < rank(ENOUGH)[1] < LEVEL <= rank(ENOUGH + 1)[1]


def test_known_values_have_their_median_and_range() -> None:
    values = np.array([0.3, 0.1, 0.5, 0.2, 0.4])
    found = sign_interval(values, values)
    assert (found.median, found.low, found.high, found.coverage) == (0.3, 0.1, 0.5, 0.9375)


def test_bounds_move_only_the_ends_that_they_leave_open() -> None:
    above = sign_interval(np.array([0.1, 0.2, 0.3, 0.35, 0.6]), np.array([0.1, 0.2, 0.3, INF, INF]))
    assert (above.median, above.low, above.high) == (0.3, 0.1, None)
    most = sign_interval(np.array([0.1, 0.2, 0.3, 0.35, 0.6]), np.array([0.1, 0.2, INF, INF, INF]))
    assert (most.median, most.median_low, most.median_high) == (None, 0.3, None)
    unknown = sign_interval(np.array([-INF, 0.2]), np.array([INF, 0.2]))
    assert (unknown.median_low, unknown.median_high, unknown.low, unknown.high) == (None, None, None, None)
    assert sign_interval(np.array([]), np.array([])).coverage == 0


ENDS = st.lists(st.tuples(st.floats(-2, 2), st.floats(0, 2)), min_size=1, max_size=12)


@given(ENDS, st.floats(0, 1))
def test_knowing_less_never_narrows_the_interval(ends: list[tuple[float, float]], more: float) -> None:
    low, high = np.array([a for a, _ in ends]), np.array([a + wide for a, wide in ends])
    found, wider = sign_interval(low, high), sign_interval(low - more, high + more)
    assert None not in (found.low, found.high, wider.low, wider.high)
    assert wider.low <= found.low <= found.high <= wider.high  # type: ignore[operator]
