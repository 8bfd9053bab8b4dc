"""Where in the model a measurement stands at the end: depth by token position, one tile per site and regime.

For every probe that is measured per site, on the split of the study's circuit event; the value is the median
over seeds at the last measurement (logit lens: arXiv 2405.15071 section 3.2).
"""

from __future__ import annotations

import altair as alt
import polars as pl

from grokstudy.analysis.figures import theme
from grokstudy.analysis.tables.study import StudyTables
from grokstudy.trainables.tasks import of_splits

CAPTION = "Median over n seeds at the end of training. Depth 0 is the embedding, k the state after k blocks."
MOST_PROBES = 6
"""Most probes that are drawn; of the logit lens, hits come before ranks and probabilities."""
REGIMES = 12


def layer_position(tables: StudyTables) -> list[theme.Figure] | None:
    """One figure per probe with sites."""
    known, split = theme.regimes(tables), split_of(tables)
    final = sited(tables, known).filter(pl.col("step") == pl.col("step").max().over("trial_id"))
    site = ("probe", "regime", "layer", "position")
    last = final.group_by(site).agg(pl.col("value").median().round(4), trials=pl.len()).sort(site).collect()
    return [_figure(name, probe_rows, split, known) for name, probe_rows in share_probes(last)[:MOST_PROBES]] or None


def split_of(tables: StudyTables) -> str:
    """Where sites are looked at: the split of the study's circuit event."""
    event = tables.declared.get("circuit")
    if event:
        return event.split[0]
    return of_splits(tables.evals.select("split").unique().collect()["split"].sort().to_list())[0]


def sited(tables: StudyTables, known: pl.DataFrame) -> pl.LazyFrame:
    """What was measured per site on that split: trial_id, regime, probe, step, layer, position, value."""
    measured = pl.col("layer").is_not_null() & pl.col("position").is_not_null() & pl.col("value").is_not_nan()
    rows = tables.probes.filter(measured & (pl.col("split") == split_of(tables)))
    kept = rows.select("trial_id", "probe", "step", "layer", "position", pl.col("value").cast(pl.Float64))
    return kept.join(known.lazy().select("trial_id", "regime"), on="trial_id")


def share_probes(rows: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    """The probes whose values are shares, each with its rows, the most telling first."""
    shares = rows.filter(pl.col("value").is_between(0, 1).all().over("probe"))
    names = sorted(
        shares["probe"].unique().to_list(),
        key=lambda name: (name.startswith("lens_") and not name.endswith("_hit"), "bridge" not in name, name),
    )
    return [(name, shares.filter(pl.col("probe") == name)) for name in names]


def _figure(name: str, rows: pl.DataFrame, split: str, known: pl.DataFrame) -> theme.Figure:
    order = known["regime"].unique(maintain_order=True).to_list()[:REGIMES]
    shown = rows.filter(pl.col("regime").is_in(order)).sort(
        pl.col("regime").replace_strict(order, range(len(order))), maintain_order=True
    )
    positions = shown["position"].unique(maintain_order=True).to_list()
    depths = sorted(shown["layer"].unique().to_list(), reverse=True)
    headed = theme.with_counts(shown, "regime")
    base = alt.Chart(headed).encode(
        x=alt.X("position:N", sort=positions, title="token position", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("layer:O", sort=depths, title="depth (blocks)"),
        tooltip=["regime:N", "layer:Q", "position:N", "value:Q", "trials:Q"],
    )
    fill = alt.Color("value:Q", scale=theme.BLUES, title=None, legend=None)
    tiles = base.mark_rect(stroke=theme.PAPER).encode(color=fill)
    number = alt.Text("value:Q", format=".2f")
    words = base.mark_text(fontSize=9).encode(text=number, color=theme.on_blue("value"))
    layers = alt.layer(tiles, words).properties(width=38 * len(positions), height=22 * len(depths))
    header = alt.Facet("heading:N", sort=headed["heading"].unique(maintain_order=True).to_list(), title=None)
    chart = layers.facet(header, columns=4).properties(title=f"{name.replace('_', ' ')} on {split}")
    return theme.Figure(f"layer_position_{name}", chart, shown, CAPTION)
