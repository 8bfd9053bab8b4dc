"""What a tracker is shown of a run: a few curves with a few hundred points, dense where events happened.

Most trackers die of points, and compare only what is few. The full curves stay in Parquet. Points are chosen by
their step alone, log-spaced, so choosing again from the same rows chooses the same points.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from grokstudy.analysis.tables.parquet import Scan, Skipped
from grokstudy.trainables.schema import SPLITS, TABLES
from grokstudy.trainables.storage.store import Store

CURVES = 20
"""Most curves of a run."""
POINTS = 500
"""Most points of a curve."""
NEAR = 40
"""Points for the neighbourhood of each event."""
HALF_WIDTH = 0.05
"""Half the width of a neighbourhood, in decades of step: about 12 %."""
SCHEMA = pl.Schema({"metric": pl.String, "step": pl.Int64, "value": pl.Float64})
ANSWER_SPLIT = "test_oo"
"""The split that the studies are about: trackers show the first curve first."""
SCALARS = ("loss", "grad_norm", "weight_norm")


def tracked_curves(
    store: Store, run_id: str, horizon: int, times: Iterable[float | None] = (), first: Iterable[str] = (),
    skipped: dict[str, Skipped] | None = None,
) -> pl.DataFrame:  # fmt: skip
    """The curves of one run up to a step (`SCHEMA`); probes named in `first` come before the others.

    Files that cannot be read are noted in `skipped`.
    """
    noted = {} if skipped is None else skipped
    own = pl.DataFrame({"run_id": [run_id], "horizon": [horizon]})
    rows = {table: Scan(store, table, TABLES[table], own, noted).frame.collect() for table in TABLES}
    scalars = [] if rows["steps"].is_empty() else [_curve(rows["steps"], f"train/{name}", name) for name in SCALARS]
    tidy = [*_accuracies(rows["evals"]), *scalars, *_summaries(rows["probes"], list(first))]
    kept = [decimate(frame, horizon, times) for frame in tidy[:CURVES]]
    return pl.concat([pl.DataFrame(schema=SCHEMA), *kept])


def _accuracies(evals: pl.DataFrame) -> list[pl.DataFrame]:
    order = (ANSWER_SPLIT, *SPLITS)
    splits = sorted(set(evals["split"]), key=lambda name: (order.index(name) if name in order else len(order), name))
    return [_curve(evals.filter(pl.col("split") == split), f"accuracy/{split}", "accuracy") for split in splits]


def _summaries(probes: pl.DataFrame, first: list[str]) -> list[pl.DataFrame]:
    """Summaries of the probes on the test that matters; those that events look at first."""
    summary = probes.filter(
        pl.col("layer").is_null() & pl.col("position").is_null() & (pl.col("split") == ANSWER_SPLIT)
    )
    names = sorted(set(summary["probe"]), key=lambda name: (name not in first, name))
    return [_curve(summary.filter(pl.col("probe") == name), f"probe/{name}", "value") for name in names]


def _curve(rows: pl.DataFrame, metric: str, column: str) -> pl.DataFrame:
    named = rows.select(pl.lit(metric).alias("metric"), "step", pl.col(column).alias("value"))
    return named.cast(SCHEMA).drop_nulls().unique("step", keep="last").sort("step")


def decimate(curve: pl.DataFrame, horizon: int, times: Iterable[float | None] = ()) -> pl.DataFrame:
    """At most POINTS points: log-spaced ones, more of them near the events, and always the first and the last."""
    if len(curve) <= POINTS:
        return curve
    reached = sorted({time for time in times if time is not None})[: POINTS // (2 * NEAR)]
    decades = max(1.0, pl.select(pl.lit(horizon + 1.0).log10()).item())
    coarse = (POINTS - 2 - (NEAR + 3) * len(reached)) / decades - 1
    log = (pl.col("step") + 1).log10()
    bucket = (log * coarse).floor()
    for time in reached:
        offset = log - pl.lit(time + 1.0).log10()
        fine = (offset / (2 * HALF_WIDTH) * NEAR).floor()
        bucket = pl.when(offset.abs() < HALF_WIDTH).then(1e6 * (1 + reached.index(time)) + fine).otherwise(bucket)
    first = bucket.is_first_distinct()
    return curve.filter(first | (pl.col("step") == pl.col("step").max()))


def event_times(events: pl.DataFrame) -> dict[str, dict[str, float | None]]:
    """run_id -> event -> step at which it came, null when censored; events without data are left out."""
    times: dict[str, dict[str, float | None]] = {}
    for row in events.filter(pl.col("state") != "no_data").iter_rows(named=True):
        times.setdefault(row["run_id"], {})[row["event"]] = row["time"]
    return times
