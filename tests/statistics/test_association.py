"""Do the two events go together across runs? Hand-worked pairs, and a likelihood maximised by other means."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from scipy import optimize, stats

from grokstudy.analysis.events import EVENTS
from grokstudy.analysis.statistics.association import Pairs, concordance, hazard_ratio, pairs_of


def pairs(
    answer: Sequence[float], circuit: Sequence[float], stratum: list[int] | None = None, seed: list[int] | None = None
) -> Pairs:
    """Negative times are censored there; without seeds each run has its own."""
    sides = [np.array(side, float) for side in (answer, circuit)]
    groups = np.array(stratum or [0] * len(answer))
    seeds = np.array(list(range(len(answer))) if seed is None else seed)
    return Pairs(abs(sides[0]), sides[0] > 0, abs(sides[1]), sides[1] > 0, groups, seeds)


def test_tau_counts_the_pairs_whose_order_is_known() -> None:
    # 1-2 agree; 1-3 agree (3 is censored after 1 in both); 2-3: circuit order unknown, so not counted
    row = concordance(pairs([10, 20, -30], [1, 5, -2])).row(0, named=True)
    assert (row["tau"], row["pairs"], row["n"], row["n_censored"]) == (1.0, 2, 3, 1)
    row = concordance(pairs([10, 20, 30, 40], [4, 3, 2, 1])).row(0, named=True)
    assert (row["tau"], row["low"]) == (-1.0, None)
    row = concordance(pairs([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 6, 5])).row(0, named=True)
    assert row["tau"] == pytest.approx(13 / 15)
    assert row["low"] < row["tau"] <= row["high"]


def test_the_interval_of_tau_takes_seeds_for_what_is_independent() -> None:
    """Leave-one-seed-out by hand: the parts have tau 2/3, 1 and 2/3, and t has 2 degrees."""
    answer, circuit = [1, 2, 3, 4, 5, 6], [1, 2, 4, 3, 5, 6]
    row = concordance(pairs(answer, circuit, seed=[0, 0, 1, 1, 2, 2])).row(0, named=True)
    without = [concordance(pairs([answer[i] for i in kept], [circuit[i] for i in kept]))["tau"].item()
               for kept in ([2, 3, 4, 5], [0, 1, 4, 5], [0, 1, 2, 3])]  # fmt: skip
    spread = math.sqrt(2 / 3 * sum((tau - sum(without) / 3) ** 2 for tau in without))
    assert row["tau"] == pytest.approx(13 / 15)
    assert row["seeds"] == 3
    assert row["low"] == pytest.approx(13 / 15 - stats.t.ppf(0.975, 2) * spread)
    assert row["high"] == 1.0


def test_tau_of_runs_that_hang_on_one_seed_has_no_interval() -> None:
    row = concordance(pairs([1, 2, 3], [1, 3, 2], seed=[0, 0, 0])).row(0, named=True)
    assert (row["low"], row["seeds"]) == (None, 1)
    assert "one seed" in row["reason"]


def test_tau_within_strata_ignores_pairs_across_them() -> None:
    row = concordance(pairs([1, 2, 10, 20], [2, 1, 20, 10], [0, 0, 1, 1])).row(0, named=True)
    assert (row["tau"], row["pairs"]) == (-1.0, 2)


@pytest.mark.parametrize(("answer", "circuit"), [([], []), ([5], [5]), ([-5, -5], [-5, -5])])
def test_tau_without_comparable_pairs_has_a_reason(answer: list[float], circuit: list[float]) -> None:
    row = concordance(pairs(answer, circuit)).row(0, named=True)
    assert row["tau"] is None
    assert "no two runs" in row["reason"]


def test_hazard_ratio_maximises_the_partial_likelihood() -> None:
    answer = [40, 55, -90, 30, 70, 65, -90, 85]
    circuit = [20, 60, -90, 35, 25, 50, 45, 80]

    def negative(beta: float) -> float:
        total = 0.0
        for time in (t for t in answer if t > 0):
            formed = [0 < c < time for t, c in zip(answer, circuit, strict=True) if abs(t) >= time]
            mine = 0 < circuit[answer.index(time)] < time
            total += beta * mine - math.log(sum(math.exp(beta * has) for has in formed))
        return -total

    expected = math.exp(optimize.minimize_scalar(negative).x)
    row = hazard_ratio(pairs(answer, circuit)).row(0, named=True)
    assert row["hazard_ratio"] == pytest.approx(expected, rel=1e-3)
    assert row["low"] < row["hazard_ratio"] < row["high"]
    assert (row["n"], row["n_censored"], row["after"], row["before"], row["reason"]) == (8, 2, 4, 2, None)


@pytest.mark.parametrize(
    ("answer", "circuit", "reason"),
    [
        ([], [], "no run generalised"),
        ([-9, -9], [3, -9], "no run generalised"),
        ([5, 6, -9], [1, 2, -9], "no comparable run generalised before its circuit"),
        ([5, 6, -9], [-5, -6, 1], "no comparable run generalised after its circuit"),
    ],
)
def test_hazard_ratio_without_an_estimate_has_a_reason(answer: list[float], circuit: list[float], reason: str) -> None:
    row = hazard_ratio(pairs(answer, circuit)).row(0, named=True)
    assert row["hazard_ratio"] is None
    assert reason in row["reason"]


def test_pairs_leave_out_runs_without_data() -> None:
    rows = [
        ("t", "generalised", "observed", 50.0, 40, 60, 90, "b", 0),
        ("t", "circuit", "censored", None, 90, None, 90, "b", 0),
        ("u", "generalised", "observed", 50.0, 40, 60, 90, "a", 0),
        ("u", "circuit", "no_data", None, None, None, None, "a", 0),
        ("v", "circuit", "observed", 10.0, 5, 15, 90, "a", 1),
        ("v", "generalised", "censored", None, 90, None, 90, "a", 1),
    ]
    events = pl.LazyFrame(rows, schema={**EVENTS, "regime": pl.String, "seed": pl.Int64}, orient="row")
    found = pairs_of(events, ["regime"])
    assert found.answer.tolist() == [90, 50]
    assert found.circuit.tolist() == [10, 90]
    assert found.stratum.tolist() == [0, 1]
    assert found.seed.tolist() == [1, 0]
