"""`run`: ask the searcher for points, train what is missing, hand the values back, until it has no more.

Nothing is remembered between two calls. The searcher is replayed from its beginning; points whose runs are settled in
the root get their value at once, so going on after an interruption is the same as starting.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from grokstudy.orchestrator.runs.extension import extended, extensions, with_length
from grokstudy.orchestrator.runs.state import Ledger, reached_before
from grokstudy.orchestrator.runs.study_dir import write_study
from grokstudy.orchestrator.runs.trials import Run, Trial, runs_of, trials_of
from grokstudy.orchestrator.runs.warm_start import Events, Sources
from grokstudy.orchestrator.search import SEARCHERS
from grokstudy.orchestrator.search.space import Point
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.schema import METRICS
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store

Execute = Callable[[list[Run]], None]


@dataclass(frozen=True)
class Cut:
    """A trial run of a study: other lengths, or only its first trials."""

    steps: int | None = None
    first: int | None = None

    def of(self, trials: list[Trial]) -> list[Trial]:
        """The trials that are left, with the length that is left."""
        kept = trials[: self.first]
        return kept if self.steps is None else [with_length(trial, self.steps) for trial in kept]


WHOLE = Cut()


@dataclass(frozen=True)
class Standing:
    """A study as far as it has been asked."""

    trials: list[Trial]
    runs: list[Run]
    ledger: Ledger
    complete: bool
    """Whether the searcher has no more points to ask."""

    @property
    def without_start(self) -> list[Trial]:
        """Trials that cannot be trained (yet), because the run that they start from is not there or not so far."""
        return [trial for trial in self.trials if trial.no_start is not None]

    @property
    def waits(self) -> bool:
        """Whether a trial waits for its source."""
        return any(trial.no_start.state == "waiting" for trial in self.trials if trial.no_start is not None)

    def idle(self, retry_failed: bool = False) -> bool:
        """Whether there is nothing to train now."""
        return (self.complete or self.waits) and not self.ledger.unsettled(retry_failed)

    def finished(self, retry_failed: bool = False) -> bool:
        """Whether nothing is left to train."""
        return self.idle(retry_failed) and not self.waits


def standing(
    study: Study, store: Store, cut: Cut = WHOLE, trust: bool = False, events: Events | None = None
) -> Standing:
    """Replay the searcher as far as the root has values. Trains nothing, writes nothing.

    With `trust`, runs that the study's table shows as done are not looked at one by one. `events` is needed where
    trials start from events of other studies.
    """
    known = reached_before(store, study.name) if trust else None
    return _follow(study, store, None, cut, known=known, events=events)


def drive(
    study: Study,
    store: Store,
    execute: Execute,
    cut: Cut = WHOLE,
    retry_failed: bool = False,
    events: Events | None = None,
) -> Standing:
    """Train what is missing, batch by batch; returns early when a batch is left unfinished."""
    reached = _follow(study, store, execute, cut, retry_failed, events=events)
    write_study(store, study, reached.trials, reached.ledger)
    return reached


def _follow(
    study: Study,
    store: Store,
    execute: Execute | None,
    cut: Cut,
    retry_failed: bool = False,
    known: Mapping[str, int] | None = None,
    events: Events | None = None,
) -> Standing:
    searcher = SEARCHERS[study.search_kind](study.axes, study.search)
    values: dict[int, float | None] = {}
    points = 0
    trials: list[Trial] = []
    asked: list[Trial] = []
    ledger = Ledger(store, [], False)
    longer = extensions(store, study.name)
    stops = study.scheduler.stops
    sources = Sources(store, study.name, events)
    while batch := searcher.next_points(values):
        points += len(batch)
        possible, refused = _possible(study, batch)
        begun = [sources.begin(trial) for trial in cut.of(possible)]
        asked = begun if cut.steps is not None else extended(begun, longer)
        trials += asked
        ledger = Ledger(store, runs_of(asked), stops, known)
        todo = ledger.unsettled(retry_failed)
        if execute is not None and todo:
            write_study(store, study, trials, Ledger(store, runs_of(trials), stops))
            execute(todo)
            ledger = Ledger(store, runs_of(asked), stops)
        open_ = any(state.state in ("missing", "interrupted") for state in ledger.states.values())
        if open_ or any(trial.no_start and trial.no_start.state == "waiting" for trial in asked):
            break
        values.update(_values(study, store, ledger, asked, batch) | dict.fromkeys(refused))
    runs = runs_of(trials)
    complete = points == searcher.count(study.axes, study.search)
    if len(trials) != len(asked):  # else there was one batch, and its ledger is the study's
        ledger = Ledger(store, runs, stops, known)
    return Standing(trials, runs, ledger, complete)


def _possible(study: Study, batch: list[tuple[int, Point]]) -> tuple[list[Trial], list[int]]:
    """The trials of a batch, and the numbers of points that a search proposed but that cannot be trained."""
    trials: list[Trial] = []
    refused: list[int] = []
    for number, point in batch:
        try:
            here = trials_of(study, [(number, point)])
        except ValueError:
            here = []
        if not here or here[0].config.problems():
            refused.append(number)
        else:
            trials += here
    return trials, refused


def _values(
    study: Study, store: Store, ledger: Ledger, asked: list[Trial], batch: list[tuple[int, Point]]
) -> dict[int, float | None]:
    objective = getattr(study.search, "objective", None)
    if objective is None:
        return {number: None for number, _ in batch}
    by_point: dict[int, list[float | None]] = {}
    for trial in asked:
        lost = trial.run_id is None or ledger.states[trial.run_id].state in ("failed", "diverged")
        value = None if lost else last_value(store, trial, objective.metric, objective.split)
        by_point.setdefault(trial.number, []).append(value)
    return {
        number: None if None in found else statistics.fmean(v for v in found if v is not None)
        for number, found in by_point.items()
    }


def last_value(store: Store, trial: Trial, metric: str, split: str) -> float | None:
    """The metric at the trial's last evaluation within its horizon; None when there is none."""
    table = "evals" if metric in METRICS else "probes"
    rows = records.read(RunDir(store, trial.config.run_id), table).to_pylist()
    fitting = [row for row in rows if row["step"] <= trial.horizon and row["split"] == split]
    if table == "probes":
        fitting = [row for row in fitting if (row["probe"], row["layer"], row["position"]) == (metric, None, None)]
    if not fitting:
        return None
    value = max(fitting, key=lambda row: int(row["step"]))[metric if table == "evals" else "value"]
    return None if value is None else float(value)
