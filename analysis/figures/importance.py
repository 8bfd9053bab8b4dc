"""What decides: how much of whether and when the answer came each axis explains by itself.

Applies to studies of two axes or more with enough results (`statistics.importance`).
"""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from grokstudy.analysis.answer import of_results
from grokstudy.analysis.figures import theme
from grokstudy.analysis.labels import ANSWER, axis_title
from grokstudy.analysis.statistics.importance import QUESTIONS
from grokstudy.analysis.statistics.importance import importance as shares_of
from grokstudy.analysis.tables.study import StudyTables

BARS = (
    "Share of the variance that an axis explains by itself (fANOVA): of whether the answer came within the run, over "
    "all results, and of when, over those in which it came. What is left to 1 is axes together."
)
WORDS = {"whether": "whether it came", "when": "when it came"}


def importance(tables: StudyTables) -> list[theme.Figure] | None:
    """Bars, a panel per question."""
    rows, axes = answered(tables)
    shares = shares_of(rows, axes)
    return None if shares.is_empty() else [theme.Figure("importance", _bars(shares), shares, BARS)]


def answered(tables: StudyTables) -> tuple[pl.DataFrame, list[str]]:
    """Results that measured the answer, with its `time` (null where censored), and the axes that they differ in.

    Empty where the study does not look for an answer or has fewer than two such axes.
    """
    rows = of_results(tables.events, tables).filter((pl.col("event") == ANSWER) & (pl.col("state") != "no_data"))
    found = rows.select("trial_id", "seed", "time", "horizon", *tables.groups).sort("trial_id").collect()
    axes = [axis for axis in tables.groups if found[axis].n_unique() > 1]
    return (found, axes) if len(axes) > 1 else (found.clear(), [])


def _bars(shares: pl.DataFrame) -> Any:
    order = shares["axis"].unique(maintain_order=True).to_list()
    named = shares.with_columns(
        name=pl.col("axis").replace_strict({axis: axis_title(axis) for axis in order}),
        panel=pl.format("{}, n={}", pl.col("question").replace_strict(WORDS), "n"),
        shown=pl.col("share").round(3),
    )
    base = alt.Chart(named).encode(
        x=alt.X("shown:Q", title="share of variance", scale=alt.Scale(domain=[0, 1])),
        y=alt.Y("name:N", sort=[axis_title(axis) for axis in order], title=None),
        tooltip=["name:N", "panel:N", "shown:Q"],
    )
    words = base.mark_text(align="left", dx=3, fontSize=9).encode(text=alt.Text("shown:Q", format=".2f"))
    sized = (base.mark_bar(color=theme.PALETTE[0]) + words).properties(width=theme.WIDTH - 60, height=22 * len(order))
    panels = [panel for question in QUESTIONS for panel in named["panel"].unique() if panel.startswith(WORDS[question])]
    return sized.facet(alt.Facet("panel:N", sort=panels, title=None), columns=2)
