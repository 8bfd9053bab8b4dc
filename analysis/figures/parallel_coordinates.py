"""Every run as one line through its settings, and the step at which it answered.

A place for each value that was swept, in its order, and the step of the answer on the right; a run that had not
answered ends above the longest run. Applies to studies of two axes or more.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from grokstudy.analysis.figures import theme
from grokstudy.analysis.figures.importance import answered
from grokstudy.analysis.labels import axis_title, labels, steps_text
from grokstudy.analysis.tables.study import StudyTables

CAPTION = "One line per run: its settings, and when it answered; dashed and above the rest where it had not by its end."
MOST = 300
"""Most lines that are drawn."""
ROOM = 90
"""Px between two coordinates."""


def parallel_coordinates(tables: StudyTables) -> list[theme.Figure] | None:
    """One figure, a line per result."""
    rows, axes = answered(tables)
    if rows.is_empty():
        return None
    placed = _placed(rows, axes)
    more = f" The first {MOST} of {len(rows)} are drawn." if len(rows) > MOST else ""
    return [theme.Figure("parallel_coordinates", _lines(placed, axes), placed, CAPTION + more)]


def _placed(rows: pl.DataFrame, axes: list[str]) -> pl.DataFrame:
    """One row per trial and coordinate: its place from 0 to 1, and what stands there."""
    parts = []
    for place, axis in enumerate(axes):
        values = rows[axis].unique(maintain_order=True).to_list()
        known = sorted((value for value in values if value is not None), key=_rank)
        ordered = [*([None] if None in values else []), *known]
        heights = [0.5] if len(ordered) == 1 else [index / (len(ordered) - 1) for index in range(len(ordered))]
        height = [heights[ordered.index(value)] for value in rows[axis].to_list()]
        parts.append(_column(rows, place, axis_title(axis), height, labels(rows, [axis]).to_list()))
    logs = rows["time"].clip(lower_bound=1).log10()
    low, high = logs.min(), rows["horizon"].cast(pl.Float64).log10().max()
    span = max(float(high or 1) - float(low or 0), 1e-9)  # type: ignore[arg-type]
    height = [1.1 if log is None else (log - float(low or 0)) / span for log in logs]  # type: ignore[arg-type]
    told = [f">{steps_text(end)}" if time is None else steps_text(time)
            for time, end in rows.select("time", "horizon").iter_rows()]  # fmt: skip
    return pl.concat([*parts, _column(rows, len(axes), "step of the answer", height, told)])


def _rank(value: Any) -> float:
    """Numbers by their size; words stay in the study file's order."""
    return float(value) if isinstance(value, (int, float)) else 0.0


def _column(rows: pl.DataFrame, place: int, name: str, height: list[float], told: list[str]) -> pl.DataFrame:
    about = rows.select("trial_id", "seed", reached=pl.col("time").is_not_null())
    return about.with_columns(
        place=pl.lit(place), coordinate=pl.lit(name), height=pl.Series(height).round(4), value=pl.Series(told)
    )


def _lines(rows: pl.DataFrame, axes: list[str]) -> Any:
    drawn = rows.filter(pl.col("trial_id").is_in(rows["trial_id"].unique(maintain_order=True).head(MOST).implode()))
    names = rows["coordinate"].unique(maintain_order=True).to_list()
    x = alt.X("coordinate:N", sort=names, title=None, axis=alt.Axis(labelAngle=0, orient="top", grid=True))
    y = alt.Y("height:Q", title=None, axis=None, scale=alt.Scale(domain=[-0.05, 1.15]))
    ended = ["answered", "not by its end"]
    colour = alt.Color("ended:N", title=None, scale=alt.Scale(domain=ended, range=list(theme.PALETTE[:2])))
    dash = alt.StrokeDash("ended:N", title=None, scale=alt.Scale(domain=ended, range=[[1, 0], [4, 3]]))
    told = drawn.with_columns(ended=pl.when("reached").then(pl.lit(ended[0])).otherwise(pl.lit(ended[1])))
    hint = ["trial_id:N", "coordinate:N", "value:N"]
    lines = alt.Chart(told).mark_line(opacity=0.45, strokeWidth=1)
    lines = lines.encode(x=x, y=y, detail="trial_id:N", color=colour, strokeDash=dash, tooltip=hint)
    swept = rows.filter(pl.col("place") < len(axes)).select("coordinate", "height", "value").unique(maintain_order=True)
    last = rows.filter((pl.col("place") == len(axes)) & pl.col("reached")).sort("height")
    ends = pl.concat([last.head(1), last.tail(1)]).select("coordinate", "height", "value").unique(maintain_order=True)
    base = alt.Chart(pl.concat([swept, ends])).encode(x=x, y=y, text="value:N")
    halo = base.mark_text(align="left", dx=5, fontSize=9, stroke=theme.PAPER, strokeWidth=3, strokeJoin="round")
    words = base.mark_text(align="left", dx=5, fontSize=9, color=theme.INK)
    return alt.layer(lines, halo, words).properties(width=ROOM * len(names), height=theme.HEIGHT)
