"""Arms of a fork, seed by seed: known differences, exact p, and what is missing stays missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
import synthetic

from grokstudy.analysis.contrasts import findings
from grokstudy.analysis.statistics.paired import paired
from grokstudy.analysis.tables.study import load


def values(**arms: Sequence[float | None]) -> pl.DataFrame:
    rows = [(arm, seed, value) for arm, given in arms.items() for seed, value in enumerate(given)]
    return pl.DataFrame(rows, {"setting": pl.String, "seed": pl.Int64, "value": pl.Float64}, orient="row")


def test_seeds_are_compared_with_themselves() -> None:
    """Seeds differ by far more than the arms, which a test of unpaired values would drown in."""
    control = [0.1, 0.3, 0.5, 0.7, 0.9, 0.2]
    (row,) = paired(values(control=control, other=[value - 0.05 for value in control])).to_dicts()
    assert (row["setting"], row["against"], row["n"]) == ("other", "control", 6)
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((-0.05, -0.05, -0.05))
    assert (row["p"], row["p_least"], row["coverage"]) == pytest.approx((2 / 64, 2 / 64, 1 - 2 / 64))


def test_one_seed_that_goes_the_other_way_counts_as_it_should() -> None:
    """Of 8 exchanges the 4 whose sum is at least as far from 0: all alike, and all but the smallest."""
    (row,) = paired(values(control=[0.0, 0.0, 0.0], other=[0.4, 0.3, -0.1])).to_dicts()
    assert row["p"] == 4 / 8
    assert (row["difference"], row["low"], row["high"]) == (0.3, -0.1, 0.4)


def test_who_has_no_value_is_no_pair() -> None:
    rows = {
        row["setting"]: row
        for row in paired(values(c=[0.1, 0.2, None], d=[0.2, None, 0.3], e=[None, None, None])).to_dicts()
    }
    assert (rows["d"]["n"], rows["d"]["difference"]) == (1, pytest.approx(0.1))
    assert (rows["e"]["n"], rows["e"]["difference"], rows["e"]["p"]) == (0, None, None)


def test_the_report_pairs_the_arms_of_a_fork(tmp_path: Path) -> None:
    tables = load(synthetic.build_forks(tmp_path), "forks")
    (rows,) = (finding.rows for finding in findings(tables) if finding.figure == "branches")
    by_event = {row["event"]: row for row in rows.to_dicts()}
    assert by_event["generalised"]["difference"] == pytest.approx(-0.46, abs=0.05)
    assert by_event["generalised"]["p"] == 2 / 8
    assert not [found for found in findings(load(tmp_path, "regimes")) if found.figure == "branches"]
