"""What the points of a search came to, from the tables of their runs: last values, event times, outcomes.

An event that has not come is a bound, the last step at which it surely had not; it never becomes the horizon.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from grokstudy.orchestrator.runs.trials import Trial
from grokstudy.orchestrator.search.base import Goal, Score
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.schema import METRICS, TABLES
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store

if TYPE_CHECKING:
    import polars as pl


def scores_of(
    study: Study, store: Store, goals: tuple[Goal, ...], points: Mapping[int, list[Trial]]
) -> dict[int, Score | None]:
    """The score of each point, over its trials; None where a goal has no data in one of them."""
    trials = [trial for group in points.values() for trial in group]
    events = events_of_trials(study, store, trials) if any(goal.kind != "metric" for goal in goals) else None
    return {
        number: mean_score([_of_trial(store, goal, trial, events) for trial in group] for goal in goals)
        for number, group in points.items()
    }


def mean_score(goals: Iterable[Sequence[tuple[float, bool] | None]]) -> Score | None:
    """The score of a point, from a number of each trial for each goal, and whether it is only a bound."""
    numbers, beyond = [], []
    for values in goals:
        known = [each for each in values if each is not None]
        if not known or len(known) < len(values):
            return None
        numbers.append(statistics.fmean(number for number, _ in known))
        beyond.append(any(is_bound for _, is_bound in known))
    return Score(tuple(numbers), tuple(beyond))


def _of_trial(store: Store, goal: Goal, trial: Trial, events: pl.DataFrame | None) -> tuple[float, bool] | None:
    """The number of one trial, and whether it is only a bound."""
    if goal.kind == "metric":
        value = last_value(store, trial, goal.name, goal.split or "")
        return None if value is None else (value, False)
    assert events is not None
    return event_number(goal, events.filter(events["trial_id"] == trial.trial_id))


def event_number(goal: Goal, events: pl.DataFrame) -> tuple[float, bool] | None:
    """A goal about events, from the events of one trial (`analysis.events.EVENTS`)."""
    from grokstudy.analysis.statistics.decoupling import CLASSES, leads

    if goal.kind == "outcome" and goal.name in CLASSES:
        kinds = leads(events.lazy()).collect()["kind"].drop_nulls().to_list()
        return (float(kinds[0] == goal.name), False) if kinds else None
    rows = events.filter(events["event"] == goal.name).to_dicts()
    if not rows or rows[0]["state"] == "no_data":
        return None
    observed = rows[0]["state"] == "observed"
    if goal.kind == "outcome":
        return float(observed), False
    time = rows[0]["time"] if observed else rows[0]["lower"] or 1
    return math.log10(max(float(time), 1.0)), not observed


def events_of_trials(study: Study, store: Store, trials: list[Trial]) -> pl.DataFrame:
    """The study's events in these trials (`analysis.events.EVENTS`), from the tables of their runs alone."""
    import polars as pl

    from grokstudy.analysis.events import find_events, measures, series_of, sites_of
    from grokstudy.analysis.tables.parquet import Scan

    rows = [(trial.trial_id, trial.run_id, trial.horizon) for trial in trials if trial.run_id]
    about = pl.DataFrame(rows, {"trial_id": pl.String, "run_id": pl.String, "horizon": pl.Int64}, orient="row")

    def frame(table: str) -> pl.LazyFrame:
        return Scan(store, table, TABLES[table], about).frame

    metrics = {event.metric for event in study.events.values()}
    tidy = measures(frame("evals"), frame("probes"), metrics).collect().lazy()
    series = series_of(tidy, study.events, about.lazy()).collect().lazy()
    probed = {name: event for name, event in study.events.items() if event.metric not in METRICS}
    sites = sites_of(tidy, study.events, series) if probed else None
    return find_events(series, study.events, sites).collect()


def last_value(store: Store, trial: Trial, metric: str, split: str) -> float | None:
    """The metric at the trial's last evaluation within its horizon; None when there is none."""
    table = "evals" if metric in METRICS else "probes"
    rows: list[dict[str, Any]] = records.read(RunDir(store, trial.config.run_id), table).to_pylist()
    fitting = [row for row in rows if row["step"] <= trial.horizon and row["split"] == split]
    if table == "probes":
        fitting = [row for row in fitting if (row["probe"], row["layer"], row["position"]) == (metric, None, None)]
    if not fitting:
        return None
    value = max(fitting, key=lambda row: int(row["step"]))[metric if table == "evals" else "value"]
    return None if value is None else float(value)
