"""The decoupling plane: answer against circuit, one path per seed, time running along it.

If the two came together, all paths would climb one diagonal (the question of arXiv 2601.09049). A path along
the bottom is a latent circuit; one up the left side is an answer without it.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from grokstudy.analysis.figures import theme
from grokstudy.analysis.tables.study import StudyTables
from grokstudy.trainables.events import Event

CAPTION = (
    "One path per seed over training; the marker is where it ends. Dashed: the thresholds of the two events. "
    "Bottom right is a latent circuit, top left an answer without it."
)


def decoupling_plane(tables: StudyTables) -> list[theme.Figure] | None:
    """The plane spanned by the metrics of the events `circuit` (x) and `generalised` (y)."""
    answer, circuit = (tables.declared.get(name) for name in ("generalised", "circuit"))
    if answer is None or circuit is None:
        return None
    known = theme.regimes(tables)
    chosen = theme.some_trials(known)
    paths = theme.thin(_paths(tables, chosen), ["trial_id"], len(chosen))
    if paths.is_empty():
        return None
    chart = _chart(paths, answer, circuit, known)
    return [theme.Figure("decoupling_plane", chart, paths, CAPTION + theme.drawn_of(known))]


def _paths(tables: StudyTables, chosen: pl.DataFrame) -> pl.DataFrame:
    """Steps at which both metrics were measured."""
    series = tables.series.drop_nulls("value").collect()
    sides = {
        column: series.filter(pl.col("event") == event).select(
            "trial_id", "step", pl.col("value").cast(pl.Float64).round(4).alias(column)
        )
        for column, event in (("answer", "generalised"), ("circuit", "circuit"))
    }
    both = sides["answer"].join(sides["circuit"], on=["trial_id", "step"])
    rows = both.join(chosen, on="trial_id").sort("trial_id", "step")
    return rows.select("regime", "trial_id", "seed", "step", "circuit", "answer")


def _chart(paths: pl.DataFrame, answer: Event, circuit: Event, known: pl.DataFrame) -> Any:
    share = paths.select(pl.all_horizontal(pl.col("circuit", "answer").is_between(0, 1).all())).item()
    scale = alt.Scale(domain=[0, 1]) if share else alt.Scale(zero=False)
    base = alt.Chart(paths).encode(
        x=alt.X("circuit:Q", scale=scale, axis=theme.FEW_TICKS, title=f"circuit: {theme.metric_title(circuit)}"),
        y=alt.Y("answer:Q", scale=scale, axis=theme.FEW_TICKS, title=f"answer: {theme.metric_title(answer)}"),
        color=theme.colour(known, legend=alt.Legend(columns=2)),
        tooltip=["regime:N", "seed:Q", "step:Q", "circuit:Q", "answer:Q"],
    )
    lines = base.mark_line(strokeWidth=1.1, strokeOpacity=0.6).encode(detail="trial_id:N", order="step:Q")
    ends = base.mark_point(size=55, filled=True, opacity=1).encode(shape=theme.regime_shape(known))
    ends.data = paths.group_by("trial_id", maintain_order=True).last()
    style = {"strokeDash": [4, 3], "color": theme.FAINT}
    across = alt.Chart(pl.DataFrame({"answer": [answer.threshold]})).mark_rule(**style).encode(y="answer:Q")
    upright = alt.Chart(pl.DataFrame({"circuit": [circuit.threshold]})).mark_rule(**style).encode(x="circuit:Q")
    return alt.layer(across, upright, *_corners(answer.threshold), lines, ends).properties(
        width=theme.WIDTH, height=theme.WIDTH
    )


def _corners(level: float) -> list[Any]:
    """What a run that ends in each quadrant has, written above and below the answer's threshold."""
    places = [("answer alone", "neither", 6, "left"), ("both", "circuit alone", theme.WIDTH - 6, "right")]
    return [
        alt.Chart(pl.DataFrame({"answer": [level], "text": [word]}))
        .mark_text(align=side, dy=dy, color=theme.NOTE, fontStyle="italic", fontSize=11)
        .encode(x=alt.value(x), y="answer:Q", text="text:N")
        for above, below, x, side in places
        for word, dy in ((above, -10), (below, 10))
    ]
