"""One look for all figures: colours, sizes, axes, and how much data a chart may carry.

Colours are those of Okabe and Ito (2008), which colour-blind readers tell apart; a regime has the same colour
in every figure. A figure is as wide as one column of a two-column paper or as both, at 96 px to the inch: its smallest
letters are then 6.75 points. Charts carry their data inline, so lines are thinned first.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import altair as alt
import polars as pl

from grokstudy.analysis.labels import axis_title, in_reading_order, labels
from grokstudy.analysis.tables.study import StudyTables
from grokstudy.trainables.events import Event

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
INK, FAINT, NOTE, GRID, BAND, PAPER = "#222222", "#8a8a8a", "#666666", "#ececec", "#bbbbbb", "#ffffff"
ON_LIGHT, ON_DEEP = "#212121", "#fefefe"
"""Letters on a tile, which keeps its colour on a dark page: not the ink and the paper, which change there."""
ON_DARK = {
    INK: "#e8eaed", FAINT: "#7d8590", NOTE: "#a3aab5", GRID: "#2c3138", BAND: "#4a515b", PAPER: "#16181c",
    "#555555": "#a3aab5", "#000000": "#ffffff", "#0072b2": "#3d9bd9", "#d9d9d9": "#555b64",
}  # fmt: skip
"""What stands on a dark page for a colour of the charts; those not named stay."""
BLUES = alt.Scale(scheme=alt.SchemeParams("blues", extent=[0, 0.85]), domain=[0, 1], clamp=True)
"""Colours of a share between 0 and 1."""
MARKS = ("circle", "square", "cross", "diamond", "triangle-up", "triangle-down", "triangle-right", "triangle-left")
COLUMN, PAGE = 317, 672
"""Widest figure in px: 3.3 and 7 inches."""
WIDTH, HEIGHT = 256, 180
"""Size of a panel in px: two beside each other fill the page."""
APART, SPREAD = 2.0, 8.0
"""Px between equal lines of two regimes, and of all: none hides another."""
FEW_TICKS = alt.Axis(tickCount=5)
LINE_POINTS = 400
"""Most points of one line."""
CHART_ROWS = 12_000
"""Most rows of one chart: keeps a report of thousands of runs small."""

CONFIG: dict[str, Any] = {
    "font": "Helvetica, Arial, Liberation Sans, sans-serif",
    "background": PAPER,
    "view": {"stroke": None, "continuousWidth": WIDTH, "continuousHeight": HEIGHT},
    "axis": {
        "labelFontSize": 10,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "gridColor": GRID,
        "domainColor": FAINT,
        "tickColor": FAINT,
        "labelColor": INK,
        "titleColor": INK,
    },
    "title": {
        "fontSize": 12,
        "subtitleFontSize": 10,
        "subtitleColor": "#555555",
        "anchor": "start",
        "frame": "group",
        "color": INK,
    },
    "legend": {
        "orient": "top",
        "labelFontSize": 10,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "columns": 4,
        "labelLimit": 220,
        "symbolOpacity": 1,
        "labelColor": INK,
        "titleColor": INK,
    },
    "header": {"labelFontSize": 11, "titleFontSize": 11, "labelColor": INK, "titleColor": INK},
    "line": {"strokeJoin": "round", "strokeCap": "round"},
}


@dataclass(frozen=True)
class Figure:
    """A chart with a file name, the data it shows and a sentence about how to read it."""

    name: str
    chart: Any
    data: pl.DataFrame
    caption: str

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The chart as a Vega-Lite specification."""
        return spec(self.chart)

    @property
    def column(self) -> dict[str, Any]:
        """The same with panels below each other and two columns of colours."""
        columns = {"columns": max(1, self.spec["columns"] // 2)} if "columns" in self.spec else {}
        return {**self.spec, **columns, "config": {**CONFIG, "legend": {**CONFIG["legend"], "columns": 2}}}


def spec(chart: Any) -> dict[str, Any]:
    """A chart as a Vega-Lite specification with the theme, whatever its number of rows. Tests validate it."""
    with alt.data_transformers.enable("default", max_rows=None):
        described: dict[str, Any] = chart.to_dict(validate=False)
    return {**described, "config": CONFIG}


KNOWN = ("trial_id", "seed", "state", "group", "regime")


def regimes(tables: StudyTables) -> pl.DataFrame:
    """Per independent trial: trial_id, seed, state, `group` (all axes in words) and `regime` (the colour).

    With more groups than colours, the regime is the first text axis, or else the first axis, with few values.
    """
    trials = tables.independent.sort("trial_id").collect()
    axes = [axis for axis in tables.groups if trials[axis].n_unique() > 1] or tables.groups[:1]
    words = trials.with_columns(group=labels(trials, axes))
    return words.with_columns(regime=_regime(words, axes)).select(*KNOWN, *axes)


def _regime(words: pl.DataFrame, axes: Sequence[str]) -> pl.Series:
    if words["group"].n_unique() <= len(PALETTE):
        return words["group"]
    ordered = sorted(axes, key=lambda axis: words[axis].dtype != pl.String)
    few = [axis for axis in ordered if words[axis].n_unique() <= len(PALETTE)]
    if not few:
        return pl.Series([f"{words['group'].n_unique()} settings"] * len(words), dtype=pl.String)
    return labels(words, few[:1])


def colour(known: pl.DataFrame, **options: Any) -> Any:
    """The colour channel of the regimes: the same in every figure of a study."""
    domain = known["regime"].unique(maintain_order=True).to_list()
    scale = alt.Scale(domain=domain, range=list(PALETTE[: len(domain)]))
    return alt.Color("regime:N", scale=scale, title=_legend_title(known), **options)


def _legend_title(known: pl.DataFrame) -> str | None:
    """The axis in words where it is a number; words speak for themselves."""
    axes = known.columns[len(KNOWN) :]
    return axis_title(axes[0]) if len(axes) == 1 and known[axes[0]].dtype.is_numeric() else None


def shape(field: str, known: Mapping[str, tuple[str, str]]) -> Any:
    """The shape channel with its legend: what a mark stands for -> its shape, and the words for it."""
    words = {name: text for name, (_, text) in known.items()}
    scale = alt.Scale(domain=list(known), range=[drawn for drawn, _ in known.values()])
    expression = f"{json.dumps(words)}[datum.value]"
    legend = alt.Legend(labelExpr=expression, orient="bottom", symbolFillColor=FAINT, symbolStrokeColor=FAINT)
    return alt.Shape(f"{field}:N", scale=scale, title=None, legend=legend)


def regime_shape(known: pl.DataFrame) -> Any:
    """The shape channel of the regimes; it shares the legend of their colours."""
    domain = known["regime"].unique(maintain_order=True).to_list()
    shapes = itertools.islice(itertools.cycle(MARKS), len(domain))
    return alt.Shape("regime:N", scale=alt.Scale(domain=domain, range=list(shapes)), title=_legend_title(known))


def has_own_colours(known: pl.DataFrame) -> bool:
    """Whether a colour is one setting: only then do its runs have a median, or a share that came to an event."""
    return bool((known["group"] == known["regime"]).all())


def offsets(regimes: Sequence[str]) -> dict[str, float]:
    """Px by which the line of each regime is moved, so that equal lines lie beside each other."""
    apart = min(APART, SPREAD / max(1, len(regimes)))
    return {regime: apart * (place - (len(regimes) - 1) / 2) for place, regime in enumerate(regimes)}


def step_axis(title: str = "training step (log scale)") -> Any:
    """The x channel of training time."""
    axis = alt.Axis(format="~s", tickCount=5)
    return alt.X("step:Q", scale=alt.Scale(type="log", nice=False), axis=axis, title=title)


def ordered_events(tables: StudyTables) -> dict[str, Event]:
    """The study's events in reading order."""
    return {name: tables.declared[name] for name in in_reading_order(tables.declared)}


def metric_title(event: Event) -> str:
    """What an event's metric is, as an axis title."""
    splits = " and ".join(event.split)
    worst = f"{'smallest' if event.rising else 'largest'} {event.metric}" if len(event.split) > 1 else event.metric
    return f"{worst.replace('_', ' ')} on {splits}"


def thin(rows: pl.DataFrame, keys: Sequence[str], lines: int) -> pl.DataFrame:
    """At most one point per line and bucket of log step: the last of each bucket."""
    points = max(30, min(LINE_POINTS, CHART_ROWS // max(1, lines)))
    step = pl.col("step").cast(pl.Float64).clip(1).log10()
    share = (step - step.min()) / (step.max() - step.min()).clip(1e-9)
    marked = rows.sort(*keys, "step").with_columns(_bucket=(share * (points - 1)).floor())
    return marked.unique([*keys, "_bucket"], keep="last", maintain_order=True).drop("_bucket")


def some_trials(known: pl.DataFrame, least: int = 60) -> pl.DataFrame:
    """Trials to draw as single lines: all, or as many as fit, the first seeds of every regime alike."""
    room = CHART_ROWS // least
    rank = pl.int_range(pl.len()).over("regime")
    return known.with_columns(_rank=rank).sort("_rank", "trial_id").head(room).sort("trial_id").drop("_rank")


def panels(name: str, drawn: Iterable[tuple[Any, pl.DataFrame] | None], caption: str) -> list[Figure] | None:
    """One figure of charts with their data, two beside each other; None when there is no chart."""
    pairs = [pair for pair in drawn if pair is not None]
    if not pairs:
        return None
    chart = alt.concat(*(chart for chart, _ in pairs), columns=2).resolve_scale(color="shared")
    return [Figure(name, chart, pl.concat([data for _, data in pairs]), caption)]


def drawn_of(known: pl.DataFrame) -> str:
    """A sentence to add to a caption when not every run is drawn as a line of its own."""
    drawn = len(some_trials(known))
    return "" if drawn == len(known) else f" Lines are drawn for {drawn} of {len(known)} runs."


def on_blue(column: str) -> Any:
    """The colour of a number written on a tile of `BLUES`."""
    return alt.condition(f"datum['{column}'] > 0.6", alt.value(ON_DEEP), alt.value(ON_LIGHT))


def with_counts(rows: pl.DataFrame, panel: str) -> pl.DataFrame:
    """With `heading`: the panel's name and over how many `trials` its values are taken, the fewest to the most."""
    few, most = pl.col("trials").min().over(panel), pl.col("trials").max().over(panel)
    counts = pl.when(few == most).then(pl.format("n={}", few)).otherwise(pl.format("n={} to {}", few, most))
    return rows.with_columns(heading=pl.format("{}, {}", panel, counts))
