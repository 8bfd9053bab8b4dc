"""The boundary of outcomes whose truth is known."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from grokstudy.analysis.statistics.boundary import Surface, critical, critical_values


def outcomes(n: int, seed: int = 0) -> pl.DataFrame:
    """Yes beyond phi = 2 x (decay / 0.1)^-0.5, on a square grid of phi from 1 to 8 and decay from 0.03 to 0.3."""
    phi, decay = np.meshgrid(np.linspace(1, 8, n), np.geomspace(0.03, 0.3, n), indexing="ij")
    yes = phi > 2 * (decay / 0.1) ** -0.5
    return pl.DataFrame({"phi": phi.ravel(), "decay": decay.ravel(), "outcome": yes.ravel().astype(float)})


def test_the_band_holds_the_true_critical_value() -> None:
    found = critical_values(outcomes(9), ["phi", "decay"])
    truth = 2 * (found["decay"].to_numpy() / 0.1) ** -0.5
    low, high = found["low"].fill_null(0).to_numpy(), found["high"].fill_null(99).to_numpy()
    assert ((low <= truth) & (truth <= high)).mean() >= 8 / 9
    assert np.abs(np.log(found["value"].to_numpy() / truth)).max() < 0.25
    assert found["axis"].unique().to_list() == ["phi"]
    assert found["n"].unique().to_list() == [81]


def test_more_runs_make_the_band_narrower() -> None:
    few, many = (critical_values(outcomes(n), ["phi", "decay"]).drop_nulls() for n in (5, 12))
    width = [float((frame["high"] / frame["low"]).log().mean() or 0) for frame in (few, many)]  # type: ignore[arg-type]
    assert width[1] < 0.7 * width[0]


def test_a_falling_outcome_has_the_same_boundary() -> None:
    rising = outcomes(9)
    falling = rising.with_columns(outcome=1 - pl.col("outcome"))
    a, b = (critical_values(frame, ["phi", "decay"])["value"].to_numpy() for frame in (rising, falling))
    assert a == pytest.approx(b, rel=0.1)


def test_each_arm_of_words_has_a_boundary_of_its_own() -> None:
    shared, untied = outcomes(7), outcomes(7).with_columns(outcome=(pl.col("phi") > 5).cast(pl.Float64))
    both = pl.concat([shared.with_columns(depth=pl.lit("shared")), untied.with_columns(depth=pl.lit("untied"))])
    found = critical_values(both, ["phi", "decay", "depth"])
    assert found.columns[:2] == ["depth", "decay"]
    untied_at = found.filter(pl.col("depth") == "untied")["value"].to_numpy()
    assert untied_at == pytest.approx(np.full(len(untied_at), 5.2), abs=0.6)


def test_nothing_is_claimed_without_two_outcomes_or_an_axis_of_numbers() -> None:
    alike = outcomes(5).with_columns(outcome=pl.lit(1.0))
    assert critical_values(alike, ["phi", "decay"]).is_empty()
    assert critical_values(outcomes(5).with_columns(word=pl.lit("a")), ["word"]).is_empty()


def test_a_boundary_beyond_the_axis_has_no_value_there() -> None:
    never = outcomes(7).with_columns(outcome=((pl.col("decay") > 0.1) & (pl.col("phi") > 3)).cast(pl.Float64))
    found = critical_values(never, ["phi", "decay"])
    assert found.filter(pl.col("decay") < 0.05)["high"].null_count() == found.filter(pl.col("decay") < 0.05).height


def test_without_outcomes_the_surface_is_the_prior() -> None:
    mean, covariance = Surface.fit(np.zeros((0, 1)), np.zeros(0)).latent(np.linspace(0, 1, 5)[:, None])
    assert mean == pytest.approx(np.zeros(5))
    low, _, high = critical(mean, covariance, (5,), np.linspace(0, 1, 5))
    assert float(high[0] - low[0]) > 0.9
