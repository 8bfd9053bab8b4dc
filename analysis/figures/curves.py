"""Training curves: the metric of every event over log step, seeds thin under the median of their regime.

A filled dot is an event, a hollow one the end of a run in which it has not happened (censored).
"""

from __future__ import annotations

import json
from typing import Any

import altair as alt
import polars as pl

from grokstudy.analysis.figures import theme
from grokstudy.analysis.tables.study import StudyTables
from grokstudy.trainables.events import Event

CAPTION = (
    "Thin lines are seeds, thick lines their median over runs of one setting, drawn slightly apart so that none hides "
    "another. Dashed: the event's threshold."
)
SHAPES = {
    "observed": ("circle", "event reached"),
    "censored": ("diamond", "run ended without it (censored)"),
}


def curves(tables: StudyTables) -> list[theme.Figure] | None:
    """One panel per event of the study."""
    known = theme.regimes(tables)
    # A log axis cannot show step 0.
    measured = tables.series.filter((pl.col("step") > 0) & pl.col("value").is_not_nan()).drop_nulls("value")
    rows = measured.collect().join(known, on="trial_id", how="inner")
    panels = (_panel(name, event, rows, tables, known) for name, event in theme.ordered_events(tables).items())
    return theme.panels("curves", panels, CAPTION + theme.drawn_of(known))


def _panel(
    name: str, event: Event, rows: pl.DataFrame, tables: StudyTables, known: pl.DataFrame
) -> tuple[Any, pl.DataFrame] | None:
    of_event = rows.filter(pl.col("event") == name)
    if of_event.is_empty():
        return None
    single = _seeds(of_event.sort("trial_id", "step"))
    middle = _median(of_event.filter(pl.col("group") == pl.col("regime")))
    ends = _ends(name, event, of_event, tables)
    lines = pl.concat([single.with_columns(line=pl.lit("seed")), middle.with_columns(line=pl.lit("median"))])
    shown = pl.concat([lines, ends.rename({"state": "line"})], how="diagonal_relaxed")
    return _chart(name, event, lines, ends, known), shown.with_columns(event=pl.lit(name))


def _seeds(rows: pl.DataFrame) -> pl.DataFrame:
    chosen = theme.some_trials(rows.select("trial_id", "regime").unique(maintain_order=True))
    some = rows.join(chosen.select("trial_id"), on="trial_id", how="semi")
    thinned = theme.thin(some, ["trial_id"], len(chosen))
    return thinned.select("regime", "trial_id", "seed", "step", pl.col("value").cast(pl.Float64).round(4))


def _median(rows: pl.DataFrame) -> pl.DataFrame:
    """Median over the seeds of a group that has a colour of its own, where more than half were measured."""
    sizes = rows.group_by("regime").agg(_size=pl.col("trial_id").n_unique())
    middle = rows.group_by("regime", "step", maintain_order=True).agg(pl.col("value").median(), count=pl.len())
    enough = middle.join(sizes, on="regime").filter(2 * pl.col("count") > pl.col("_size"))
    lone = pl.lit(None, dtype=pl.String).alias("trial_id"), pl.lit(None, dtype=pl.Int64).alias("seed")
    thinned = theme.thin(enough, ["regime"], 2 * sizes.height)
    return thinned.select("regime", *lone, "step", pl.col("value").cast(pl.Float64).round(4))


def _ends(name: str, event: Event, rows: pl.DataFrame, tables: StudyTables) -> pl.DataFrame:
    """Where each trial reached the event, or where it was last seen without it."""
    last = rows.sort("step").group_by("trial_id", maintain_order=True).agg(pl.last("step", "value", "regime", "seed"))
    times = tables.events.filter(pl.col("event") == name).select("trial_id", "state", "time").collect()
    joined = theme.some_trials(last.join(times, on="trial_id").sort("trial_id"))
    reached = pl.col("state") == "observed"
    shown = pl.col("time").clip(lower_bound=pl.lit(rows["step"].min()))  # there from step 0: a log axis has no 0
    step = pl.when(reached).then(shown).otherwise(pl.col("step").cast(pl.Float64)).round(1)
    value = pl.when(reached).then(event.threshold).otherwise(pl.col("value").cast(pl.Float64).round(4))
    return joined.sort("trial_id").select("regime", "trial_id", "seed", "state", step=step, value=value)


def _chart(name: str, event: Event, lines: pl.DataFrame, ends: pl.DataFrame, known: pl.DataFrame) -> Any:
    colour = theme.colour(known)
    share = bool(lines["value"].is_between(0, 1).all())
    scale = alt.Scale(domain=[0, 1]) if share else alt.Scale(zero=False)
    y = alt.Y("value:Q", title=event.metric.replace("_", " "), scale=scale)
    hint = ["regime:N", "seed:Q", "step:Q", "value:Q"]
    base = alt.Chart(lines).encode(x=theme.step_axis(), y=y, color=colour, tooltip=hint)
    seeds = base.transform_filter("datum.line == 'seed'").mark_line(strokeWidth=0.8, strokeOpacity=0.35)
    medians = lines.filter(pl.col("line") == "median")["regime"].unique()
    apart = theme.offsets([name for name in known["regime"].unique(maintain_order=True) if name in medians])
    middle = [
        base.transform_filter(f"datum.line == 'median' && datum.regime == {json.dumps(regime)}").mark_line(
            strokeWidth=1.8, yOffset=offset
        )
        for regime, offset in apart.items()
    ]
    level = alt.Chart(pl.DataFrame({"value": [event.threshold]}))
    rule = level.mark_rule(strokeDash=[4, 3], color=theme.FAINT).encode(y="value:Q")
    shape = theme.shape("state", SHAPES)
    dots = alt.Chart(ends).encode(
        x=theme.step_axis(), y=y, color=colour, tooltip=[*hint, alt.Tooltip("state:N")], shape=shape
    )
    parts = [
        dots.transform_filter(f"datum.state == '{state}'").mark_point(
            size=34, strokeWidth=1.4, opacity=1, filled=filled
        )
        for state, filled in (("observed", True), ("censored", False))
        if state in ends["state"]
    ]
    layers = alt.layer(rule, seeds.encode(detail="trial_id:N"), *middle, *parts)
    return layers.properties(width=theme.WIDTH, height=theme.HEIGHT, title=alt.Title(name, subtitle=str(event)))
