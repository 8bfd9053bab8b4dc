"""Branches: arms of a fork drawn from the curve of the run that they went on from.

Grey is the source, up to the fork; each arm goes on from there in its own colour. Thin lines are seeds, thick ones
their median.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from grokstudy.analysis.figures import theme
from grokstudy.analysis.tables.forks import arms_from_their_sources, different
from grokstudy.analysis.tables.study import StudyTables
from grokstudy.trainables.events import Event

CAPTION = (
    "Grey: the runs that the arms went on from, up to the fork. Thin lines are seeds, thick ones the median of an arm. "
    "Steps count from the source's beginning."
)
BEFORE = "before"
"""The line of a source."""


def branches(tables: StudyTables) -> list[theme.Figure] | None:
    """One panel for each thing that an event looks at, before the fork if the source's event of that name does, too."""
    rows = arms_from_their_sources(tables)
    if rows.is_empty():
        return None
    known = theme.regimes(tables)
    named = rows.join(known.select("trial_id", "regime"), on="trial_id", how="inner", maintain_order="left")
    events = different(theme.ordered_events(tables))
    drawn = (_panel(name, event, named, known) for name, event in events.items())
    return theme.panels("branches", drawn, CAPTION)


def _panel(name: str, event: Event, rows: pl.DataFrame, known: pl.DataFrame) -> tuple[Any, pl.DataFrame] | None:
    of_event = rows.filter(pl.col("event") == name).sort("trial_id", "step")
    if of_event.is_empty():
        return None
    value = pl.col("value").cast(pl.Float64).round(4)
    arms = of_event.filter("after").select("regime", "trial_id", "seed", "step", value, line=pl.lit("seed"))
    # Arms of a seed share their source, of which one line is enough.
    shared = of_event.filter(~pl.col("after")).unique(["seed", "step"], keep="first", maintain_order=True)
    sources = shared.select("regime", "trial_id", "seed", "step", value, line=pl.lit(BEFORE))
    middle = arms.group_by("regime", "step", maintain_order=True).agg(pl.median("value").round(4))
    medians = middle.with_columns(line=pl.lit("median")).sort("regime", "step")
    data = pl.concat([sources, arms, medians], how="diagonal").with_columns(event=pl.lit(name))
    return _chart(name, event, data, known), data


def _chart(name: str, event: Event, data: pl.DataFrame, known: pl.DataFrame) -> Any:
    share = bool(data["value"].is_between(0, 1).all())
    y = alt.Y(
        "value:Q", title=event.metric.replace("_", " "), scale=alt.Scale(domain=[0, 1] if share else alt.Undefined)
    )
    x = alt.X("step:Q", title="training step, the source's included", axis=alt.Axis(format="~s", tickCount=5))
    base = alt.Chart(data).encode(x=x, y=y, tooltip=["regime:N", "seed:Q", "step:Q", "value:Q"])
    colour = theme.colour(known)
    before = base.transform_filter(f"datum.line == '{BEFORE}'").mark_line(strokeWidth=0.8, color=theme.FAINT)
    seeds = base.transform_filter("datum.line == 'seed'").mark_line(strokeWidth=0.8, strokeOpacity=0.35)
    middle = base.transform_filter("datum.line == 'median'").mark_line(strokeWidth=1.8)
    layers = alt.layer(
        before.encode(detail="seed:N"), seeds.encode(color=colour, detail="trial_id:N"), middle.encode(color=colour)
    )
    return layers.properties(width=theme.WIDTH, height=theme.HEIGHT, title=alt.Title(name, subtitle=str(event)))
