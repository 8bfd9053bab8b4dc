"""Two or more sides beside each other: what differs in their settings, when events came, where they ended.

Times are Kaplan-Meier medians over runs with 95 % limits; tests are those of `analysis.statistics.survival`. n stands
in every row, and beside each p the smallest that was to be had: with few seeds that may be above any level.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from grokstudy.analysis.compare.select import Side, train_different_tasks
from grokstudy.analysis.labels import FOREMOST, in_reading_order, named, plain
from grokstudy.analysis.statistics import survival
from grokstudy.analysis.tables.families import IN_DISTRIBUTION
from grokstudy.trainables.schema import SEEDS

VALUES = 4
"""Most values of one setting that are listed."""
EVENT_ROWS = pl.Schema(
    {
        "event": pl.String,
        "side": pl.String,
        "n": pl.Int64,
        "observed": pl.Int64,
        "median": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "followed": pl.Float64,
        "final": pl.Float64,
        "final_min": pl.Float64,
        "final_max": pl.Float64,
    }
)


@dataclass(frozen=True)
class Comparison:
    """The three tables of a comparison, and what a reader has to know about them."""

    settings: pl.DataFrame
    events: pl.DataFrame
    tests: pl.DataFrame
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not known is null."""
        tables = {name: getattr(self, name).to_dicts() for name in ("settings", "events", "tests")}
        return {**tables, "notes": list(self.notes)}


def compare(sides: Sequence[Side]) -> Comparison:
    """Compare sides. Events that have the same name are compared even if defined differently, which a note says."""
    names = in_reading_order(dict.fromkeys(name for side in sides for name in side.tables.declared))
    events = pl.concat([side.of(side.tables.events).select(_EVENT_COLUMNS) for side in sides])
    rows = []
    for name in names:
        samples = {sample.group["side"]: sample for sample in survival.samples(events, name, ["side"])}
        rows += [_event_row(side, samples.get(side.name), name) for side in sides]
    pairs = {name: survival.pairwise(events, name, ["side"]).drop("limit") for name in names if len(sides) > 1}
    tests = [frame.select(pl.lit(name).alias("event"), pl.all()) for name, frame in pairs.items() if len(frame)]
    return Comparison(
        settings=settings(sides),
        events=pl.DataFrame(rows, schema=EVENT_ROWS),
        tests=pl.concat(tests) if tests else pl.DataFrame(),
        notes=tuple(_notes(sides, names)),
    )


_ACROSS = (
    f"different tasks: {FOREMOST.circuit} is the component, {IN_DISTRIBUTION.answer} the behaviour in distribution, "
    f"{FOREMOST.answer} that out of distribution; a step of one task is not a step of another"
)
_EVENT_COLUMNS = ("trial_id", "side", "event", "state", "time", "lower", "seed")


def settings(sides: Sequence[Side]) -> pl.DataFrame:
    """Settings in which the sides differ: one row each, one column per side. Seeds are none."""
    keys = dict.fromkeys(key for side in sides for config in side.config for key in config if key not in SEEDS)
    rows = [{"setting": key, **_values(sides, key)} for key in sorted(keys)]
    differing = [row for row in rows if len({row[side.name] for side in sides}) > 1]
    return pl.DataFrame(differing, schema={"setting": pl.String, **{side.name: pl.String for side in sides}})


def _values(sides: Sequence[Side], key: str) -> dict[str, str]:
    """What a setting is on each side, with as many digits as tell its values apart."""
    names = iter(named([config.get(key) for side in sides for config in side.config], plain))
    values = {side.name: list(dict.fromkeys(itertools.islice(names, len(side.config)))) for side in sides}
    return {side: ", ".join(own) if len(own) <= VALUES else f"{len(own)} values" for side, own in values.items()}


def _event_row(side: Side, sample: survival.Sample | None, name: str) -> dict[str, Any]:
    row = {"event": name, "side": side.name, **_final(side, name)}
    if sample is None:
        return {**row, "n": 0, "observed": 0}
    middle, low, high = survival.median(survival.kaplan_meier(sample))
    limits = {"low": low, "high": high} if sample.n > 1 else {}
    followed = float(sample.time[~sample.observed].max()) if sample.n_censored else None
    counts = {"n": sample.n, "observed": sample.n - sample.n_censored, "followed": followed}
    return {**row, **counts, "median": middle, **limits}


def _final(side: Side, name: str) -> dict[str, float | None]:
    """Median and range of the last value of the event's metric."""
    series = side.of(side.tables.series).filter(pl.col("event") == name).drop_nulls("value")
    last = series.sort("step").group_by("trial_id").agg(pl.last("value")).collect()["value"].cast(pl.Float64)
    if last.is_empty():
        return {}
    low, middle, high = (last.quantile(share, "linear") for share in (0, 0.5, 1))
    return {"final": middle, "final_min": low, "final_max": high}


def _notes(sides: Sequence[Side], names: Sequence[str]) -> list[str]:
    notes = [_ACROSS] if train_different_tasks(sides) else []
    for name in names:
        definitions = {side.name: str(side.tables.declared.get(name, "not defined")) for side in sides}
        if len(set(definitions.values())) > 1:
            each = "; ".join(f"{side}: {definition}" for side, definition in definitions.items())
            notes.append(f"{name} is not the same event: {each}")
    mixed = [f"{side.name} has {side.groups}" for side in sides if side.groups > 1]
    if mixed:
        notes.append(f"runs of several settings: {', '.join(mixed)}; a median over them is of none of them")
    few = [side.name for side in sides if side.trials["seed"].n_unique() < 6]
    if few and len(sides) > 1:
        notes.append(
            f"fewer than 6 seeds in {', '.join(few)}: intervals are too narrow, and p cannot be below its least"
        )
    return notes
