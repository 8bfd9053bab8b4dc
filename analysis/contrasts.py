"""The numbers behind the verdicts: are regimes different, and do answer and circuit come together across runs?

Pairs of groups are tested only where there are few enough to read; with fewer than about six seeds a group, an
interval is a range and a p value a formality, so n stands in every row.
"""

from __future__ import annotations

import polars as pl

from grokstudy.analysis.answer import classed
from grokstudy.analysis.statistics import association, survival
from grokstudy.analysis.statistics.decoupling import shares
from grokstudy.analysis.tables.study import StudyTables

GROUPS = 8
"""Most groups whose pairs are tested."""
EVENTS = ("generalised", "circuit")


def findings(tables: StudyTables) -> list[tuple[str, pl.DataFrame]]:
    """Titled tables of estimates; what cannot be estimated has a reason in its place."""
    events = tables.events.join(tables.results.select("trial_id"), on="trial_id", how="semi")
    count = tables.results.select(tables.groups).unique().collect().height if tables.groups else 1
    pairs = [_between(events, name, tables.groups) for name in EVENTS] if 1 < count <= GROUPS else []
    found = (_classes(tables), *pairs, *_together(events, tables.groups))
    return [(title, frame) for title, frame in found if not frame.is_empty()]


def _classes(tables: StudyTables) -> tuple[str, pl.DataFrame]:
    """The classes that each group has, as counts and shares."""
    counted = shares(classed(tables), tables.groups, "kind").drop("unknown").filter(pl.col("count") > 0)
    return "Share of each class, with its 95 % interval (Wilson)", counted.collect()


def _between(events: pl.LazyFrame, event: str, by: list[str]) -> tuple[str, pl.DataFrame]:
    """Later by how many decades, with an interval over seeds, and the log-rank test."""
    later = survival.contrasts(events, event, by).drop("reason", "paired")
    test = survival.log_rank(events, event, by).select("a", "b", "p", "p_holm", "reason")
    title = f"{event}: how much later in a than in b (decades, 95 % interval over seeds), log-rank test"
    return title, later.join(test, on=["a", "b"], how="left", maintain_order="left")


def _together(events: pl.LazyFrame, by: list[str]) -> list[tuple[str, pl.DataFrame]]:
    """Association of the two events over all runs, and within groups only."""
    ways = {"all runs": association.pairs_of(events), "within groups": association.pairs_of(events, by)}
    named = {name: pairs for name, pairs in ways.items() if len(pairs.answer)}
    tau = [association.concordance(pairs).select(pl.lit(name).alias("over"), pl.all()) for name, pairs in named.items()]
    cox = [
        association.hazard_ratio(pairs).select(pl.lit(name).alias("over"), pl.all()) for name, pairs in named.items()
    ]
    if not named:
        return []
    return [
        ("Kendall's tau between the times of circuit and answer", pl.concat(tau)),
        ("Hazard of generalising once the circuit has formed, against before", pl.concat(cox)),
    ]
