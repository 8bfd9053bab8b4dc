"""What graph, initialisation and order bring to a spread: known sums, known truth, and crossings that are not full."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from grokstudy.analysis.statistics.variance import COMPONENTS, REST, components

PARTS = ("graph", "init", "order")


def crossed(sizes: tuple[int, int, int], value: Callable[[int, int, int], float | None]) -> pl.DataFrame:
    rows = [(*seeds, value(*seeds)) for seeds in itertools.product(*map(range, sizes))]
    return pl.DataFrame(rows, {**dict.fromkeys(PARTS, pl.Int64), "value": pl.Float64}, orient="row")


def by_part(rows: pl.DataFrame) -> dict[str, dict[str, float]]:
    return {row["part"]: row for row in components(rows, PARTS).to_dicts()}


def test_what_only_adds_up_leaves_nothing_together() -> None:
    """Graphs at 1 and 3 have the variance 2, initialisations at 0, 1, 2 the variance 1, and nothing is left."""
    found = by_part(crossed((2, 3, 1), lambda graph, init, _: 1.0 + 2 * graph + init))
    assert found["graph"]["spread"] == pytest.approx(2**0.5)
    assert found["init"]["spread"] == pytest.approx(1.0)
    assert found[REST]["spread"] == pytest.approx(0.0, abs=1e-6)
    assert found["graph"]["share"] == pytest.approx(2 / 3)
    assert "order" not in found, "of one seed nothing is known"
    assert (found["graph"]["seeds"], found["graph"]["n"]) == (2, 6)


def test_what_two_do_only_together_is_neithers() -> None:
    """An exclusive or: every graph and every initialisation has the mean 1/2."""
    found = by_part(crossed((2, 2, 1), lambda graph, init, _: float(graph ^ init)))
    assert (found["graph"]["spread"], found["init"]["spread"]) == (0.0, 0.0)
    assert found[REST]["spread"] == pytest.approx(1.0)
    assert found[REST]["share"] == 1.0


def test_of_one_part_alone_it_is_the_standard_deviation() -> None:
    values = [1.0, 2.5, 2.0, 4.0]
    found = by_part(crossed((1, 4, 1), lambda _, init, __: values[init]))
    assert list(found) == ["init"]
    assert found["init"]["spread"] == pytest.approx(np.std(values, ddof=1))
    low, high = np.std(values, ddof=1) * np.sqrt(3 / np.array([9.348, 0.2158]))  # chi-squared of 3 degrees, 95 %
    assert (found["init"]["low"], found["init"]["high"]) == pytest.approx((low, high), rel=0.05)


@pytest.mark.parametrize("parts", [(0.3, 0.1, 0.0), (0.0, 0.2, 0.2)])
def test_of_many_studies_the_mean_is_the_truth_and_intervals_hold_it(parts: tuple[float, float, float]) -> None:
    """100 crossings of 4 x 5 x 3, drawn; an interval holds a spread that is not 0 in about 95 % of them."""
    chance, rest, sizes = np.random.default_rng(1), 0.1, (4, 5, 3)
    variances: dict[str, list[float]] = {part: [] for part in PARTS}
    held: dict[str, list[bool]] = {part: [] for part in PARTS}
    for _ in range(100):
        effects = [spread * chance.standard_normal(size) for spread, size in zip(parts, sizes, strict=True)]
        noise = rest * chance.standard_normal(sizes)
        found = by_part(
            crossed(sizes, lambda g, i, o, e=effects, n=noise: e[0][g] + e[1][i] + e[2][o] + n[g, i, o])  # type: ignore[misc]
        )
        for part, spread in zip(PARTS, parts, strict=True):
            variances[part].append(found[part]["spread"] ** 2)
            held[part].append(found[part]["low"] <= spread <= found[part]["high"])
    for part, spread in zip(PARTS, parts, strict=True):
        error = 4 * np.std(variances[part]) / 100**0.5
        assert spread**2 - error <= np.mean(variances[part]) <= spread**2 + error + 0.0005, "what is below 0 is 0"
        assert np.mean(held[part]) >= 0.88


def test_a_crossing_that_is_not_full_says_nothing() -> None:
    whole = crossed((2, 2, 1), lambda graph, init, _: float(graph + init))
    censored = crossed((2, 2, 1), lambda graph, init, _: None if graph + init == 2 else 1.0)
    for rows in (whole.head(3), pl.concat([whole, whole.head(1)]), censored, whole.head(1)):
        assert components(rows, PARTS).equals(pl.DataFrame(schema=COMPONENTS))


def test_equal_runs_have_no_share() -> None:
    assert components(crossed((2, 2, 1), lambda *_: 3.0), PARTS)["share"].to_list() == [None, None, None]
