"""What a tracker is shown of a run: a few curves with a few hundred points, dense where events happened.

Most trackers die of points, and compare only what is few. The full curves stay in Parquet. Points are chosen by
their step alone, log-spaced, so choosing again from the same rows chooses the same points.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from grokstudy.analysis.tables.parquet import Scan, Skipped
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.tasks import known_splits, of_splits

CURVES = 20
"""Most curves of a run."""
POINTS = 500
"""Most points of a curve."""
NEAR = 40
"""Points for the neighbourhood of each event."""
HALF_WIDTH = 0.05
"""Half the width of a neighbourhood, in decades of step: about 12 %."""
SCHEMA = pl.Schema({"run_id": pl.String, "metric": pl.String, "step": pl.Int64, "value": pl.Float64})
CURVE = ("run_id", "metric")
SCALARS = ("loss", "grad_norm", "weight_norm")


def tracked_curves(
    store: Store, horizons: Mapping[str, int], times: Mapping[str, Iterable[float | None]], first: Iterable[str] = (),
    skipped: dict[str, Skipped] | None = None,
) -> pl.DataFrame:  # fmt: skip
    """The curves of some runs, each up to its horizon (`SCHEMA`), dense near its events' `times`.

    Probes named in `first` come before the others. Files that cannot be read are noted in `skipped`.
    """
    noted = {} if skipped is None else skipped
    runs = pl.DataFrame({"run_id": [*horizons], "horizon": [*horizons.values()]})
    rows = {table: Scan(store, table, TABLES[table], runs, noted).frame for table in TABLES}
    recorded = rows["evals"].select("split").unique().collect()["split"].drop_nulls().sort().to_list()
    headline, _ = of_splits(recorded)
    is_summary = pl.col("layer").is_null() & pl.col("position").is_null() & (pl.col("split") == headline)
    parts = [
        _tidy(rows["evals"], pl.format("accuracy/{}", "split"), "accuracy"),
        *(_tidy(rows["steps"], pl.lit(f"train/{name}"), name) for name in SCALARS),
        _tidy(rows["probes"].filter(is_summary), pl.format("probe/{}", "probe"), "value"),
    ]
    tidy = pl.concat(parts).collect()
    order = _order(tidy["metric"].unique(), headline, list(first))
    shown = (
        tidy.select(*CURVE).unique().with_columns(order=pl.col("metric").replace_strict(order, return_dtype=pl.Int64))
    )
    kept = shown.filter(pl.col("order").rank().over("run_id") <= CURVES)
    points = tidy.drop_nulls().unique([*CURVE, "step"], keep="last", maintain_order=True)
    curves = points.join(kept, on=CURVE).sort("run_id", "order", "step").select(list(SCHEMA)).cast(SCHEMA)
    is_long = pl.len().over(CURVE) > POINTS
    thinned = [
        decimate(curve, horizons[curve["run_id"][0]], times.get(curve["run_id"][0], ()))
        for curve in curves.filter(is_long).partition_by(CURVE)
    ]
    return pl.concat([curves.filter(~is_long), *thinned])


def _tidy(rows: pl.LazyFrame, metric: pl.Expr, column: str) -> pl.LazyFrame:
    return rows.select("run_id", metric.alias("metric"), "step", pl.col(column).alias("value").cast(pl.Float64))


def _order(metrics: Iterable[str], headline: str, first: Sequence[str]) -> dict[str, int]:
    """Places of metrics: accuracies, training, then probes, of which those that events look at come first."""
    splits = (headline, *known_splits())

    def place(metric: str) -> tuple[int, int, str]:
        kind, _, name = metric.partition("/")
        known = {"accuracy": splits, "train": SCALARS}.get(kind)
        if known is None:
            return 2, int(name not in first), name
        return ("accuracy", "train").index(kind), known.index(name) if name in known else len(known), name

    return {metric: number for number, metric in enumerate(sorted(metrics, key=place))}


def decimate(curve: pl.DataFrame, horizon: int, times: Iterable[float | None] = ()) -> pl.DataFrame:
    """At most POINTS points: log-spaced ones, more of them near the events, and always the first and the last.

    `curve` has one row per `step`, in order.
    """
    if len(curve) <= POINTS:
        return curve
    reached = sorted({time for time in times if time is not None})[: POINTS // (2 * NEAR)]
    coarse = (POINTS - 2 - (NEAR + 3) * len(reached)) / max(1.0, math.log10(horizon + 1)) - 1
    log = np.log10(curve["step"].to_numpy() + 1.0)
    bucket = np.floor(log * coarse)
    for number, time in enumerate(reached):
        offset = log - math.log10(time + 1)
        fine = np.floor(offset / (2 * HALF_WIDTH) * NEAR)
        bucket = np.where(np.abs(offset) < HALF_WIDTH, 1e6 * (1 + number) + fine, bucket)
    kept = np.append(np.unique(bucket, return_index=True)[1], len(curve) - 1)
    return curve[np.unique(kept)]


def event_times(events: pl.DataFrame) -> dict[str, dict[str, float | None]]:
    """run_id -> event -> step at which it came, null when censored; events without data are left out."""
    times: dict[str, dict[str, float | None]] = {}
    for row in events.filter(pl.col("state") != "no_data").iter_rows(named=True):
        times.setdefault(row["run_id"], {})[row["event"]] = row["time"]
    return times
