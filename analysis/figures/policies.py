"""Policies tried on recorded curves: what each spends, and how much of what there is it finds.

Drawn by `grokstudy simulate`, not by the report of a study.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from grokstudy.analysis.figures import theme

CAPTION = (
    "One mark per policy: medians over the seeds of the simulation; bars from the least to the most of them. Top left "
    "is good: everything found with few steps."
)


def policies(rows: Sequence[dict[str, Any]], event: str) -> theme.Figure:
    """Rows of `policy`, `spent` and `found` (shares of all recorded steps and of all runs that reach the event), each
    with `_low` and `_high`.
    """
    data = pl.DataFrame([{"name": f"{number} {row['policy']}", **row} for number, row in enumerate(rows, 1)])
    return theme.Figure("policies", _chart(data, event), data, CAPTION)


def _chart(data: pl.DataFrame, event: str) -> Any:
    share = alt.Axis(format="%", tickCount=5)
    x = alt.X("spent:Q", title="share of all run-steps that was spent", axis=share, scale=alt.Scale(domainMin=0))
    y = alt.Y("found:Q", title=f"share of runs that reach {event} found", axis=share, scale=alt.Scale(domain=[0, 1.05]))
    order = data["name"].to_list()
    turns = [divmod(number, len(theme.PALETTE)) for number in range(len(order))]
    colours = [theme.PALETTE[place] for _, place in turns]
    shapes = [theme.MARKS[(place + turn) % len(theme.MARKS)] for turn, place in turns]  # another one at each turn
    legend = alt.Legend(columns=2, title=None)
    colour = alt.Color("name:N", scale=alt.Scale(domain=order, range=colours), sort=order, legend=legend)
    shape = alt.Shape("name:N", scale=alt.Scale(domain=order, range=shapes), sort=order, legend=legend)
    base = alt.Chart(data).encode(color=colour)
    bars = [
        base.mark_rule(opacity=0.5).encode(x="spent_low:Q", x2="spent_high:Q", y=y),
        base.mark_rule(opacity=0.5).encode(y="found_low:Q", y2="found_high:Q", x=x),
    ]
    hint = ["policy:N", alt.Tooltip("spent:Q", format=".1%"), alt.Tooltip("found:Q", format=".1%")]
    marks = base.mark_point(filled=True, size=90, opacity=0.9).encode(x=x, y=y, shape=shape, tooltip=hint)
    return alt.layer(*bars, marks).properties(width=theme.WIDTH * 1.4, height=theme.HEIGHT * 1.2)
