"""One grammar for all families: component and behaviour, in and out of distribution, over training.

Whatever a study is about, its picture has the same axes, colours and marks, so that families can be set beside each
other. It is drawn by the gallery, not by the report of a study, whose figures know more of it.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import altair as alt
import polars as pl

from grokstudy.analysis.figures import theme
from grokstudy.analysis.figures.curves import SHAPES
from grokstudy.analysis.labels import labels, setting
from grokstudy.analysis.tables.families import roles_of
from grokstudy.analysis.tables.study import StudyTables

COLOURS = {
    "component": theme.PALETTE[1],
    "behaviour, in distribution": theme.PALETTE[0],
    "behaviour, out of distribution": theme.PALETTE[2],
}
"""What a colour stands for, in every panel of every family."""
MOST = 12
"""Most settings that are drawn, a panel each."""
ACROSS = 4
"""Most panels beside each other."""
ROOM, HEIGHT, LETTER = 580, 120, 7
"""Px for the panels of a row, for the height of each, and for a letter of its title."""
CAPTION = (
    "Thin lines are runs, thick ones their median over a setting, drawn slightly apart so that none hides another. A "
    "filled dot is an event at its threshold, a hollow diamond the end of a run that was followed to there without it. "
    "What is beyond 0 to 1 is drawn at the edge."
)
LINES = pl.Schema(
    {"setting": pl.String, "role": pl.String, "trial_id": pl.String, "line": pl.String, "step": pl.Float64,
     "value": pl.Float64}
)  # fmt: skip
"""`line` is `run`, `median` (of no trial), or the state of an event, which is a mark."""


def together(tables: StudyTables) -> theme.Figure | None:
    """A panel per setting of a study in common words (`tables.families`); None where nothing was measured."""
    roles = roles_of(tables)
    events = dict(zip((roles.component, roles.behaviour, roles.ood), COLOURS, strict=True))
    rows = _rows(tables, {event: role for event, role in events.items() if event is not None})
    known = rows["setting"].unique(maintain_order=True).to_list()
    if not known:
        return None
    shown = known[:MOST]
    across = math.ceil(len(shown) / math.ceil(len(shown) / ACROSS))
    panels = [
        _panel(rows.filter(pl.col("setting") == name), name, min(theme.WIDTH, ROOM // across), place % across == 0)
        for place, name in enumerate(shown)
    ]
    chart = alt.concat(*panels, columns=across, spacing=12).resolve_scale(color="shared", shape="shared")
    left_out = f" Drawn are the first {MOST} of {len(known)} settings." if len(known) > MOST else ""
    return theme.Figure(tables.name, chart, rows.filter(pl.col("setting").is_in(shown)), CAPTION + left_out)


def _rows(tables: StudyTables, roles: Mapping[str, str]) -> pl.DataFrame:
    """Runs, medians and marks (`LINES`) of these events, in the order of the study's settings."""
    trials = tables.results.select("trial_id", *tables.groups).collect()
    known = trials.select("trial_id", setting=labels(trials, tables.groups, setting))
    # A log axis cannot show step 0.
    measured = tables.series.filter(
        (pl.col("step") > 0) & pl.col("value").is_not_nan() & pl.col("event").is_in([*roles])
    )
    values = measured.collect().join(known, on="trial_id").with_columns(
        pl.col("value").cast(pl.Float64).clip(0, 1).round(3), role=pl.col("event").replace_strict(roles)
    )  # fmt: skip
    if values.is_empty():
        return pl.DataFrame(schema=LINES)
    single = theme.thin(values, ["role", "trial_id"], len(roles) * known.height)
    sizes = values.group_by("setting", "role").agg(runs=pl.col("trial_id").n_unique())
    counts = values.group_by("setting", "role", "step").agg(count=pl.len()).join(sizes, on=["setting", "role"])
    covered = counts.filter(2 * pl.col("count") > pl.col("runs"))  # only there is their median one of all
    middle = values.join(covered, on=["setting", "role", "step"], how="semi")
    middle = middle.group_by("setting", "role", "step").agg(pl.median("value"))
    thick = theme.thin(middle, ["setting", "role"], len(roles) * known["setting"].n_unique())
    parts = (
        single.with_columns(line=pl.lit("run")),
        thick.with_columns(line=pl.lit("median")),
        _marks(tables, values, roles),
    )
    every = pl.concat([part.select(pl.col(name).cast(kind) for name, kind in LINES.items() if name in part.columns)
                       for part in parts], how="diagonal")  # fmt: skip
    ordered = known["setting"].unique(maintain_order=True)
    place = pl.col("setting").replace_strict({name: n for n, name in enumerate(ordered)})
    return every.select(list(LINES)).sort(place, "role", "line", "trial_id", "step")


