"""Phase diagram: over two numeric axes of a study, where answer and circuit end and which verdict holds.

One column of tiles per value of the first axis with the most values, one row per value of the second; panels
for every combination of the other axes. Applies only to studies that sweep at least two numeric axes.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from analysis.answer import answer
from analysis.decoupling import UNDECIDED, VERDICTS
from analysis.figures import theme
from analysis.tables import StudyTables
from analysis.text import label

VERDICT_COLOURS = {
    "coupled": "#009E73",
    "latent": "#0072B2",
    "fake": "#D55E00",
    "neither": "#d9d9d9",
    "mixed": "#F0E442",
    "no_data": "#ffffff",
}
CAPTIONS = {
    "verdict": "Verdict of more than half of the seeds; numbers are seeds. White: no data.",
    "accuracy": "Median final value of the generalised event's metric; numbers are the median over seeds.",
    "circuit": "Median final value of the circuit event's metric; numbers are the median over seeds.",
}


def phase_diagram(tables: StudyTables) -> list[theme.Figure] | None:
    """Tiles of verdict, final answer and final circuit."""
    frame = answer(tables)
    if frame.is_empty():
        return None
    numeric = [axis for axis in tables.groups if frame[axis].dtype.is_numeric() and frame[axis].n_unique() > 1]
    if len(numeric) < 2:
        return None
    x, y = sorted(numeric, key=lambda axis: -frame[axis].n_unique())[:2]
    cells = _cells(frame, x, y, [axis for axis in tables.groups if axis not in (x, y)])
    fills = [("verdict", "verdict"), ("accuracy", "generalised_final"), ("circuit", "circuit_final")]
    return [_figure(name, column, cells, x, y) for name, column in fills if column in cells.columns]


def _cells(frame: pl.DataFrame, x: str, y: str, others: list[str]) -> pl.DataFrame:
    """One row per tile: x and y as ordered text, the panel in words."""
    varying = [axis for axis in others if frame[axis].n_unique() > 1]
    panels = [label({axis: row[axis] for axis in varying}) for row in frame.iter_rows(named=True)]
    finals = [name for name in ("generalised_final", "circuit_final") if name in frame.columns]
    return frame.select(
        pl.col(x).alias("x"),
        pl.col(y).alias("y"),
        pl.Series("panel", panels, dtype=pl.String),
        "seeds",
        "verdict",
        *(pl.col(name).round(4) for name in finals),
    )


def _figure(name: str, column: str, cells: pl.DataFrame, x: str, y: str) -> theme.Figure:
    order = {axis: sorted(set(cells[axis].drop_nulls().to_list())) for axis in ("x", "y")}
    base = alt.Chart(cells).encode(
        x=alt.X("x:O", sort=order["x"], title=x, axis=alt.Axis(labelAngle=0, format=".3~g")),
        y=alt.Y("y:O", sort=order["y"][::-1], title=y, axis=alt.Axis(format=".3~g")),
        tooltip=[alt.Tooltip(f"{field}:{'N' if field in ('panel', 'verdict') else 'Q'}") for field in cells.columns],
    )
    tiles = base.mark_rect(stroke="white").encode(color=_fill(column))
    number = alt.Text("seeds:Q") if column == "verdict" else alt.Text(f"{column}:Q", format=".2f")
    words = base.mark_text(fontSize=9).encode(text=number, color=_ink(column))
    size = {"width": 40 * len(order["x"]), "height": 36 * len(order["y"])}
    layers = theme.layered(tiles, words).properties(**size)
    chart = layers if cells["panel"].n_unique() == 1 else layers.facet(alt.Facet("panel:N", title=None), columns=2)
    return theme.Figure(f"phase_{name}", chart, cells, CAPTIONS[name])


def _fill(column: str) -> Any:
    if column == "verdict":
        domain = [*VERDICTS, *UNDECIDED]
        scale = alt.Scale(domain=domain, range=[VERDICT_COLOURS[name] for name in domain])
        return alt.Color("verdict:N", scale=scale, title=None)
    title = "final accuracy" if column.startswith("generalised") else "final circuit strength"
    return alt.Color(f"{column}:Q", scale=theme.BLUES, title=title)


def _ink(column: str) -> Any:
    if column == "verdict":
        dark = "indexof(['coupled', 'latent', 'fake'], datum.verdict) >= 0"
        return alt.condition(dark, alt.value("white"), alt.value(theme.INK))
    return theme.on_blue(column)
