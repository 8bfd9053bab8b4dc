"""How a measurement spreads over the sites of the model during training: depth by training step, per token position.

For the most telling probes that are measured per site, on the split of the study's circuit event; the value is the
median over seeds (causal tracing over training: arXiv 2405.15071 section 3.2).
"""

from __future__ import annotations

import altair as alt
import numpy as np
import polars as pl

from grokstudy.analysis.figures import theme
from grokstudy.analysis.figures.layer_position import REGIMES, share_probes, sited, split_of
from grokstudy.analysis.tables.study import StudyTables

CAPTION = (
    "Median over n seeds, from the first evaluation to the last; steps in between are spaced evenly on a log scale. "
    "One panel per regime and token position. Depth 0 is the embedding."
)
MOST_PROBES = 3
SNAPSHOTS = 12
"""Most steps that are shown."""
TILE = (12, 13)
"""Width and height in px."""


def sites_over_training(tables: StudyTables) -> list[theme.Figure] | None:
    """One figure per probe with sites."""
    known = theme.regimes(tables)
    site = ("probe", "regime", "position", "layer", "step")
    medians = (
        sited(tables, known).group_by(site).agg(pl.col("value").median().round(3), trials=pl.len()).sort(site).collect()
    )
    shown = medians.filter(pl.col("step").is_in(snapshots(medians["step"].unique().to_list())))
    return [_figure(name, rows, split_of(tables), known) for name, rows in share_probes(shown)[:MOST_PROBES]] or None


def snapshots(steps: list[int]) -> list[int]:
    """At most SNAPSHOTS of these steps, evenly spaced on a log scale, the first after 0 and the last among them."""
    later = np.array(sorted(step for step in steps if step > 0))
    if len(later) <= SNAPSHOTS:
        return [int(step) for step in later]
    wanted = np.geomspace(later[0], later[-1], SNAPSHOTS)
    nearest = np.abs(np.log(later)[None, :] - np.log(wanted)[:, None]).argmin(axis=1)
    return sorted({int(step) for step in later[nearest]})


def _figure(name: str, rows: pl.DataFrame, split: str, known: pl.DataFrame) -> theme.Figure:
    order = known["regime"].unique(maintain_order=True).to_list()[:REGIMES]
    positions = sorted(rows["position"].unique().to_list())
    shown = rows.filter(pl.col("regime").is_in(order)).with_columns(panel=pl.format("{}: {}", "regime", "position"))
    headed = theme.with_counts(shown, "panel")
    depths = sorted(shown["layer"].unique().to_list(), reverse=True)
    axis = alt.Axis(labelAngle=0, labelOverlap="greedy", format="~s")
    tiles = (
        alt.Chart(headed)
        .mark_rect()
        .encode(
            x=alt.X("step:O", title="training step", axis=axis),
            y=alt.Y("layer:O", sort=depths, title="depth (blocks)"),
            color=alt.Color("value:Q", scale=theme.BLUES, title=None),
            tooltip=["panel:N", "step:Q", "layer:Q", "value:Q", "trials:Q"],
        )
    )
    sized = tiles.properties(width=TILE[0] * shown["step"].n_unique(), height=TILE[1] * len(depths))
    panels = dict(headed.select("panel", "heading").unique().iter_rows())
    every = [f"{regime}: {position}" for regime in order for position in positions]
    header = alt.Facet("heading:N", sort=[panels[panel] for panel in every if panel in panels], title=None)
    faceted = sized.facet(header, columns=3 if len(positions) == 1 else len(positions))
    title = f"{name.replace('_', ' ')} on {split}"
    return theme.Figure(f"sites_{name}", faceted.properties(title=title), shown.drop("panel"), CAPTION)
