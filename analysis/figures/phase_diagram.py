"""Phase diagram: over two numeric axes of a study, which classes its trials are of, and where answer and circuit end.

One column of tiles per value of the first axis with the most values, one row per value of the second; panels
for every combination of the other axes. Applies only to studies that sweep at least two numeric axes.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from grokstudy.analysis.answer import answer, classed
from grokstudy.analysis.figures import theme
from grokstudy.analysis.labels import axis_title, labels, number
from grokstudy.analysis.statistics.decoupling import CLASSES, shares
from grokstudy.analysis.tables.study import StudyTables

NO_DATA = "no data"
COLOURS = {
    "circuit_first": "#00664a",
    "simultaneous": "#009E73",
    "answer_first": "#7fceb9",
    "fake": "#D55E00",
    "latent": "#0072B2",
    "neither": "#d9d9d9",
    "undecided": "#E69F00",
    NO_DATA: theme.PAPER,
}
CAPTIONS = {
    "classes": "Each tile is divided by the share of its trials in each class; the number is how many have a class.",
    "accuracy": "Median over seeds of the generalised event's metric at the end, and how many seeds there are.",
    "circuit": "Median over seeds of the circuit event's metric at the end, and how many seeds there are.",
}
NUMBERS = "isValid(datum.value) ? format(datum.value, abs(datum.value) >= 1000 ? '.3~s' : '.3~g') : 'none'"
"""A setting as a person would write it; 1k for a thousand."""
TILE = (40, 36)
"""Width and height in px."""


def phase_diagram(tables: StudyTables) -> list[theme.Figure] | None:
    """Tiles of classes, final answer and final circuit."""
    frame = answer(tables)
    if frame.is_empty():
        return None
    numeric = [axis for axis in tables.groups if frame[axis].dtype.is_numeric() and frame[axis].n_unique() > 1]
    if len(numeric) < 2:
        return None
    x, y = sorted(numeric, key=lambda axis: -frame[axis].n_unique())[:2]
    others = [axis for axis in tables.groups if axis not in (x, y) and frame[axis].n_unique() > 1]
    finals = {"accuracy": "generalised_final", "circuit": "circuit_final"}
    fills = {name: column for name, column in finals.items() if column in frame.columns}
    rounded = [pl.col(column).round(4) for column in fills.values()]
    cells = _placed(frame.select(x, y, *others, "seeds", *rounded), x, y, others)
    classes = _classes(_divided(tables, x, y, others), x, y)
    return [classes, *(_final(name, column, cells, x, y) for name, column in fills.items())]


def _placed(frame: pl.DataFrame, x: str, y: str, others: list[str]) -> pl.DataFrame:
    """The same with its place as x, y and panel (in words) in front."""
    placed = frame.with_columns(panel=labels(frame, others)).rename({x: "x", y: "y"})
    return placed.select("x", "y", "panel", pl.exclude("x", "y", "panel", *others))


def _divided(tables: StudyTables, x: str, y: str, others: list[str]) -> pl.DataFrame:
    """One row per tile and class of it: the stretch `begin` to `end` of the tile's width that it takes."""
    axes = [x, y, *others]
    counted = shares(classed(tables), axes).collect().sort(axes, maintain_order=True)
    columns = _columns(counted[x])
    places = pl.DataFrame({x: columns, "tile": range(len(columns))}, schema={x: counted[x].dtype, "tile": pl.Int64})
    empty = (pl.col("n") == 0) & (pl.col("kind") == next(iter(CLASSES)))
    filled = counted.join(places, on=x, nulls_equal=True, maintain_order="left").with_columns(
        share=pl.when(empty).then(1.0).otherwise("share").fill_null(0.0),
        kind=pl.when(empty).then(pl.lit(NO_DATA)).otherwise("kind"),
    )
    ends = filled.with_columns(end=pl.col("tile") + pl.col("share").cum_sum().over(axes), centre=pl.col("tile") + 0.5)
    stretches = ends.with_columns(begin=pl.col("end") - pl.col("share")).filter(pl.col("share") > 0)
    kept = stretches.select(
        *axes, "kind", "count", "n", *(pl.col(name).round(4) for name in ("begin", "end", "centre"))
    )
    return _placed(kept, x, y, others)


