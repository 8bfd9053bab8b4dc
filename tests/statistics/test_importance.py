"""What each axis decides, where the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import polars as pl
import pytest

from grokstudy.analysis.statistics.importance import FEWEST, IMPORTANCE, importance

AXES = ["decay", "words", "depth"]


def grid(time: Callable[[float, str, int | None], float | None], seeds: int = 3) -> pl.DataFrame:
    rows = [
        {"decay": a, "words": b, "depth": c, "seed": seed, "time": time(a, b, c)}
        for a, b, c, seed in product((0.01, 0.1, 1.0, 3.0), ("x", "y"), (None, 1, 2), range(seeds))
    ]
    return pl.DataFrame(rows, schema_overrides={"time": pl.Float64})


def shares(rows: pl.DataFrame, question: str) -> dict[str, float]:
    found = importance(rows, AXES).filter(pl.col("question") == question)
    return dict(found.select("axis", "share").iter_rows())


def test_the_axis_that_decides_alone_has_all_of_it() -> None:
    rows = grid(lambda decay, *_: None if decay < 0.05 else 100 * 10**decay)
    for question, n in (("whether", 72), ("when", 54)):
        found = shares(rows, question)
        assert found["decay"] > 0.95
        assert found["words"] + found["depth"] < 0.02
        assert set(importance(rows, AXES).filter(pl.col("question") == question)["n"]) == {n}


def test_two_equal_axes_have_half_each_and_values_weigh_the_same_however_far_apart() -> None:
    def time(decay: float, words: str, depth: int | None) -> float:
        return float(10 ** (2 + (decay > 0.5) + (words == "y")))

    found = shares(grid(time), "when")
    assert found["decay"] == pytest.approx(0.5, abs=0.05)
    assert found["words"] == pytest.approx(0.5, abs=0.05)


def test_axes_that_decide_together_leave_a_rest() -> None:
    found = shares(grid(lambda decay, words, _: 100.0 if (decay > 0.5) == (words == "x") else 1000.0), "when")
    assert sum(found.values()) < 0.2


def test_a_censored_time_is_no_number() -> None:
    rng = np.random.default_rng(0)
    early = grid(lambda decay, *_: None if decay < 0.05 else float(100 + rng.integers(9)))
    assert shares(early, "when")["decay"] < 0.5, "when it came does not depend on decay where it came"
    assert shares(early, "whether")["decay"] > 0.95


@pytest.mark.parametrize(
    "rows",
    [
        grid(lambda *_: 100.0),
        grid(lambda *_: None),
        grid(lambda decay, *_: decay).head(FEWEST - 1),
        grid(lambda decay, *_: decay).filter((pl.col("words") == "x") & (pl.col("depth") == 1)),
        grid(lambda *_: None).clear(),
    ],
    ids=["all alike", "never", "too few", "one axis", "nothing"],
)
def test_nothing_is_said_where_nothing_can_be(rows: pl.DataFrame) -> None:
    assert importance(rows, AXES).is_empty()
    assert importance(rows, AXES).schema == IMPORTANCE


def test_the_same_rows_give_the_same_shares() -> None:
    rng = np.random.default_rng(1)
    rows = grid(lambda decay, *_: float(100 * decay + rng.integers(50)))
    assert importance(rows, AXES).equals(importance(rows, AXES))
