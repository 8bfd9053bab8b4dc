"""What every format is told of a trial: its settings, how it ended, when its events came, and its curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from grokstudy.analysis.answer import classed
from grokstudy.analysis.curves import event_times, tracked_curves
from grokstudy.analysis.tables.study import RESULT_STATES, StudyTables

Points = list[tuple[int, float]]


@dataclass(frozen=True)
class Outcome:
    """One independent trial: of those that are beginnings of one run only the longest."""

    trial_id: str
    run_id: str | None
    """None where it has no start, and so no run."""
    settings: Mapping[str, Any]
    """The swept values, by dotted name, without the seed."""
    seed: int
    state: str
    horizon: int
    """Steps asked for."""
    events: Mapping[str, float | None]
    """Step of each event that was looked for: None, not reached; one that was not measured is absent."""
    kind: str | None
    """Class of the order of answer and circuit; None where that is undefined."""
    lead: float | None
    """Decades by which the circuit came before the answer."""
    curves: Mapping[str, Points]
    """At most 20 curves of at most 500 points, dense near the events: (step, value)."""

    @property
    def is_result(self) -> bool:
        """Whether it ended as a result; a crash is none."""
        return self.state in RESULT_STATES

    @property
    def name(self) -> str:
        """Seed first, then the settings, in an order that stays."""
        values = [f"{name.rpartition('.')[2]}={value}" for name, value in self.settings.items()]
        return ", ".join([f"seed={self.seed}", *values])


def outcomes(tables: StudyTables) -> list[Outcome]:
    """Every independent trial that has begun or ended, in the order of the trials."""
    trials = tables.independent.filter(~pl.col("state").is_in(("missing", "waiting"))).collect()
    events = tables.events.join(trials.lazy().select("trial_id", "run_id").drop_nulls(), on="trial_id")
    reached = event_times(events.collect())
    judged = {trial_id: (kind, lead) for trial_id, kind, lead in
              classed(tables).select("trial_id", "kind", "lead").collect().iter_rows()}  # fmt: skip
    curves = _curves(tables, trials, reached)
    return [
        Outcome(
            row["trial_id"], row["run_id"], {axis: row[axis] for axis in tables.axes}, row["seed"], row["state"],
            row["horizon"], reached.get(row["run_id"], {}), *judged.get(row["trial_id"], (None, None)),
            curves.get(row["run_id"], {}),
        )
        for row in trials.iter_rows(named=True)
    ]  # fmt: skip


def _curves(
    tables: StudyTables, trials: pl.DataFrame, reached: Mapping[str, Mapping[str, float | None]]
) -> dict[str, dict[str, Points]]:
    runs = trials.drop_nulls("run_id")
    horizons = dict(runs.select("run_id", "horizon").iter_rows())
    times = {run_id: reached.get(run_id, {}).values() for run_id in horizons}
    first = [event.metric for event in tables.declared.values()]
    found: dict[str, dict[str, Points]] = {}
    for run_id, metric, step, value in tracked_curves(tables.store, horizons, times, first).iter_rows():
        found.setdefault(run_id, {}).setdefault(metric, []).append((step, value))
    return found
