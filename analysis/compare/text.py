"""A comparison in words and as a page: the same numbers, with the curves overlaid in the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from grokstudy.analysis.compare.compare import Comparison
from grokstudy.analysis.compare.select import Side
from grokstudy.analysis.labels import share_text, steps_text
from grokstudy.analysis.report.html import render

Row = dict[str, str]


def setting_rows(comparison: Comparison) -> list[Row]:
    """Differing settings, one a row."""
    return [{name: str(value) for name, value in row.items()} for row in comparison.settings.to_dicts()]


def event_rows(comparison: Comparison) -> list[Row]:
    """Events per side: reached by how many, when, and where the metric ended."""
    return [
        {
            "event": row["event"],
            "side": row["side"],
            "reached": f"{row['observed']} of {row['n']}",
            "at step": _time(row),
            "ended at": _range(row["final"], row["final_min"], row["final_max"]),
        }
        for row in comparison.events.to_dicts()
    ]


def _time(row: dict[str, Any]) -> str:
    if row["median"] is None:
        return "–" if row["followed"] is None else f">{steps_text(row['followed'])}"
    limits = f" ({steps_text(row['low'])}–{steps_text(row['high'])})" if row["n"] > 1 else ""
    return f"{steps_text(row['median'])}{limits}"


def _range(middle: float | None, low: float | None, high: float | None) -> str:
    if middle is None:
        return "–"
    return share_text(middle) if low == high else f"{share_text(middle)} ({share_text(low)}–{share_text(high)})"


def test_rows(comparison: Comparison) -> list[Row]:
    """Pairs of sides: decades by which a is later than b with an interval, p, and how small p could have been."""
    return [
        {
            "event": row["event"],
            "a": f"{row['a']} (n={row['n_a']})",
            "b": f"{row['b']} (n={row['n_b']})",
            "a later by": _decades(row),
            "p": _p(row["p"]),
            "p (Holm)": _p(row["p_holm"]),
            "least p": _p(row["p_least"]),
            "p unclustered": _p(row["p_unclustered"]),
            "test": row["test"] or "–",
            "why not": row["reason"] or "",
        }
        for row in comparison.tests.to_dicts()
    ]


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


def _decades(row: dict[str, Any]) -> str:
    if row["difference"] is None:
        return "–"
    limits = "" if row["low"] is None else f" ({row['low']:+.2f} to {row['high']:+.2f})"
    return f"{row['difference']:+.2f}{limits}"


SECTIONS = (
    ("Settings that differ", setting_rows),
    ("Events: median step (95 % limits); final value: median (range)", event_rows),
    ("Decades by which a is later than b (95 % interval over seeds), log-rank test", test_rows),
)


def compare_page(sides: Sequence[Side], comparison: Comparison) -> str:
    """The comparison as one HTML file that fetches nothing."""
    figures = overlaid(sides)
    names = " against ".join(side.name for side in sides)
    blocks = [(title, rows(comparison)) for title, rows in SECTIONS]
    return render("compare.html", figures, title=names, blocks=blocks, notes=comparison.notes)


def overlaid(sides: Sequence[Side]) -> list[Any]:
    """Per event the metric it looks at: thin lines are runs, the thick one their median, of sides of one setting."""
    from grokstudy.analysis.figures.theme import Figure, thin

    rows = pl.concat([side.of(side.tables.series).collect() for side in sides]).drop_nulls("value")
    figures = []
    for name in rows["event"].unique(maintain_order=True):
        of_event = rows.filter((pl.col("event") == name) & (pl.col("step") > 0))
        drawn = thin(of_event, ["side", "trial_id"], of_event["trial_id"].n_unique())
        thick = "; thick: their median, of sides of one setting" if any(side.groups == 1 for side in sides) else ""
        caption = f"What {name} looks at. Thin: single runs{thick}."
        figures.append(Figure(f"curves_{name}", _chart(drawn, sides, name), drawn, caption))
    return figures


def _chart(rows: pl.DataFrame, sides: Sequence[Side], name: str) -> Any:
    import altair as alt

    from grokstudy.analysis.figures.theme import PALETTE, step_axis

    names = [side.name for side in sides]
    scale = alt.Scale(domain=names, range=[PALETTE[n % len(PALETTE)] for n in range(len(names))])
    colour = alt.Color("side:N", scale=scale, title=None)
    shown = ["side:N", "trial_id:N", "step:Q", alt.Tooltip("value:Q", format=".3f")]
    thin = alt.Chart(rows).mark_line(strokeOpacity=0.35, strokeWidth=0.8)
    lines = thin.encode(step_axis(), alt.Y("value:Q", title=name), colour, detail="trial_id:N", tooltip=shown)
    of_one = rows.filter(pl.col("side").is_in([side.name for side in sides if side.groups == 1]))
    middle = of_one.group_by("side", "step", maintain_order=True).agg(pl.median("value"))
    thick = alt.Chart(middle).mark_line(strokeWidth=2.2).encode(step_axis(), y="value:Q", color=colour)
    return alt.layer(lines, thick).properties(width=520, height=260)
