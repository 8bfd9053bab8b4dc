"""Boundary: from which value of an axis on an event comes within the horizon, along the other axes of the study.

Each mark is a run. The line is the critical value, at which half of the runs are expected to come to the event
(`analysis.statistics.boundary`), the bar its 95 % band; a bar that meets an edge has no end on this axis.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from grokstudy.analysis.answer import outcomes
from grokstudy.analysis.figures import theme
from grokstudy.analysis.labels import ANSWER, CIRCUIT, axis_title, labels
from grokstudy.analysis.statistics.boundary import critical_values, is_log
from grokstudy.analysis.tables.study import StudyTables

COLUMN_WIDTH = 44
"""Px of one place on the other axes."""
MOST_COLUMNS = 24
CAPTION = (
    "Runs that came to the event within the horizon, and runs that did not. Line: the critical value, from which on "
    "half of them are expected to; bar: its 95 % band (Gaussian-process classifier), which has no end at an edge."
)
CAME = {"yes": ("circle", "came"), "no": ("cross", "did not come")}


def boundary(tables: StudyTables) -> list[theme.Figure] | None:
    """One figure for each of answer and circuit that has a boundary."""
    figures = []
    for event in (ANSWER, CIRCUIT):
        runs = outcomes(tables, event)
        critical = critical_values(runs, tables.groups)
        if critical.is_empty() or critical["value"].is_null().all() or len(critical) > MOST_COLUMNS:
            continue
        data = _rows(runs, critical)
        title = f"{event}: critical {axis_title(str(critical['axis'][0]))}"
        figures.append(theme.Figure(f"boundary_{event}", _chart(data, title), data, CAPTION))
    return figures or None


def _rows(runs: pl.DataFrame, critical: pl.DataFrame) -> pl.DataFrame:
    """Runs and critical values in one table: `place` on the other axes, `kind`, `at` and its band on the axis."""
    axis = critical["axis"][0]
    others = [column for column in critical.columns if column not in ("axis", "value", "low", "high", "n")]
    ordered = critical.sort(others).with_columns(place=labels(critical.sort(others), others))
    low, high = float(runs[axis].min()), float(runs[axis].max())
    values = ordered.filter(pl.col("value").is_not_null()).select(
        "place",
        kind=pl.lit("critical"),
        at="value",
        low=pl.col("low").fill_null(low),
        high=pl.col("high").fill_null(high),
        n="n",
    )
    came = pl.when(pl.col("outcome") == 1).then(pl.lit("yes")).otherwise(pl.lit("no"))
    points = runs.with_columns(place=labels(runs, others), kind=came).sort("place", "kind", axis, "trial_id")
    place = pl.int_range(pl.len()).over("place", axis) % 5  # of runs that stand at the same spot: 0, 5, -5, 10, -10
    beside = (place + 1) // 2 * pl.when(place % 2 == 1).then(5).otherwise(-5)
    placed = points.select(
        "place", "kind", pl.col(axis).cast(pl.Float64).alias("at"), "trial_id", "seed", beside=beside
    )
    order = pl.DataFrame({"place": ordered["place"]}).with_row_index("number")
    table = pl.concat([values, placed], how="diagonal").with_columns(pl.lit(axis).alias("axis"))
    return table.join(order, on="place", how="left", maintain_order="left")


def _chart(data: pl.DataFrame, title: str) -> Any:
    axis = data["axis"][0]
    order = data.sort("number")["place"].unique(maintain_order=True).to_list()
    runs, values = data.filter(pl.col("kind") != "critical"), data.filter(pl.col("kind") == "critical")
    scale = alt.Scale(type="log", nice=False) if is_log(runs["at"].to_numpy()) else alt.Scale(zero=False)
    x = alt.X("place:N", sort=order, title=None, axis=alt.Axis(labelAngle=-40 if len(order) > 2 else 0))
    y = alt.Y("at:Q", title=axis_title(axis), scale=scale, axis=theme.FEW_TICKS)
    base = alt.Chart(values).encode(x=x)
    bars = base.mark_rule(strokeWidth=10, color=theme.BAND, opacity=0.6).encode(
        y=alt.Y("low:Q", scale=scale), y2="high:Q"
    )
    lines = base.mark_tick(thickness=2, color=theme.INK, width=COLUMN_WIDTH * 0.7).encode(y=y)
    colour = alt.condition("datum.kind === 'yes'", alt.value(theme.PALETTE[0]), alt.value(theme.FAINT))
    marks = (
        alt.Chart(runs)
        .mark_point(filled=True, size=28, opacity=0.8)
        .encode(
            x=x,
            y=y,
            xOffset=alt.XOffset("beside:Q", scale=alt.Scale(domain=[-12, 12])),
            color=colour,
            shape=theme.shape("kind", CAME),
            tooltip=["place:N", alt.Tooltip("at:Q", title=axis_title(axis)), "kind:N", "seed:Q"],
        )
    )
    wide = alt.layer(bars, marks, lines).properties(width=alt.Step(COLUMN_WIDTH), height=theme.HEIGHT, title=title)
    return wide.resolve_scale(y="shared")