def _columns(values: pl.Series) -> list[float | None]:
    """The different values in order; one that is not set comes first."""
    ordered = sorted(set(values.drop_nulls().to_list()))
    return [None, *ordered] if values.null_count() else ordered


def _classes(rows: pl.DataFrame, x: str, y: str) -> theme.Figure:
    columns = _columns(rows["x"])
    words = ["none" if value is None else number(value) for value in columns]
    told = f"{words}[floor(datum.value)]"
    axis = alt.Axis(values=[i + 0.5 for i in range(len(columns))], labelExpr=told, labelAngle=0, grid=False)
    scale = alt.Scale(domain=[0, len(columns)], nice=False)
    shown = [kind for kind in COLOURS if kind != NO_DATA or NO_DATA in rows["kind"]]
    kinds = alt.Scale(domain=shown, range=[COLOURS[kind] for kind in shown])
    base = alt.Chart(rows).encode(y=_rows(rows, y))
    tiles = base.mark_rect().encode(
        x=alt.X("begin:Q", title=axis_title(x), axis=axis, scale=scale),
        x2="end:Q",
        color=alt.Color("kind:N", scale=kinds, title=None),
        tooltip=["panel:N", alt.Tooltip("x:Q", title=x), alt.Tooltip("y:Q", title=y), "kind:N", "count:Q", "n:Q"],
    )
    edges = base.transform_calculate(left="datum.centre - 0.5", right="datum.centre + 0.5")
    frames = edges.mark_rect(fillOpacity=0, stroke=theme.PAPER, strokeWidth=3).encode(x="left:Q", x2="right:Q")
    halo = base.mark_text(fontSize=9, stroke=theme.ON_DEEP, strokeWidth=2, strokeJoin="round")
    counts = [
        mark.encode(x="centre:Q", text="n:Q") for mark in (halo, base.mark_text(fontSize=9, color=theme.ON_LIGHT))
    ]
    chart = _panels(alt.layer(tiles, frames, *counts), rows, len(columns))
    return theme.Figure("phase_classes", chart, rows, CAPTIONS["classes"])


def _final(name: str, column: str, cells: pl.DataFrame, x: str, y: str) -> theme.Figure:
    columns = _columns(cells["x"])
    base = alt.Chart(cells).encode(
        x=alt.X("x:O", sort=columns, title=axis_title(x), axis=alt.Axis(labelAngle=0, labelExpr=NUMBERS)),
        y=_rows(cells, y),
        tooltip=[alt.Tooltip(f"{field}:{'N' if field == 'panel' else 'Q'}") for field in cells.columns],
    )
    title = "final answer" if name == "accuracy" else "final circuit strength"
    tiles = base.mark_rect(stroke=theme.PAPER).encode(color=alt.Color(f"{column}:Q", scale=theme.BLUES, title=title))
    words = base.mark_text(fontSize=9, dy=-5).encode(color=theme.on_blue(column))
    words = words.encode(text=alt.Text("middle:N")).transform_calculate(
        middle=f"isValid(datum['{column}']) ? [format(datum['{column}'], '.2f'), 'n=' + datum.seeds] : ''"
    )
    chart = _panels(alt.layer(tiles, words), cells, len(columns))
    return theme.Figure(f"phase_{name}", chart, cells, CAPTIONS[name])


def _rows(frame: pl.DataFrame, y: str) -> Any:
    return alt.Y("y:O", sort=_columns(frame["y"])[::-1], title=axis_title(y), axis=alt.Axis(labelExpr=NUMBERS))


def _panels(layers: Any, frame: pl.DataFrame, columns: int) -> Any:
    """One panel, or one for each combination of the other axes."""
    sized = layers.properties(width=TILE[0] * columns, height=TILE[1] * frame["y"].n_unique())
    return sized if frame["panel"].n_unique() == 1 else sized.facet(alt.Facet("panel:N", title=None), columns=2)
