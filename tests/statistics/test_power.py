"""What n runs could have shown: bounds from tables, and power by simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from grokstudy.analysis.statistics.power import POWER, could_have_seen
from grokstudy.analysis.statistics.sign_interval import sign_interval


def seen(*leads: float | None) -> dict[str, Any]:
    rows = {"kind": ["latent" if lead is None else "answer_first" for lead in leads], "lead": list(leads)}
    frame = pl.LazyFrame(rows, schema={"kind": pl.String, "lead": pl.Float64})
    row: dict[str, Any] = could_have_seen(frame, []).row(0, named=True)
    return row


@pytest.mark.parametrize(("n", "most"), [(1, 0.9750), (5, 0.5218), (10, 0.3085), (30, 0.1157)])
def test_none_of_n_leaves_the_share_of_clopper_and_pearson(n: int, most: float) -> None:
    assert seen(*[0.1] * n)["unseen"] == pytest.approx(most, abs=1e-4)


@pytest.mark.parametrize("n", [5, 6, 10, 12])
def test_the_detectable_lead_is_detected_as_often_as_said(n: int) -> None:
    leads = np.random.default_rng(0).normal(0.0, 0.2, n)
    row = seen(*leads)
    stream = np.random.default_rng(1)
    samples = stream.normal(row["detectable"], leads.std(ddof=1), (4000, n))
    shown = [found.low is not None and found.low > 0 for found in (sign_interval(own, own) for own in samples)]
    assert np.mean(shown) == pytest.approx(POWER, abs=0.03)


def test_what_cannot_be_said_has_a_reason() -> None:
    few, censored = seen(0.1, 0.2, 0.3), seen(0.1, 0.2, None, None, None)
    assert (few["detectable"], few["reason"]) == (None, "fewer than 5 runs: no interval that shows an order")
    assert few["spread"] == pytest.approx(0.1)
    assert (censored["spread"], censored["detectable"]) == (None, None)
    assert censored["reason"] == "fewer than 3 leads: no spread"
    none = could_have_seen(pl.LazyFrame({"kind": [None], "lead": [None]}, {"kind": pl.String, "lead": pl.Float64}), [])
    assert none["unseen"].to_list() == [None]
