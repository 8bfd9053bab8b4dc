"""Survival: share of seeds in which an event has happened, over log step, per regime (Kaplan-Meier).

Ticks are censored runs: followed up to there without the event. Bands are log-log 95 % limits.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from grokstudy.analysis.answer import of_results
from grokstudy.analysis.figures import theme
from grokstudy.analysis.statistics import survival as estimate
from grokstudy.analysis.tables.study import StudyTables
from grokstudy.trainables.events import Event

CAPTION = (
    "Kaplan-Meier estimate per regime of the share of runs in which the event has happened. "
    "Ticks: runs that were followed up to there without it (censored). With six runs or more per regime, bands are "
    "95 % limits. Lines are drawn slightly apart (by up to .05), so that none hides another."
)
BANDS = 4
"""Most regimes that are drawn with a band."""
ROOM = 0.05
"""Share of the axis in which the lines of regimes lie beside each other: it goes from 0 to 1 all the same."""
ENOUGH = 6
"""Fewest runs per regime for a band to mean something."""


def survival(tables: StudyTables) -> list[theme.Figure] | None:
    """One panel per event of the study."""
    known = theme.regimes(tables)
    if not theme.has_own_colours(known):
        return None
    labels = known.lazy().select("trial_id", "regime")
    events = of_results(tables.events, tables).join(labels, on="trial_id").sort("trial_id")
    first, last = pl.min_horizontal(pl.col("time").min(), pl.col("horizon").min()), pl.col("horizon").max()
    frame = events.select(first=first, last=last).collect()
    ends = max(1.0, 0.5 * float(frame["first"][0] or 2)), max(2.0, float(frame["last"][0] or 2))
    panels = (_panel(name, event, events, ends, known) for name, event in theme.ordered_events(tables).items())
    return theme.panels("survival", panels, CAPTION)


def _panel(
    name: str, event: Event, events: pl.LazyFrame, ends: tuple[float, float], known: pl.DataFrame
) -> tuple[Any, pl.DataFrame] | None:
    samples = [sample for sample in estimate.samples(events, name, ["regime"]) if sample.n]
    if not samples:
        return None
    steps = pl.concat([_steps(sample, *ends) for sample in samples])
    censored = pl.concat([_censored(sample, ends[0]) for sample in samples])
    shown = pl.concat([steps, censored.with_columns(kind=pl.lit("censored"))], how="diagonal")
    return _chart(name, event, steps, censored, known), shown.with_columns(event=pl.lit(name))


def _steps(sample: estimate.Sample, start: float, end: float) -> pl.DataFrame:
    """The curve of one regime as steps from `start` to where it was last followed."""
    curve = estimate.kaplan_meier(sample)
    last = end if not sample.n_censored else float(sample.time.max())
    edges = pl.DataFrame({"time": [start], "survival": [1.0], "low": [None], "high": [None]}, schema=_EDGE)
    rows = pl.concat([edges, curve.select(list(_EDGE))])
    final = rows.tail(1).with_columns(time=pl.lit(max(last, start)))
    shares = pl.concat([rows, final]).with_columns((pl.col("survival", "high", "low") * -1 + 1).round(4))
    return shares.select(
        regime=pl.lit(sample.group["regime"]),
        kind=pl.lit("curve"),
        step=pl.col("time").clip(start).round(1),
        happened="survival",
        low="high",
        high="low",
        n=pl.lit(sample.n),
        n_censored=pl.lit(sample.n_censored),
    )


_EDGE = pl.Schema({"time": pl.Float64, "survival": pl.Float64, "low": pl.Float64, "high": pl.Float64})


def _censored(sample: estimate.Sample, start: float) -> pl.DataFrame:
    curve = estimate.kaplan_meier(sample).select("time", "survival")
    times = pl.DataFrame({"time": sample.time[~sample.observed]}, schema={"time": pl.Float64}).sort("time")
    happened = (1 - pl.col("survival").fill_null(1.0)).round(4)
    step = pl.col("time").clip(start).round(1)
    rows = times.join_asof(curve, on="time").select(regime=pl.lit(sample.group["regime"]), step=step, happened=happened)
    return rows.group_by("regime", "step", "happened", maintain_order=True).agg(runs=pl.len())


def _chart(name: str, event: Event, steps: pl.DataFrame, censored: pl.DataFrame, known: pl.DataFrame) -> Any:
    regimes, colour = known["regime"].unique(maintain_order=True).to_list(), theme.colour(known)
    ticks = alt.Axis(values=[0, 0.2, 0.4, 0.6, 0.8, 1], labelOverlap=False)
    y = alt.Y("drawn:Q", scale=alt.Scale(domain=[0, 1], nice=False), axis=ticks, title="share of runs")
    hint = ["regime:N", "step:Q", "happened:Q", "n:Q", "n_censored:Q"]
    base = alt.Chart(steps).encode(x=theme.step_axis(), color=colour)
    marks = alt.Chart(censored).encode(x=theme.step_axis(), y=y, color=colour, tooltip=["regime:N", "step:Q", "runs:Q"])
    layers = _lines(base.encode(y=y, tooltip=hint), marks, regimes, set(steps["regime"]), set(censored["regime"]))
    if steps["regime"].n_unique() <= BANDS and (steps["n"] >= ENOUGH).all():
        band = base.mark_area(interpolate="step-after", opacity=0.1)
        layers.insert(0, band.encode(y=alt.Y("low:Q", title="share of runs"), y2="high:Q"))
    title = alt.Title(name, subtitle=str(event))
    return alt.layer(*layers).properties(width=theme.WIDTH, height=theme.HEIGHT, title=title)


def _lines(curves: Any, censored: Any, regimes: list[str], followed: set[str], cut: set[str]) -> list[Any]:
    """Lines and ticks, each regime a little below the one before; none without data, whose extent is infinite."""
    layers = []
    for place, regime in enumerate(regimes):
        of_regime = alt.FieldEqualPredicate(field="regime", equal=regime)
        share = (place + 0.5) / len(regimes)
        drawn = f"datum.happened * {1 - ROOM} + {ROOM * (1 - share):.4f}"
        line, tick = (part.transform_filter(of_regime).transform_calculate(drawn=drawn) for part in (curves, censored))
        if regime in followed:
            layers.append(line.mark_line(interpolate="step-after", strokeCap="butt", strokeWidth=1.6))
        if regime in cut:
            layers.append(tick.mark_tick(thickness=2, size=9, orient="vertical", opacity=1))
    return layers
