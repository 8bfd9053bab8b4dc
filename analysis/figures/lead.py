"""Lead of the circuit over the answer, one mark per seed: where the two come apart, and by how much.

Triangles are bounds: the answer (or the circuit) had not come when the run ended, so the lead is at least (at
most) that far out. Runs in which neither came have no place on the axis: they are counted beside it.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from grokstudy.analysis.answer import classed
from grokstudy.analysis.figures import theme
from grokstudy.analysis.statistics.decoupling import DELTA
from grokstudy.analysis.tables.study import StudyTables

CAPTION = (
    "Lead = log10 t(generalised) - log10 t(circuit), one mark per seed; bars span the evaluations around both "
    "crossings. Grey: within 0.1 decades. Bounds are from censored runs."
)
AXIS_WIDTH = 150
LABEL_WIDTH = 400
"""Most px for the name of a group."""
SHAPES = {
    "lead": ("circle", "lead"),
    "at_most": ("triangle-left", "at most (bound)"),
    "at_least": ("triangle-right", "at least (bound)"),
}
"""What a mark stands for; `neither` has none."""


def lead(tables: StudyTables) -> list[theme.Figure] | None:
    """One row per group, one mark per trial."""
    known = theme.regimes(tables)
    leads = classed(tables).drop(tables.groups).drop_nulls("kind").collect()
    rows = known.join(leads, on="trial_id", how="inner").sort("trial_id")
    if rows.is_empty():
        return None
    placed = _placed(rows)
    return [theme.Figure("lead", _chart(placed, known), placed, CAPTION)]


def _placed(rows: pl.DataFrame) -> pl.DataFrame:
    """Where each mark stands, beside the others of its group: at the lead or its bound; null for neither."""
    low, high = pl.col("lead_low"), pl.col("lead_high")
    is_latent = pl.col("kind") == "latent"
    bound = pl.when(is_latent).then(low).otherwise(high)
    mark = pl.when("both").then(pl.lit("lead")).when(is_latent).then(pl.lit("at_least")).otherwise(pl.lit("at_most"))
    offset = (pl.int_range(pl.len()).over("group") + 0.5) / pl.len().over("group")
    rows = rows.with_columns(both=pl.col("lead").is_not_null())
    bars = [pl.when("both").then(column).round(4).alias(column.meta.output_name()) for column in (low, high)]
    place = pl.coalesce("lead", bound).round(4)
    return rows.select(
        "group", "regime", "trial_id", "seed", "kind", *bars, mark=mark, at=place, offset=offset.round(3)
    )


def _chart(rows: pl.DataFrame, known: pl.DataFrame) -> Any:
    order = known["group"].unique(maintain_order=True).to_list()
    y = alt.Y("group:N", sort=order, title=None, axis=alt.Axis(labelLimit=LABEL_WIDTH, grid=True, tickBand="extent"))
    widest = rows.select(pl.max_horizontal(pl.col("at", "lead_low", "lead_high").abs().max())).item()
    edge = 1.1 * max(0.5, widest or 0)
    scale = alt.Scale(domain=[-edge, edge], nice=False)
    x = alt.X(
        "at:Q", title=["lead of the circuit over the answer", "(decades of steps)"], scale=scale, axis=theme.FEW_TICKS
    )
    beside = alt.YOffset("offset:Q", scale=alt.Scale(domain=[0, 1]))
    colour = theme.colour(known, legend=None)
    shape = theme.shape("mark", {name: SHAPES[name] for name in SHAPES if name in rows["mark"]})
    hint = ["group:N", "seed:Q", "kind:N", "at:Q", "lead_low:Q", "lead_high:Q"]
    base = alt.Chart(rows.filter(pl.col("kind") != "neither")).encode(y=y, yOffset=beside, color=colour)
    bars = base.mark_rule(strokeWidth=1.2, strokeOpacity=0.6).encode(x="lead_low:Q", x2="lead_high:Q")
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(x=x, shape=shape, tooltip=hint)
    height = alt.Step(max(14, min(44, 600 // len(order))))
    together = alt.Chart(pl.DataFrame({"from": [-DELTA], "to": [DELTA]})).mark_rect(color=theme.BAND, opacity=0.35)
    zero = alt.Chart(pl.DataFrame({"at": [0]})).mark_rule(color=theme.FAINT).encode(x="at:Q")
    layers = [together.encode(x="from:Q", x2="to:Q"), zero, bars, dots, _neither(rows, y)]
    return alt.layer(*layers).properties(width=AXIS_WIDTH, height=height)


def _neither(rows: pl.DataFrame, y: Any) -> Any:
    """At the right, how many runs of each group had neither event; the groups keep their row even if all had."""
    count = (pl.col("kind") == "neither").sum()
    counts = rows.group_by("group", maintain_order=True).agg(count=count, of=pl.len())
    words = pl.when(pl.col("count") > 0).then(pl.format("{}/{} neither", "count", "of")).otherwise(pl.lit(""))
    text = alt.Chart(counts.with_columns(words=words)).mark_text(align="left", fontSize=10, color=theme.NOTE)
    return text.encode(y=y, x=alt.value(AXIS_WIDTH + 4), text="words:N")
