"""The numbers behind the verdicts: are regimes different, and do answer and circuit come together across runs?

Pairs of groups are tested only where there are few enough to read; n stands in every row, the smallest p that was to be
had beside every p, and what n runs could have shown at the end.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from grokstudy.analysis.answer import classed, last_values, lead_curve, of_results, outcomes
from grokstudy.analysis.labels import ANSWER, CIRCUIT, in_reading_order, labels
from grokstudy.analysis.statistics import association, survival
from grokstudy.analysis.statistics.boundary import critical_values
from grokstudy.analysis.statistics.decoupling import shares
from grokstudy.analysis.statistics.lead_curve import group_leads, orders
from grokstudy.analysis.statistics.paired import paired
from grokstudy.analysis.statistics.power import could_have_seen
from grokstudy.analysis.statistics.variance import COMPONENTS, components
from grokstudy.analysis.tables.forks import different, forked_from
from grokstudy.analysis.tables.study import StudyTables
from grokstudy.trainables.schema import SEED_PARTS

GROUPS = 8
"""Most groups whose pairs are tested."""


class Finding(NamedTuple):
    """A table of estimates, its title, and the figure that it stands beside (where that is drawn)."""

    figure: str
    title: str
    rows: pl.DataFrame


def findings(tables: StudyTables) -> list[Finding]:
    """Titled tables of estimates; what cannot be estimated has a reason in its place."""
    by, events = tables.groups, of_results(tables.events, tables)
    classes = shares(classed(tables), by).drop("unknown").filter(pl.col("count") > 0).collect()
    curve = group_leads(lead_curve(tables), by)
    group_findings = [
        Finding("decoupling_plane", "Share of each class, with its 95 % interval (Wilson)", classes),
        Finding(
            "lead_curve",
            "Order over equal thresholds .2 to .8, with the outermost ends of the intervals",
            orders(curve, by),
        ),
        Finding(
            "lead_curve",
            "Lead at equal thresholds (decades): median, its sign interval over seeds, error of finite queries",
            curve,
        ),
    ]
    if by and 1 < tables.results.select(by).unique().collect().height <= GROUPS:
        for event in (ANSWER, CIRCUIT):
            title = f"{event}: how much later in a than in b (decades, 95 % interval over seeds), log-rank test"
            group_findings.append(Finding("survival", title, survival.pairwise(events, event, by).drop("paired")))
    power = Finding(
        "lead",
        "What these numbers of runs could have shown (95 % interval, 80 % power)",
        could_have_seen(classed(tables), by),
    )
    by_rule = tables.stops.group_by("scheduler", "event", maintain_order=True)
    counted = by_rule.agg(runs=pl.len(), largest_chance=pl.max("chance"))
    stopped = Finding("", "Runs that a scheduler stopped, and events that were out of reach", counted)
    beside = (*_forks(tables), *_crossed(tables), *_critical(tables))
    every = (*group_findings, *beside, *_together(events, by), power, stopped)
    return [finding for finding in every if not finding.rows.is_empty()]


def _forks(tables: StudyTables) -> list[Finding]:
    """Where the arms of a fork ended, seed by seed against the first of them."""
    if forked_from(tables) is None:
        return []
    trials = tables.results.select("trial_id", "seed", *tables.groups).collect()
    arms = trials.with_columns(setting=labels(trials, tables.groups))
    rows = []
    for event in different({name: tables.declared[name] for name in in_reading_order(tables.declared)}):
        ended = arms.join(last_values(tables, event).collect(), on="trial_id", maintain_order="left")
        rows.append(paired(ended.select("setting", "seed", "value")).select(pl.lit(event).alias("event"), pl.all()))
    title = "Forks: how much higher a setting ended in what an event looks at, paired by seed (sign interval, exact p)"
    return [Finding("branches", title, pl.concat(rows))]


def _crossed(tables: StudyTables) -> list[Finding]:
    """What graph, initialisation and order bring to the spread of event times, where their seeds are crossed."""
    if SEED_PARTS[0] not in tables.trials.collect_schema():
        return []
    trials = tables.independent.select("trial_id", *SEED_PARTS, *tables.groups).collect()
    when = pl.when(pl.col("state") == "observed").then(pl.col("time").clip(lower_bound=1).log10())
    times = tables.events.select("trial_id", "event", value=when).collect()
    kinds = {part: part.removeprefix("seed.") for part in SEED_PARTS}
    found = []
    for event in in_reading_order(tables.declared):
        rows = trials.join(times.filter(pl.col("event") == event), on="trial_id", how="left").rename(kinds)
        for key, group in rows.group_by(tables.groups or pl.lit("all"), maintain_order=True):
            about = dict(zip(tables.groups, key, strict=False))
            came = pl.lit(group["value"].count()).alias("came")
            parts = components(group, [*kinds.values()]).with_columns(pl.lit(group.height).alias("n"))
            said = parts if parts.height else pl.DataFrame([{"n": group.height}], schema=COMPONENTS)
            setting = [pl.lit(value).alias(name) for name, value in about.items()]
            found.append(said.select(*setting, pl.lit(event).alias("event"), came, "n", pl.exclude("n")))
    title = (
        "Spread of event times (standard deviation in decades, 95 % interval) that each kind of seed brings; dash: not "
        "every run came to the event, or a combination is missing"
    )
    return [Finding("survival", title, pl.concat(found, how="vertical_relaxed"))] if found else []


def _critical(tables: StudyTables) -> list[Finding]:
    """Where the answer and the circuit begin to come within the horizon, along the first numeric axis."""
    title = "Critical value for {} within the horizon (95 % band; dash: beyond the axis)"
    return [
        Finding(f"boundary_{event}", title.format(event), critical_values(outcomes(tables, event), tables.groups))
        for event in (ANSWER, CIRCUIT)
    ]


def _together(events: pl.LazyFrame, by: list[str]) -> list[Finding]:
    """Association of the two events over all runs, and within groups only."""
    ways = {"all runs": association.pairs_of(events), "within groups": association.pairs_of(events, by)}
    estimates = {
        "Kendall's tau between the times of circuit and answer": association.concordance,
        "Hazard of generalising once the circuit has formed, against before": association.hazard_ratio,
    }
    associations = []
    for title, estimate in estimates.items():
        rows = [estimate(pairs).with_columns(over=pl.lit(way)) for way, pairs in ways.items() if len(pairs.answer)]
        associations += [Finding("lead", title, pl.concat(rows).select("over", pl.exclude("over")))] if rows else []
    return associations
