"""Paths before and after generalising: maps of causal effect at three stages, and how alike they are, with the nulls.

Claim (i) of arXiv 2601.09049; definitions and the rule of the verdict: docs/science.md#paths.
"""

from __future__ import annotations

import altair as alt
import polars as pl

from grokstudy.analysis.figures import theme
from grokstudy.analysis.figures.layer_position import REGIMES
from grokstudy.analysis.statistics.paths import (
    AFTER,
    BEFORE,
    MEASURES,
    OTHERS,
    STAGES,
    UNTRAINED,
    maps,
    similarities,
)
from grokstudy.analysis.tables.study import StudyTables
from grokstudy.trainables.tasks.graph import IN_DISTRIBUTION, POSITIONS

CAPTION = (
    "Median over the runs that memorised and generalised: when they had memorised, when they had generalised, and at "
    "the end. Patch effect: share of right answers lost with the state of a corrupted query at that site; restore: "
    "share that come back with the clean state there. Depth k is the state after k blocks."
)
ALIKE = (
    "Pearson's r of a run's map with its late map over sites, one point per run and its median as a bar. "
    "Other seeds: its late map with theirs, on average. Permuted: what r reaches in 5 % of permutations of the sites. "
    "An untrained model answers nothing right, so that it has no map."
)
PERMUTED = "permuted sites"
WORDS = {BEFORE: "memorised v. late", AFTER: "generalised v. late", UNTRAINED: "untrained v. late"}
ROWS = (*WORDS.values(), OTHERS, PERMUTED)
BAR = 12
"""Height in px of one regime within a comparison."""


def paths(tables: StudyTables) -> list[theme.Figure] | None:
    """The maps on each split, and the similarities."""
    map_rows, known = maps(tables), theme.regimes(tables)
    if map_rows.is_empty():
        return None
    regimes = known["regime"].unique(maintain_order=True).to_list()[:REGIMES]
    places = map_rows.join(known.select("trial_id", "regime"), on="trial_id").filter(pl.col("regime").is_in(regimes))
    drawn = [_maps(split, places.filter(pl.col("split") == split), regimes) for split in IN_DISTRIBUTION]
    return [*(figure for figure in drawn if figure is not None), *_similarity(similarities(map_rows), known)]


def _maps(split: str, rows: pl.DataFrame, regimes: list[str]) -> theme.Figure | None:
    shown = rows.filter(pl.col("stage").is_in(STAGES))
    if shown.is_empty():
        return None
    panel = pl.format("{}: {}", "regime", pl.col("measure").str.replace("_", " "))
    site = ("panel", "stage", "layer", "position")
    medians = shown.with_columns(panel=panel).group_by(site).agg(
        pl.col("value").median().round(4), trials=pl.len()
    ).sort(site)  # fmt: skip
    depths = sorted(medians["layer"].unique().to_list(), reverse=True)
    base = alt.Chart(medians).encode(
        x=alt.X("position:N", sort=list(POSITIONS), title="token position", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("layer:O", sort=depths, title="depth (blocks)"),
        tooltip=["panel:N", "stage:N", "layer:Q", "position:N", "value:Q", "trials:Q"],
    )
    tiles = base.mark_rect(stroke=theme.PAPER).encode(color=alt.Color("value:Q", scale=theme.BLUES, legend=None))
    number = alt.Text("value:Q", format=".2f")
    words = base.mark_text(fontSize=9).encode(text=number, color=theme.on_blue("value"))
    layers = alt.layer(tiles, words).properties(width=38 * 3, height=22 * len(depths))
    order = [f"{regime}: {measure.replace('_', ' ')}" for regime in regimes for measure in MEASURES]
    aside = alt.Header(labelAngle=0, labelAlign="left", labelLimit=200)
    chart = layers.facet(
        row=alt.Row("panel:N", sort=order, title=None, header=aside),
        column=alt.Column("stage:N", sort=list(STAGES), title=None),
    ).properties(title=f"causal effect on {split}")
    return theme.Figure(f"paths_{split}", chart, medians, CAPTION)


def _similarity(similarity_rows: pl.DataFrame, known: pl.DataFrame) -> list[theme.Figure]:
    """What is compared, and beside it what chance gives."""
    named = similarity_rows.with_columns(pl.col("comparison").replace(WORDS))
    chance = named.filter(pl.col("comparison") == WORDS[BEFORE])
    both = [named, chance.with_columns(comparison=pl.lit(PERMUTED), r="permuted")]
    panel = pl.format("{} on {}", pl.col("measure").str.replace("_", " "), "split")
    rows = pl.concat(both).drop_nulls("r").join(known.select("trial_id", "regime"), on="trial_id")
    shown = rows.select("trial_id", "regime", "comparison", pl.col("r").round(4), panel=panel)
    if shown.is_empty():
        return []
    count = shown["regime"].n_unique()
    present = [row for row in ROWS if row in shown["comparison"]]
    least = min(0.0, shown["r"].min() or 0.0)
    value = alt.X(scale=alt.Scale(domain=[least, 1]), title="Pearson's r over sites", axis=theme.FEW_TICKS)
    base = alt.Chart(shown).encode(
        y=alt.Y("comparison:N", sort=present, title=None),
        yOffset=alt.YOffset("regime:N", sort=known["regime"].unique(maintain_order=True).to_list()),
        color=theme.colour(known),
    )
    runs = base.mark_circle(size=22, opacity=0.6).encode(
        x=value.field("r").type("quantitative"), tooltip=["regime:N", "comparison:N", "r:Q", "trial_id:N"]
    )
    middle = base.mark_tick(thickness=2, size=BAR).encode(x=value.aggregate("median").field("r").type("quantitative"))
    layers = alt.layer(runs, middle)
    sized = layers.properties(width=170, height=max(18, BAR * count) * len(present))
    panels = [f"{measure.replace('_', ' ')} on {split}" for split in IN_DISTRIBUTION for measure in MEASURES]
    header = alt.Facet("panel:N", sort=panels, title=None)
    return [theme.Figure("paths_similarity", sized.facet(header, columns=2), shown, ALIKE)]
