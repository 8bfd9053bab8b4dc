"""What an event looks at: one value per trial, event and evaluation, from any source of measurements.

Owns the tidy shape `MEASURES`, which study tables and imported curves share, and the meaning of the `events`
section of a study file: `{name: {metric, split, layer, position, at_least | at_most, for, stable}}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from grokstudy.trainables.schema import EVALS

EVAL_METRICS = tuple(column.name for column in EVALS if column.kind == "float32")
"""Metrics of the table `evals`; any other metric is the name of a probe."""

MEASURES = pl.Schema(
    {
        "trial_id": pl.String,
        "metric": pl.String,
        "split": pl.String,
        "layer": pl.Int16,
        "position": pl.String,
        "step": pl.Int64,
        "value": pl.Float32,
    }
)
SERIES = pl.Schema({"trial_id": pl.String, "event": pl.String, "step": pl.Int64, "value": pl.Float32})
_KNOWN = ("metric", "split", "layer", "position", "at_least", "at_most", "for", "stable")


@dataclass(frozen=True)
class Event:
    """A named threshold crossing. `rising`: reached at or above the threshold; otherwise at or below it."""

    name: str
    metric: str
    splits: tuple[str, ...]
    threshold: float
    rising: bool = True
    consecutive: int = 1
    stable: bool = False
    layer: int | None = None
    position: str | None = None

    def __str__(self) -> str:
        """The event in words, as a table's footnote says it."""
        layer = "" if self.layer is None else f" at layer {self.layer}"
        site = layer if self.position is None else f"{layer} position {self.position}"
        held = f" for {self.consecutive} evaluations" if self.consecutive > 1 else ""
        kept = ", and kept" if self.stable else ""
        sign = ">=" if self.rising else "<="
        return f"{self.metric}{site} on {', '.join(self.splits)} {sign} {self.threshold:g}{held}{kept}"


def parse_events(spec: Mapping[str, Mapping[str, Any]]) -> list[Event]:
    """Events as a study's `events` section says them. Raises ValueError naming the event and the key."""
    return [_parse(name, raw) for name, raw in spec.items()]


def _parse(name: str, raw: Mapping[str, Any]) -> Event:
    unknown = sorted(set(raw) - set(_KNOWN))
    if unknown:
        raise ValueError(f"events.{name}.{unknown[0]} is unknown; known: {', '.join(_KNOWN)}")
    least, most = raw.get("at_least"), raw.get("at_most")
    threshold = most if least is None else least
    if threshold is None or None not in (least, most):
        raise ValueError(f"events.{name}: give exactly one of at_least and at_most")
    split = raw.get("split") or ()
    splits = (split,) if isinstance(split, str) else tuple(split)
    if not splits or not raw.get("metric"):
        raise ValueError(f"events.{name}: metric and split are required")
    return Event(
        name=name,
        metric=raw["metric"],
        splits=splits,
        threshold=float(threshold),
        rising=least is not None,
        consecutive=max(1, int(raw.get("for") or 1)),
        stable=bool(raw.get("stable")),
        layer=raw.get("layer"),
        position=raw.get("position"),
    )


def measures(evals: pl.LazyFrame, probes: pl.LazyFrame, metrics: set[str]) -> pl.LazyFrame:
    """The named metrics of both tables in one tidy shape (`MEASURES`)."""
    asked = [name for name in EVAL_METRICS if name in metrics]
    site = {"layer": pl.lit(None), "position": pl.lit(None)}
    tidy = [evals.with_columns(metric=pl.lit(name), value=pl.col(name), **site) for name in asked]
    named = probes.filter(pl.col("probe").is_in(sorted(metrics - set(EVAL_METRICS))))
    tidy.append(named.with_columns(metric=pl.col("probe")))
    shape = [pl.col(name).cast(kind) for name, kind in MEASURES.items()]
    return pl.concat([frame.select(shape) for frame in tidy])


def series_of(tidy: pl.LazyFrame, events: Sequence[Event], trials: pl.LazyFrame) -> pl.LazyFrame:
    """The values each event looks at (`SERIES`). A trial without any keeps one row, of nulls."""
    ids = trials.select("trial_id").unique(maintain_order=True)
    parts = [ids.join(_series(tidy, event), on="trial_id", how="left") for event in events]
    named = [part.with_columns(event=pl.lit(event.name)) for part, event in zip(parts, events, strict=True)]
    return pl.concat([pl.LazyFrame(schema=SERIES), *(part.select(list(SERIES)) for part in named)])


def _series(tidy: pl.LazyFrame, event: Event) -> pl.LazyFrame:
    """The smallest value over the splits (largest for a falling event); null unless all are measured."""
    site = pl.col("layer").eq_missing(event.layer) & pl.col("position").eq_missing(event.position)
    rows = tidy.filter((pl.col("metric") == event.metric) & pl.col("split").is_in(event.splits) & site)
    value = pl.col("value").fill_nan(None)
    worst = value.min() if event.rising else value.max()
    complete = pl.col("split").filter(value.is_not_null()).n_unique() == len(set(event.splits))
    return rows.group_by("trial_id", "step").agg(pl.when(complete).then(worst).alias("value"))
