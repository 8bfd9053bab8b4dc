"""A run that was trained again, held against its record: bitwise, statistical or not reproducible.

The definitions are in docs/science.md#reproducibility. Rows are compared by what tells them apart (step, split, ...);
which attempt wrote them does not count. Times and last values are compared with what seeds of the group vary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from grokstudy.analysis.tables.study import StudyTables
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.continuity import KEYS, due
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.study_dir import AUDIT_LABELS

ROUNDING = 1e-4
"""Largest relative difference with which a run that only rounds otherwise can begin to differ."""
DIFFERENCES = pl.Schema(
    {
        "step": pl.Int64,
        "table": pl.String,
        "row": pl.String,
        "column": pl.String,
        "recorded": pl.Float64,
        "repeated": pl.Float64,
        "n": pl.Int32,
    }
)
"""A value that differs: of which row, null where a side has no such row, and on how many examples it was measured."""


@dataclass(frozen=True)
class Verdict:
    """What comes of the comparison."""

    label: str
    first: str | None
    """The first value that differs, in words; None where none does."""
    beyond: tuple[str, ...]
    """Why it is not reproducible: what is beyond rounding or beyond the group's seeds."""


def verdict(record: RunDir, repetition: RunDir, config: RunConfig, until: int, beyond: list[str]) -> Verdict:
    """Compare two trainings of one configuration up to `until` steps; `beyond` is what times and last values say.

    Raises DamagedError for a torn part.
    """
    found = differences(record, repetition, config, until)
    if found.is_empty():
        return Verdict("bitwise", None, ())
    begin = found.filter(pl.col("step") == found["step"].min())
    large = begin.filter(~at_rounding())
    reasons = [f"begins beyond rounding: {_words(row)}" for row in large.head(1).iter_rows(named=True)]
    reasons += beyond
    return Verdict(AUDIT_LABELS[2 if reasons else 1], _words(begin.row(0, named=True)), tuple(reasons))


def differences(record: RunDir, repetition: RunDir, config: RunConfig, until: int) -> pl.DataFrame:
    """Every value that differs before `until` steps, evaluations there included (`DIFFERENCES`), in order of step."""
    parts = []
    for table, keys in KEYS.items():
        old, new = (pl.DataFrame(records.read(run, table)).drop("attempt") for run in (record, repetition))
        # A run is evaluated at its end, too, wherever that lies; where both sides were is compared.
        steps = {*due(config, table, until + (table != "steps")).tolist(), *({*old["step"]} & {*new["step"]})}
        wanted = pl.col("step").is_in(sorted(step for step in steps if step < until + (table != "steps")))
        new = new.with_columns(pl.lit(None).alias(name) for name in old.columns if name not in new.columns)
        both = old.filter(wanted).join(
            new.filter(wanted), on=keys, how="full", nulls_equal=True, coalesce=True, suffix="_repeated"
        )
        row = pl.concat_str(pl.col(keys[1:]), separator=" ", ignore_nulls=True) if keys[1:] else pl.lit("")
        count = pl.coalesce("n", "n_repeated") if "n" in old.columns else pl.lit(None)
        for name in (name for name in old.columns if name not in keys):
            found = both.filter(pl.col(name).ne_missing(pl.col(f"{name}_repeated")))
            known = {"table": pl.lit(table), "row": row, "column": pl.lit(name), "n": count}
            values = {"recorded": pl.col(name), "repeated": pl.col(f"{name}_repeated")}
            shape = found.select("step", **known, **values)
            parts.append(shape.select(pl.col(key).cast(kind) for key, kind in DIFFERENCES.items()))
    order = pl.col("table").replace_strict({name: rank for rank, name in enumerate(TABLES)}, return_dtype=pl.Int64)
    return pl.concat(parts).sort("step", order, maintain_order=True)


def at_rounding() -> pl.Expr:
    """Whether a difference may come of rounding alone: relatively small, or of a share by one example."""
    off = (pl.col("recorded") - pl.col("repeated")).abs()
    size = pl.max_horizontal(pl.col("recorded").abs(), pl.col("repeated").abs())
    is_share = pl.col("column").is_in(["accuracy", "value"])
    one_example = is_share & (off * pl.col("n") <= 1 + ROUNDING)
    return ((off <= ROUNDING * size) | one_example).fill_null(False)


