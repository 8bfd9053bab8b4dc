"""The lead over equal thresholds: whether circuit or answer is first whatever threshold one looks at.

Left the measures as they are, right as shares of their own ceilings. A regime whose intervals lie on one side of 0 over
the whole band has an order; one that crosses 0 has none.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from grokstudy.analysis.answer import lead_curve as lead_of_trials
from grokstudy.analysis.figures import theme
from grokstudy.analysis.statistics.decoupling import DELTA
from grokstudy.analysis.statistics.lead_curve import group_leads
from grokstudy.analysis.tables.study import StudyTables
from grokstudy.analysis.tables.thresholds import SCALES, THRESHOLDS

CAPTION = (
    "Lead = log10 t(generalised) - log10 t(circuit) with the same threshold for both. Thin: runs; marks: their median, "
    "with the interval over seeds that the sign test gives. Bounds are from censored runs. Grey: within 0.1 decades."
)
LEAD = "lead of the circuit (decades of steps)"
TITLES = {"absolute": "threshold of both", "of_ceiling": "threshold, share of each ceiling"}
APART = 0.012
"""Between the marks of two regimes, in units of the threshold."""
SHAPES = {
    "median": ("circle", "median"),
    "at_most": ("triangle-down", "at most (bound)"),
    "at_least": ("triangle-up", "at least (bound)"),
}


def lead_curve(tables: StudyTables) -> list[theme.Figure] | None:
    """One panel per scale: thin lines are runs, marks are groups that have a colour of their own."""
    known = theme.regimes(tables)
    runs = lead_of_trials(tables).drop(tables.groups).drop_nulls("scale")
    rows = runs.join(known.select("trial_id", "seed", "group", "regime"), on="trial_id")
    named = rows.filter((pl.col("lead_low").is_not_null()) | (pl.col("lead_high").is_not_null()))
    if named.is_empty():
        return None
    lines, marks = _lines(named, known), _marks(rows.filter(pl.col("group") == pl.col("regime")), known)
    edge = 1.1 * max(0.5, *(_widest(frame, "at", "low", "high") for frame in (lines, marks)))
    panels = (_panel(scale, lines, marks, known, edge) for scale in SCALES)
    return theme.panels("lead_curve", panels, CAPTION + theme.drawn_of(known))


def _widest(frame: pl.DataFrame, *columns: str) -> float:
    present = [pl.col(name).abs().max() for name in columns if name in frame.columns]
    return float(frame.select(pl.max_horizontal(present)).item() or 0)


def _lines(rows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The leads of single runs; a bound is no point of a line."""
    chosen = rows.join(theme.some_trials(known).select("trial_id"), on="trial_id", how="semi")
    at = pl.col("lead").round(4)
    return chosen.drop_nulls("lead").select(
        "scale", "threshold", "regime", "trial_id", "seed", at=at, mark=pl.lit("run")
    )


def _marks(rows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Median and interval of each regime, or the bound where runs are censored."""
    curve = group_leads(rows, ["regime"])
    order = {name: place for place, name in enumerate(known["regime"].unique(maintain_order=True))}
    offset = pl.col("regime").replace_strict(order, return_dtype=pl.Float64) - (len(order) - 1) / 2
    low, high = pl.col("low"), pl.col("high")
    exact, below = pl.col("lead").is_not_null(), low.is_null() & high.is_not_null()
    placed = curve.with_columns(
        at=pl.coalesce("lead", pl.when(below).then(high).otherwise(low)).round(4),
        mark=pl.when(exact).then(pl.lit("median")).when(below).then(pl.lit("at_most")).otherwise(pl.lit("at_least")),
        beside=(pl.col("threshold") + APART * offset).round(4),
    )
    shown = (
        "scale",
        "threshold",
        "regime",
        "n",
        "observed",
        "at",
        "low",
        "high",
        "coverage",
        "error",
        "mark",
        "beside",
    )
    numbers = [pl.col(name).round(4) for name in ("low", "high", "coverage", "error")]
    return placed.drop_nulls("at").with_columns(numbers).select(shown)


def _panel(
    scale: str, lines: pl.DataFrame, marks: pl.DataFrame, known: pl.DataFrame, edge: float
) -> tuple[Any, pl.DataFrame] | None:
    own_lines, own_marks = (frame.filter(pl.col("scale") == scale) for frame in (lines, marks))
    shown = pl.concat([own_lines, own_marks], how="diagonal")
    if shown.is_empty():
        return None
    axis = alt.Axis(values=list(THRESHOLDS), format=".1f", grid=False)
    reach = alt.Scale(domain=[THRESHOLDS[0] - 0.05, THRESHOLDS[-1] + 0.05], nice=False)
    x = alt.X("threshold:Q", title=TITLES[scale], axis=axis, scale=reach)
    y = alt.Y(
        "at:Q", title=LEAD, scale=alt.Scale(domain=[-edge, edge], nice=False),
        axis=theme.FEW_TICKS,
    )  # fmt: skip
    colour = theme.colour(known)
    thin = alt.Chart(own_lines).mark_line(strokeWidth=0.8, strokeOpacity=0.35)
    runs = thin.encode(x=x, y=y, color=colour, detail="trial_id:N", tooltip=["regime:N", "seed:Q", "at:Q"])
    hint = ["regime:N", "threshold:Q", "n:Q", "observed:Q", "at:Q", "low:Q", "high:Q", "coverage:Q", "error:Q"]
    base = alt.Chart(own_marks).encode(x=alt.X("beside:Q", title=TITLES[scale]), color=colour)
    both = base.transform_filter("isValid(datum.low) && isValid(datum.high)")
    bars = both.mark_rule(strokeWidth=1.4).encode(y=alt.Y("low:Q", title=LEAD), y2="high:Q")
    shape = theme.shape("mark", SHAPES)
    dots = base.mark_point(filled=True, size=45, opacity=1).encode(y=y, shape=shape, tooltip=hint)
    level = pl.DataFrame({"from": [-DELTA], "to": [DELTA]})
    together = (
        alt.Chart(level).mark_rect(color=theme.BAND, opacity=0.35).encode(y=alt.Y("from:Q", title=LEAD), y2="to:Q")
    )
    zero = alt.Chart(pl.DataFrame({"at": [0]})).mark_rule(color=theme.FAINT).encode(y=y)
    chart = alt.layer(together, zero, runs, bars, dots).properties(width=theme.WIDTH, height=theme.HEIGHT)
    return chart, shown
