"""The lead over equal thresholds: is the order of circuit and answer one of the runs, or one of where one looks?

Both measures are held to the same threshold, .2 to .8, as they are and as shares of their own ceiling
(docs/science.md#leads-over-thresholds). An order is claimed only where sign and interval agree over the whole band.
A lead of which one event is censored is a bound and stays one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from grokstudy.analysis.statistics.decoupling import DELTA, leads
from grokstudy.analysis.statistics.sign_interval import ENOUGH, rank, sign_interval
from grokstudy.analysis.tables.study import StudyTables

ORDERS = {
    "circuit_first": "at every threshold the interval of the lead is above 0",
    "answer_first": "at every threshold the interval of the lead is below 0",
    "simultaneous": "at every threshold the interval of the lead is within 0.1 decades of 0",
    "undecided": "none of these: sign or interval depend on the threshold, or there are too few runs",
}
RUNS = pl.Schema(
    {
        "trial_id": pl.String,
        "scale": pl.String,
        "threshold": pl.Float64,
        "lead": pl.Float64,
        "lead_low": pl.Float64,
        "lead_high": pl.Float64,
        "error": pl.Float64,
    }
)
_COUNTS = {"n": pl.Int64, "observed": pl.Int64, "above": pl.Int64, "below": pl.Int64, "neither": pl.Int64}
CURVE = pl.Schema(
    {
        "scale": pl.String,
        "threshold": pl.Float64,
        **_COUNTS,
        "lead": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "coverage": pl.Float64,
        "error": pl.Float64,
    }
)
ORDER = pl.Schema(
    {"scale": pl.String, "n": pl.Int64, "order": pl.String, "low": pl.Float64, "high": pl.Float64, "reason": pl.String}
)


def run_leads(tables: StudyTables) -> pl.DataFrame:
    """Lead of every trial at every threshold (`RUNS`), in decades; trials without data in either event are left out.

    Where one event is censored, `lead` is null and `lead_low` or `lead_high` bounds it; where both are, all three are.
    `error` is what drawing other queries would change, one standard error.
    """
    parts = [
        _leads(part).with_columns(scale=pl.lit(scale), threshold=pl.lit(threshold))
        for (scale, threshold), part in tables.thresholds.group_by("scale", "threshold", maintain_order=True)
    ]
    shaped = [part.select(pl.col(name).cast(kind) for name, kind in RUNS.items()) for part in parts]
    return pl.concat([pl.DataFrame(schema=RUNS), *shaped]).sort("trial_id", "scale", "threshold")


def _leads(crossing_rows: pl.DataFrame) -> pl.DataFrame:
    # The queries of both measures count as drawn apart, which makes the error too large where they are the same.
    both = pl.col("error").count() == 2
    errors = crossing_rows.group_by("trial_id").agg(error=pl.when(both).then((pl.col("error") ** 2).sum().sqrt()))
    pairs = leads(crossing_rows.lazy()).filter(pl.col("kind").is_not_null()).collect()
    # An observed lead is that lead: the evaluations around its crossings are no bounds of a censored one.
    bounds = [pl.coalesce("lead", name).alias(name) for name in ("lead_low", "lead_high")]
    return pairs.with_columns(bounds).join(errors, on="trial_id", how="left")


def group_leads(runs: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Median lead of each group at each threshold, with its sign interval over runs (`CURVE`); one run per seed.

    `observed` runs have both events, `above` only a lower bound, `below` only an upper one, `neither` no event.
    """
    return _grouped(runs, [*by, "scale", "threshold"], _curve_row, CURVE)


def _grouped(
    frame: pl.DataFrame, keys: list[str], row_of: Callable[[pl.DataFrame], dict[str, Any]], schema: pl.Schema
) -> pl.DataFrame:
    """One row per group, in order of appearance: its keys, and what `row_of` makes of its rows."""
    parts = frame.group_by(keys, maintain_order=True)
    rows = [{**dict(zip(keys, group, strict=True)), **row_of(part)} for group, part in parts]
    axes = {name: kind for name, kind in frame.schema.items() if name in keys and name not in schema}
    return pl.DataFrame(rows, schema={**axes, **schema}, orient="row")


def _curve_row(part: pl.DataFrame) -> dict[str, Any]:
    low, high = part["lead_low"].fill_null(-np.inf).to_numpy(), part["lead_high"].fill_null(np.inf).to_numpy()
    interval = sign_interval(low, high)
    bounded_low, bounded_high = np.isfinite(low), np.isfinite(high)
    return {
        "n": len(low),
        "observed": int((bounded_low & bounded_high).sum()),
        "above": int((bounded_low & ~bounded_high).sum()),
        "below": int((~bounded_low & bounded_high).sum()),
        "neither": int((~bounded_low & ~bounded_high).sum()),
        "lead": interval.median,
        "low": interval.low if len(low) > 1 else None,
        "high": interval.high if len(low) > 1 else None,
        "coverage": interval.coverage,
        "error": part.select((pl.col("error") ** 2).mean().sqrt()).item(),
    }


def orders(curve: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """The order of each group on each scale (`ORDER`), and the outermost ends of its intervals over the band."""
    return _grouped(curve, [*by, "scale"], _order_row, ORDER)


def _order_row(part: pl.DataFrame) -> dict[str, Any]:
    n = int(part["n"].min())  # type: ignore[arg-type]
    low, high = part["low"].to_numpy(), part["high"].to_numpy()  # a missing end is NaN, which is beyond nothing
    whole = {"low": part["low"].min() if part["low"].null_count() == 0 else None,
             "high": part["high"].max() if part["high"].null_count() == 0 else None, "n": n}  # fmt: skip
    if n < ENOUGH:
        return {
            **whole,
            "order": "undecided",
            "reason": f"fewer than {ENOUGH} runs: their range covers the median in {rank(n)[1]:.0%}",
        }
    if (low > 0).all():
        return {**whole, "order": "circuit_first"}
    if (high < 0).all():
        return {**whole, "order": "answer_first"}
    if (low >= -DELTA).all() and (high <= DELTA).all():
        return {**whole, "order": "simultaneous"}
    open_at = [f"{row['threshold']:g}" for row in part.to_dicts() if not _one_sided(row["low"], row["high"])]
    reason = f"the interval holds 0 at {', '.join(open_at)}" if open_at else "the sign depends on the threshold"
    return {**whole, "order": "undecided", "reason": reason}


def _one_sided(low: float | None, high: float | None) -> bool:
    return (low is not None and low > 0) or (high is not None and high < 0)