def _words(row: dict[str, object]) -> str:
    old, new = row["recorded"], row["repeated"]
    of = f" of {row['row']}" if row["row"] else ""
    sides = " and ".join("no value" if value is None else f"{value:.9g}" for value in (old, new))
    relative = ""
    if isinstance(old, float) and isinstance(new, float) and old != new:
        relative = f" (relatively {abs(old - new) / max(abs(old), abs(new)):.2g})"
    return f"step {row['step']:,}, {row['table']}.{row['column']}{of}: {sides}{relative}"


def beyond_seeds(recorded: StudyTables, repeated: StudyTables, trial_id: str) -> list[str]:
    """Event times and last values of a trial that are farther from its record than its group's seeds from each other.

    Nor is anything beyond that differs by less than the measurement resolves: two evaluations, one example.
    """
    by = recorded.groups
    results = recorded.results.select("trial_id", *by).collect()
    own = results.filter(pl.col("trial_id") == trial_id)
    group = own.select(by).join(results, on=by, nulls_equal=True)["trial_id"] if by else results["trial_id"]
    return [*_late(recorded, repeated, trial_id, group), *_off(recorded, repeated, trial_id, group)]


def _late(recorded: StudyTables, repeated: StudyTables, trial_id: str, group: pl.Series) -> Iterator[str]:
    """Events that came at another time, in decades of steps, or to one side alone."""
    of_group = recorded.events.filter(pl.col("trial_id").is_in(group.implode())).collect()
    of_repeated = repeated.events.filter(pl.col("trial_id") == trial_id).collect()
    for event in recorded.declared:
        seeds = of_group.filter(pl.col("event") == event)
        old = seeds.row(by_predicate=pl.col("trial_id") == trial_id, named=True)
        new = of_repeated.row(by_predicate=pl.col("event") == event, named=True)
        if old["state"] != new["state"]:
            if new["state"] not in seeds["state"]:
                yield f"{event}: {old['state']} recorded, {new['state']} repeated"
        elif old["state"] == "observed":
            times = seeds.filter(pl.col("state") == "observed")["time"].clip(lower_bound=1).log10()
            between = [_decades(side["lower"], side["upper"]) for side in (old, new)]
            allowed = max(float(times.max()) - float(times.min()), *between)  # type: ignore[arg-type]
            if (off := _decades(*sorted((old["time"], new["time"])))) > allowed:
                yield f"{event}: {off:.3f} decades of steps apart, seeds and evaluations {allowed:.3f}"


def _decades(low: float | None, high: float) -> float:
    return math.log10(max(high, 1)) - math.log10(max(low or 1, 1))


def _off(recorded: StudyTables, repeated: StudyTables, trial_id: str, group: pl.Series) -> Iterator[str]:
    """Last values of events' metrics and of accuracies that differ."""
    seeds = _last(recorded).filter(pl.col("trial_id").is_in(group.implode()))
    spread = seeds.group_by("what").agg(spread=pl.max("value") - pl.min("value"))
    own = _last(repeated).filter(pl.col("trial_id") == trial_id)
    both = seeds.filter(pl.col("trial_id") == trial_id).join(own, on="what", how="full", suffix="_new", coalesce=True)
    allowed = pl.max_horizontal("spread", (1 + ROUNDING) / pl.col("n"))
    off = (pl.col("value") - pl.col("value_new")).abs()
    rows = both.join(spread, on="what", how="left").with_columns(off=off, allowed=allowed).sort("what")
    for row in rows.filter((pl.col("off") > pl.col("allowed")) | pl.col("off").is_null()).iter_rows(named=True):
        sides = " and ".join("no value" if row[name] is None else f"{row[name]:.4g}" for name in ("value", "value_new"))
        yield f"last {row['what']}: {sides}, seeds vary by {row['spread'] or 0:.4g}"


def _last(tables: StudyTables) -> pl.DataFrame:
    """The last value of every trial: trial_id, what, value, n."""
    of_events = tables.series.select("trial_id", "step", "value", "n", what="event")
    of_splits = tables.evals.select("trial_id", "step", "n", value="accuracy", what="accuracy of " + pl.col("split"))
    known = pl.concat([of_events, of_splits], how="diagonal").drop_nulls("value").sort("step")
    values = known.group_by("trial_id", "what").agg(pl.last("value").cast(pl.Float64), pl.last("n"))
    return values.collect()
