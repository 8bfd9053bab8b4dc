"""Paths before and after, on maps that were written down: what is like what, and what the verdict says of it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from synthetic import run_id, trial_row, write_study

from grokstudy.analysis.statistics.paths import MEASURES, OTHERS, maps, pearson, similarities, transplanted, verdicts
from grokstudy.analysis.tables.study import StudyTables, load
from grokstudy.trainables.storage.records import SCHEMAS, encode
from grokstudy.trainables.storage.store import Store

EVENTS: dict[str, Any] = {
    "memorised": {"metric": "accuracy", "split": "train_ii", "at_least": 0.95, "for": 1},
    "generalised": {"metric": "accuracy", "split": "test_ii", "at_least": 0.9, "for": 1},
}
SITES = list(itertools.product((1, 2, 3), ("h", "r1", "r2")))
BRIDGE = (0.6, 0.9, 0.3, 0.1, 0.7, 0.5, 0.0, 0.2, 1.0)
"""The answer moves from h over r1 to r2."""
DIRECT = (0.9, 0.1, 0.8, 0.9, 0.0, 0.9, 0.8, 0.1, 1.0)
"""It never passes through r1."""
TEST_II = {0: 0.0, 100: 0.2, 200: 0.95, 300: 0.97}
"""Memorised at 100, generalised at 200, late at 300."""


def study(
    root: Path, before: list[Any], late: list[Any], test_ii: dict[int, float] | None = None, n: int = 50
) -> StudyTables:
    """One run per pair of maps (None: not defined), with its neighbour at both later stages."""
    store, test_ii = Store(root), test_ii or TEST_II
    for number, (one, other) in enumerate(zip(before, late, strict=True)):
        noise = np.random.default_rng(number).normal(0, 0.01, len(SITES))
        rows: dict[str, Any] = {"step": [], "split": [], "accuracy": []}
        for step, value in test_ii.items():
            rows["step"] += [step, step]
            rows["split"] += ["train_ii", "test_ii"]
            rows["accuracy"] += [float(step >= 100), value]
        blank = {"attempt": [1] * len(rows["step"]), "n": [100] * len(rows["step"])}
        flat = {name: [0.0] * len(rows["step"]) for name in ("loss", "margin")}
        put(store, "evals", number, {**rows, **blank, **flat})
        sited = [
            (step, measure, layer, position, value)
            for (step, shape), measure in itertools.product(((100, one), (200, other), (300, other)), MEASURES)
            if shape is not None
            for (layer, position), value in zip(SITES, np.array(shape) + noise, strict=True)
        ]
        names = ("step", "probe", "layer", "position", "value")
        columns = {name: list(column) for name, column in zip(names, zip(*sited, strict=True), strict=True)}
        about = {"attempt": [1] * len(sited), "split": ["train_ii"] * len(sited), "n": [n] * len(sited)}
        put(store, "probes", number, {**columns, **about})
    write_study(root, "s", [trial_row("s", i, 300, i) for i in range(len(before))], axes=[], events=EVENTS)
    return load(root, "s")


def put(store: Store, table: str, number: int, rows: dict[str, Any]) -> None:
    arrow = pa.Table.from_pydict(rows, schema=SCHEMAS[table])
    store.write(f"metrics/{table}/run_id={run_id(number)}/part-{0:09d}.parquet", encode(arrow))


def verdict(tables: StudyTables) -> dict[str, Any]:
    """The row of patching; that of restoration is the same here."""
    rows = verdicts(tables).rows(named=True)
    assert [row["measure"] for row in rows] == list(MEASURES)
    assert rows[0]["verdict"] == rows[1]["verdict"]
    return rows[0]


def test_pearson_is_that_of_numpy_over_sites_that_both_have() -> None:
    one, other = np.array(BRIDGE), np.array(DIRECT)
    assert pearson(one, other) == pytest.approx(np.corrcoef(one, other)[0, 1])
    holed = np.where(np.arange(9) < 3, np.nan, other)
    assert pearson(one, holed) == pytest.approx(np.corrcoef(one[3:], other[3:])[0, 1])
    assert pearson(np.stack([one, one]), other[None]).shape == (2,)
    assert np.isnan(pearson(one, np.where(np.arange(9) < 5, np.nan, other))), "four sites"
    assert np.isnan(pearson(one, np.ones(9))), "no variance"


def test_maps_that_stay_are_the_same(tmp_path: Path) -> None:
    row = verdict(study(tmp_path, [BRIDGE] * 4, [BRIDGE] * 4))
    assert (row["verdict"], row["runs"], row["gap"], row["n"], row["beyond_chance"]) == ("same", 4, 4, 4, 4)
    assert row["similarity"] > 0.99
    assert row["other_seeds"] > 0.99
    assert row["before"] == pytest.approx(0.2)
    assert row["untrained"] is None


def test_maps_of_another_path_have_changed(tmp_path: Path) -> None:
    tables = study(tmp_path, [DIRECT] * 4, [BRIDGE] * 4)
    row = verdict(tables)
    assert row["verdict"] == "changed"
    assert row["similarity"] == pytest.approx(np.corrcoef(BRIDGE, DIRECT)[0, 1], abs=0.05)
    assert row["high"] < -0.1
    assert row["excess_low"] > 0.1
    assert row["generalised"] > 0.99
    found = similarities(maps(tables)).filter(pl.col("comparison") == "memorised")
    assert (found["p"] > 0.05).all()


def test_a_map_of_the_same_shape_and_a_third_of_the_strength_has_changed(tmp_path: Path) -> None:
    row = verdict(study(tmp_path, [np.array(BRIDGE) / 3] * 4, [BRIDGE] * 4))
    assert row["similarity"] > 0.95
    assert (row["verdict"], row["excess_low"] > 0.1) == ("changed", True)


def test_seeds_that_differ_among_themselves_decide_nothing_by_chance(tmp_path: Path) -> None:
    flat = [np.roll(BRIDGE, 2 * number) for number in range(4)]
    row = verdict(study(tmp_path, flat[::-1], flat))
    assert row["verdict"] == "undecided"
    assert row["beyond_chance"] == 0


@pytest.mark.parametrize(
    ("changes", "expected", "gap"),
    [
        ({"test_ii": {0: 0.0, 100: 0.6, 200: 0.95, 300: 0.97}}, "no_gap", 0),
        ({"test_ii": {0: 0.0, 100: 0.95, 200: 0.95, 300: 0.97}}, "no_gap", 0),
        ({"n": 20}, "undecided", 4),
    ],
)
def test_without_a_before_or_with_few_answers_there_is_no_verdict(
    tmp_path: Path, changes: dict[str, Any], expected: str, gap: int
) -> None:
    row = verdict(study(tmp_path, [DIRECT] * 4, [BRIDGE] * 4, **changes))
    assert (row["verdict"], row["gap"], row["n"], row["runs"]) == (expected, gap, 0, 4)


def test_two_runs_are_too_few(tmp_path: Path) -> None:
    assert verdict(study(tmp_path, [BRIDGE] * 2, [BRIDGE] * 2))["verdict"] == "no_gap"


def test_a_run_that_did_not_generalise_has_no_maps(tmp_path: Path) -> None:
    tables = study(tmp_path, [BRIDGE] * 3, [BRIDGE] * 3, test_ii={0: 0.0, 100: 0.1, 200: 0.3, 300: 0.3})
    assert maps(tables).is_empty()
    assert verdicts(tables).is_empty()
    assert transplanted(tables).is_empty()


def test_a_stage_without_a_map_is_left_out(tmp_path: Path) -> None:
    found = similarities(maps(study(tmp_path, [None, BRIDGE, BRIDGE], [BRIDGE] * 3)))
    counts = dict(found.filter(pl.col("measure") == "restore").group_by("comparison").len().rows())
    assert counts == {"memorised": 2, "generalised": 3, OTHERS: 3}
