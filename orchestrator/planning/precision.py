"""How well a study will tell two groups apart: the interval of their contrast with n seeds, and the seeds that a wanted
one takes. From the spread of event times in studies of the root, or a stated one (docs/science.md#precision).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import study_names

if TYPE_CHECKING:
    from grokstudy.analysis.tables.study import StudyTables

DRAWS, MOST_SEEDS = 20_000, 1000
FEWEST = 5
"""Times within groups, beyond one each, from which on a spread is taken from them."""


@dataclass(frozen=True)
class Spread:
    """Of the times of an event, within groups that differ in their seed alone."""

    decades: float
    """Standard deviation of log10 steps."""
    runs: int
    censored: float
    """Share of runs that the event does not come to within their length."""
    studies: tuple[str, ...]


@dataclass(frozen=True)
class Precision:
    """What a study's seeds come to."""

    event: str
    spread: Spread
    seeds: int
    half_width: float | None
    """Of the 95 % interval of a contrast of two groups, in decades; None with one seed."""
    wanted: float
    """Half width, in decades,"""
    needed: int | None
    """and the seeds that it takes; None beyond a thousand."""

    def __str__(self) -> str:
        origin = (
            f"from {self.spread.runs} runs of {', '.join(self.spread.studies)}" if self.spread.runs else "as stated"
        )
        censored = f", {self.spread.censored:.0%} censored" if self.spread.censored else ""
        width = (
            "one seed has no interval" if self.half_width is None else f"95 % interval ±{self.half_width:.2f} decades"
        )
        takes = f"more than {MOST_SEEDS:,}" if self.needed is None else f"{self.needed:,}"
        spread = f"spread {self.spread.decades:.2f} {origin}{censored}"
        return f"{self.event}: {self.seeds} seeds, {width}; ±{self.wanted:g} takes {takes} seeds ({spread})"


def precision(study: Study, event: str, spread: Spread, wanted: float) -> Precision:
    """What the study's seeds come to, at this spread."""
    seeds, variance = len(study.seeds), restricted_variance(spread.decades, spread.censored)
    width = None if seeds < 2 else half_width(variance, seeds)
    counts = range(2, MOST_SEEDS + 1)
    needed = next((count for count in counts if half_width(variance, count) <= wanted), None)
    return Precision(event, spread, seeds, width, wanted, needed)


def half_width(variance: float, seeds: int) -> float:
    """Half of the 95 % interval of a difference of two means of so many seeds each (Student's t)."""
    from scipy import stats

    return float(stats.t.ppf(0.975, 2 * seeds - 2) * np.sqrt(2 * variance / seeds))


def restricted_variance(spread: float, censored: float) -> float:
    """Variance of log10 times cut at the length that so large a share passes: drawn, times taken as log-normal."""
    drawn = np.random.default_rng(0).normal(0.0, spread, DRAWS)
    limit = np.quantile(drawn, 1 - censored) if censored else np.inf
    return float(np.minimum(drawn, limit).var())


def spread_in_root(study: Study, store: Store, event: str, tables: StudyTables | None = None) -> Spread | None:
    """Of this study's runs where it has enough, else pooled over the root's studies; None where there is too little.

    `tables` are the study's own, where somebody has read their events before.
    """
    names = study_names(store)
    known = {} if tables is None else {study.name: tables}
    own = [_deviations(known.get(name) or _opened(store, name, event), event) for name in names if name == study.name]
    others = (_deviations(_opened(store, name, event), event) for name in names if name != study.name)
    return _pooled(own) or _pooled([*own, *others])


@dataclass(frozen=True)
class _Deviations:
    """How the event's log10 times lie about the means of their groups, in one study."""

    study: str
    squares: float = 0.0
    freedom: int = 0
    runs: int = 0
    censored: int = 0


def _opened(store: Store, name: str, event: str) -> StudyTables:
    """A study with this one of its events, where it has it: the others need not be read."""
    from grokstudy.analysis.tables.study import load

    tables = load(store.uri, name)
    return replace(tables, declared={key: value for key, value in tables.declared.items() if key == event})


def _deviations(tables: StudyTables, event: str) -> _Deviations:
    """Of the trials that are results; nothing where the study does not declare the event, or no group has two."""
    import polars as pl

    from grokstudy.analysis.answer import of_results

    name = tables.name
    if event not in tables.declared:
        return _Deviations(name)
    found = of_results(tables.events, tables).filter(pl.col("event") == event)
    rows = found.filter(pl.col("state") != "no_data").collect()
    seen = rows.filter(pl.col("state") == "observed").with_columns(log=pl.col("time").clip(lower_bound=1).log10())
    groups = seen.partition_by(tables.groups) if tables.groups else [seen]
    several = [group["log"].to_numpy() for group in groups if len(group) > 1]
    if not several:
        return _Deviations(name)
    squares = sum(float(((times - times.mean()) ** 2).sum()) for times in several)
    freedom = sum(len(times) - 1 for times in several)
    return _Deviations(name, squares, freedom, len(rows), len(rows) - len(seen))


def _pooled(studies: list[_Deviations]) -> Spread | None:
    squares, freedom = sum(study.squares for study in studies), sum(study.freedom for study in studies)
    if freedom < FEWEST or squares == 0:
        return None
    runs, censored = sum(study.runs for study in studies), sum(study.censored for study in studies)
    used = tuple(study.study for study in studies if study.freedom)
    return Spread(float(np.sqrt(squares / freedom)), runs, censored / runs, used)