def _marks(tables: StudyTables, values: pl.DataFrame, roles: Mapping[str, str]) -> pl.DataFrame:
    """Where each run came to each event, or was last seen without it."""
    last = values.sort("step").group_by("trial_id", "event", "setting", "role").agg(pl.last("step", "value"))
    times = tables.events.select("trial_id", "event", line="state", time="time").collect()
    bound = pl.col("event").replace_strict({name: tables.declared[name].threshold for name in roles})
    reached = pl.col("line") == "observed"
    shown = pl.col("time").clip(lower_bound=pl.lit(values["step"].min()))  # there from step 0
    return last.join(times, on=["trial_id", "event"]).with_columns(
        step=pl.when(reached).then(shown).otherwise(pl.col("step").cast(pl.Float64)).round(1),
        value=pl.when(reached).then(bound).otherwise("value"),
    )


def _panel(rows: pl.DataFrame, name: str, width: int, is_first: bool) -> Any:
    """One setting; what the vertical axis is stands at the first of a row alone."""
    scale = alt.Scale(domain=[*COLOURS], range=[*COLOURS.values()])
    # As a line: a legend of marks would be hollow where no event came.
    legend = alt.Legend(symbolType="stroke", symbolSize=220, symbolStrokeWidth=2.5)
    colour = alt.Color("role:N", scale=scale, title=None, legend=legend)
    axis = alt.Axis(values=[0, 0.5, 1], labels=is_first, labelFlush=True)
    y = alt.Y("value:Q", scale=alt.Scale(domain=[0, 1]), axis=axis, title="measure" if is_first else None)
    steps = alt.Axis(format="~s", labelOverlap="greedy", labelSeparation=6)
    x = alt.X("step:Q", scale=alt.Scale(type="log", nice=False), axis=steps, title="training step")
    base = alt.Chart(rows).encode(x, y, colour)
    runs = base.transform_filter("datum.line == 'run'").mark_line(strokeWidth=0.7, strokeOpacity=0.3)
    medians = [
        base.transform_filter(f"datum.line == 'median' && datum.role == '{role}'").mark_line(
            strokeWidth=1.8, yOffset=px
        )
        for role, px in theme.offsets([*COLOURS]).items()
    ]
    shape = theme.shape("line", SHAPES)
    marks = [
        base.transform_filter(f"datum.line == '{state}'")
        .mark_point(size=26, strokeWidth=1.2, opacity=1, filled=filled)
        .encode(shape=shape)
        for state, filled in (("observed", True), ("censored", False))
        if state in rows["line"]
    ]
    lines = textwrap.wrap(name, max(1, width // LETTER), break_long_words=False)
    layers = alt.layer(runs.encode(detail="trial_id:N"), *medians, *marks)
    return layers.properties(
        width=width, height=HEIGHT, title=alt.Title(lines, subtitle=_counts(rows), fontSize=11, fontWeight="normal")
    )


def _counts(rows: pl.DataFrame) -> str:
    """How many of the runs came to each event, in the order of the colours: `reached in 2, 3, 0 of 3`."""
    n = rows.filter(pl.col("line") == "run")["trial_id"].n_unique()
    came = rows.filter(pl.col("line") == "observed").group_by("role").agg(count=pl.len())
    counts = dict(came.iter_rows())
    roles = [role for role in COLOURS if role in set(rows["role"])]
    return f"reached in {', '.join(str(counts.get(role, 0)) for role in roles)} of {n}"
