"""Censored times against published and independently computed values."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from grokstudy.analysis.events import EVENTS
from grokstudy.analysis.statistics import survival
from grokstudy.analysis.statistics.survival import Sample, kaplan_meier, median, restricted_mean

# Freireich et al. 1963, weeks in remission: 6-MP against placebo; the textbook example (Collett, table 1.1 ff.)
TREATED = ([6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35], 9)
PLACEBO = ([1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23], 21)


def sample(times: Sequence[float], observed: int | list[bool], **group: Any) -> Sample:
    """The first `observed` times are events, the rest are censored."""
    flags = [place < observed for place in range(len(times))] if isinstance(observed, int) else observed
    return Sample(group, np.array(times, float), np.array(flags, bool), np.arange(len(times)))


def events_of(**groups: tuple[Sequence[float], int]) -> pl.LazyFrame:
    """An events frame with one group per keyword; seeds are 0, 1, ..."""
    rows = []
    for group, (times, observed) in groups.items():
        for seed, time in enumerate(times):
            state = ("observed", time, None, 1) if seed < observed else ("censored", None, int(time), None)
            rows.append((f"{group}{seed}", "generalised", *state, int(time), group, seed))
    return pl.LazyFrame(rows, schema={**EVENTS, "regime": pl.String, "seed": pl.Int64}, orient="row")


def test_kaplan_meier_is_the_textbook_curve() -> None:
    curve = kaplan_meier(sample(*TREATED))
    drops = curve.filter(pl.col("happened") > 0)
    assert drops["time"].to_list() == [6, 7, 10, 13, 16, 22, 23]
    assert drops["survival"].to_list() == pytest.approx([0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448], abs=5e-4)
    assert drops["at_risk"].to_list() == [21, 17, 15, 12, 11, 7, 6]
    assert median(curve)[0] == 23
    assert median(kaplan_meier(sample(*PLACEBO)))[0] == 8


def test_limits_agree_with_another_implementation() -> None:
    lifelines = pytest.importorskip("lifelines")
    mine = sample(*TREATED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = lifelines.KaplanMeierFitter().fit(mine.time, mine.observed)
    theirs = fit.confidence_interval_.loc[6.0:35.0].to_numpy()
    ours = kaplan_meier(mine).select("low", "high").to_numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_a_median_that_is_not_reached_is_null() -> None:
    assert median(kaplan_meier(sample([10, 20, 30], 1))) == (None, 10, None)
    assert median(kaplan_meier(sample([10, 20, 30], 0))) == (None, None, None)
    value, low, high = median(kaplan_meier(sample([10, 20, 30], 3)))
    assert (value, low, high) == (20, 10, None)


@pytest.mark.parametrize(("times", "observed"), [([], 0), ([5], 0), ([5], 1), ([5, 5], 2), ([5, 5], 0), ([0, 0], 2)])
def test_degenerate_samples_give_nulls_and_no_warning(times: list[float], observed: int) -> None:
    curve = kaplan_meier(sample(times, observed))
    assert curve.schema == survival.CURVE
    assert not curve.select(pl.any_horizontal(pl.col("survival", "low", "high").is_nan().any())).to_series().any()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=20))
def test_survival_never_rises(rows: list[tuple[int, bool]]) -> None:
    curve = kaplan_meier(sample([time for time, _ in rows], [seen for _, seen in rows]))
    values = [1.0, *curve["survival"]]
    assert all(before >= after for before, after in itertools.pairwise(values))
    assert values[-1] >= -1e-12


def test_groups_carry_n_and_censored() -> None:
    found = survival.samples(events_of(a=([1, 2], 2), b=([5, 5, 5], 0)), "generalised", ["regime"])
    assert [(one.group["regime"], one.n, one.n_censored) for one in found] == [("a", 2, 0), ("b", 3, 3)]
    assert survival.samples(events_of(a=([1], 1)), "circuit", ["regime"]) == []


def test_log_rank_is_the_textbook_test() -> None:
    result = survival.log_rank(events_of(treated=TREATED, placebo=PLACEBO), "generalised", ["regime"])
    row = result.row(0, named=True)
    assert row["statistic"] ** 2 == pytest.approx(16.793, abs=2e-3)
    assert row["p"] == pytest.approx(4.17e-5, rel=0.01)
    assert (row["n_a"], row["censored_a"], row["n_b"], row["censored_b"]) == (21, 12, 21, 0)
    assert (row["test"], row["p_least"]) == ("normal", None)


def test_small_groups_are_tested_by_permutation_within_the_seeds_they_share() -> None:
    groups = events_of(a=([1, 2, 3, 4, 5], 5), b=([10, 11, 12, 13, 14], 5))
    row = survival.log_rank(groups, "generalised", ["regime"]).row(0, named=True)
    assert (row["test"], row["p"], row["p_least"]) == ("exact", 2 / 32, 2 / 32)
    assert row["p_unclustered"] == pytest.approx(2 / 252)
    apart = groups.with_columns(seed=pl.int_range(pl.len()))
    row = survival.log_rank(apart, "generalised", ["regime"]).row(0, named=True)
    assert (row["p"], row["p_least"]) == (pytest.approx(2 / 252), pytest.approx(2 / 252))
    assert row["p_unclustered"] == row["p"]


def test_runs_of_seeds_that_only_one_group_has_are_exchanged_among_themselves() -> None:
    groups = events_of(a=([1, 2, 3, 4], 4), b=([10, 11, 12, 13], 4))
    apart = pl.when(pl.col("seed") > 1).then(pl.col("seed") + 10 * (pl.col("regime") == "b")).otherwise("seed")
    row = survival.log_rank(groups.with_columns(seed=apart), "generalised", ["regime"]).row(0, named=True)
    assert row["p"] == pytest.approx(2 / (2 * 2 * 6))


def test_ten_in_one_group_are_few_and_many_assignments_are_drawn() -> None:
    groups = events_of(a=(range(1, 11), 10), b=(range(5, 45), 40)).with_columns(seed=pl.int_range(pl.len()))
    row = survival.log_rank(groups, "generalised", ["regime"]).row(0, named=True)
    assert (row["test"], row["p_least"]) == ("drawn", 1 / 20_000)
    assert 0 < row["p_error"] < 0.002


def test_holm_corrects_for_the_pairs_that_were_tested() -> None:
    groups = events_of(a=([1, 2, 3, 4], 4), b=([10, 20, 30, 40], 4), c=([11, 21, 31, 41], 4), d=([50] * 4, 0))
    result = survival.log_rank(groups, "generalised", ["regime"])
    smallest = result.sort("p").row(0, named=True)
    assert smallest["p_holm"] == pytest.approx(6 * smallest["p"])
    ordered = result.sort("p")
    assert (ordered["p_holm"] >= ordered["p"]).all()
    assert ordered["p_holm"].is_sorted()


def test_log_rank_says_why_there_is_no_test() -> None:
    row = survival.log_rank(events_of(a=([5, 5], 0), b=([5], 0)), "generalised", ["regime"]).row(0, named=True)
    assert row["p"] is None
    assert row["reason"] == "the event happened in neither group"
    assert survival.log_rank(events_of(a=([5], 1)), "generalised", ["regime"]).is_empty()


def test_the_restricted_mean_is_the_area_under_the_curve() -> None:
    observed = np.array([True, True, False])
    # steps 10, 100 and >1000: one decade at 1, one at 2/3, one at 1/3
    assert restricted_mean(np.array([10.0, 100, 1000]), observed, 1000) == pytest.approx(1 + 2 / 3 + 1 / 3)
    assert restricted_mean(np.array([10.0, 100, 1000]), observed, 10) == pytest.approx(1)


def test_contrasts_are_paired_where_seeds_are_shared() -> None:
    groups = events_of(a=([100, 200, 400], 3), b=([10, 20, 40], 3))
    row = survival.contrasts(groups, "generalised", ["regime"]).row(0, named=True)
    assert row["paired"]
    assert [row["difference"], row["low"], row["high"]] == pytest.approx([1, 1, 1])
    alone = survival.contrasts(events_of(a=([100, 200], 2), b=([10, 20, 40], 3)), "generalised", ["regime"])
    row = alone.row(0, named=True)
    assert not row["paired"]
    assert row["low"] < row["difference"] < row["high"]


def test_contrasts_with_a_censored_group_go_to_where_it_was_followed() -> None:
    groups = events_of(a=([3000, 3000], 0), b=([30, 30], 2))
    row = survival.contrasts(groups, "generalised", ["regime"]).row(0, named=True)
    assert row["limit"] == 3000
    assert row["difference"] == pytest.approx(2)


def test_contrasts_say_why_there_is_no_interval() -> None:
    row = survival.contrasts(events_of(a=([100], 1), b=([10], 1)), "generalised", ["regime"]).row(0, named=True)
    assert (row["low"], row["reason"]) == (None, "one seed: no interval")
    row = survival.contrasts(events_of(a=([9, 9], 0), b=([9, 9], 0)), "generalised", ["regime"]).row(0, named=True)
    assert (row["difference"], row["reason"]) == (None, "the event happened in neither group")


def test_contrasts_repeat_exactly() -> None:
    groups = events_of(a=([100, 250, 400, 420], 4), b=([10, 25, 60, 900], 3))
    one, two = (survival.contrasts(groups, "generalised", ["regime"]) for _ in range(2))
    assert_frame_equal(one, two)
    assert math.isfinite(one["low"][0])
