"""What n seeds come to, against studies that are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic import build

from grokstudy.orchestrator.planning.precision import Spread, half_width, precision, restricted_variance, spread_in_root
from grokstudy.orchestrator.study.load import load_study
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.storage.store import Store


@pytest.fixture
def study(tmp_path: Path) -> Study:
    path = tmp_path / "regimes.yaml"
    path.write_text("hypothesis: x\nspace: {data.exposure: [natural, both_hops]}\nseeds: 5\n")
    return load_study(path)


@pytest.mark.parametrize("censored", [0.0, 0.3])
def test_the_interval_covers_the_truth_in_95_of_100_studies(censored: float) -> None:
    """Of two equal groups of 6 seeds, times drawn log-normal and cut at the length."""
    rng, spread, seeds = np.random.default_rng(1), 0.25, 6
    drawn = rng.normal(0, spread, (4000, 2, seeds))
    limit = np.quantile(drawn, 1 - censored) if censored else np.inf
    means = np.minimum(drawn, limit).mean(axis=2)
    width = half_width(restricted_variance(spread, censored), seeds)
    assert 0.94 < float((np.abs(means[:, 0] - means[:, 1]) < width).mean()) < 0.99  # t is wider than the known spread


def test_the_seeds_that_it_takes_are_the_fewest(study: Study) -> None:
    told = precision(study, "generalised", Spread(0.2, 0, 0.0, ()), wanted=0.1)
    variance = restricted_variance(0.2, 0.0)
    assert told.needed is not None
    assert half_width(variance, told.needed) <= 0.1 < half_width(variance, told.needed - 1)
    assert told.half_width == pytest.approx(half_width(variance, 5))
    assert "as stated" in str(told)


def test_the_spread_is_that_within_groups_of_the_root(study: Study, tmp_path: Path) -> None:
    """`build` has times of 1 + 0.08 seed times those of its regime: the same few hundredths of a decade everywhere."""
    build(tmp_path / "root", seeds=6)
    spread = spread_in_root(study, Store(tmp_path / "root"), "memorised")
    assert spread is not None
    assert spread.decades == pytest.approx(float(np.std(np.log10(1 + 0.08 * np.arange(6)), ddof=1)), rel=0.2)
    assert spread.studies == ("regimes",)
    assert spread_in_root(study, Store(tmp_path / "empty"), "memorised") is None
