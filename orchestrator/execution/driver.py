"""`run`: ask the searcher for points, train what is missing, hand the values back, until it has no more.

Nothing is remembered between two commands. The searcher is replayed from its beginning, once; points whose runs are
settled in the root get their value at once, so resuming after an interruption is the same as starting.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from grokstudy.orchestrator.runs.siblings import Share, Trainings
from grokstudy.orchestrator.runs.state import Ledger
from grokstudy.orchestrator.runs.study_dir import extended, extensions, reached_before, write_study
from grokstudy.orchestrator.runs.trials import Run, Trial, runs_of, trials_of
from grokstudy.orchestrator.runs.warm_start import Sources
from grokstudy.orchestrator.search import SEARCHERS
from grokstudy.orchestrator.search.base import Batch
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
        return kept if self.steps is None else [trial.with_steps(self.steps) for trial in kept]


WHOLE = Cut()


@dataclass(frozen=True)
class StudyState:
    """A study as far as its searcher has asked."""

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
        return _waits(self.trials)

    def idle(self, retry_failed: bool = False) -> bool:
        """Whether there is nothing to train now."""
        return (self.complete or self.waits) and not self.ledger.unsettled(retry_failed)

    def finished(self, retry_failed: bool = False) -> bool:
        """Whether nothing is left to train."""
        return self.idle(retry_failed) and not self.waits


def study_state(study: Study, store: Store, cut: Cut = WHOLE, trust: bool = False) -> StudyState:
    """Replay the searcher as far as the root has values. Trains nothing, writes nothing.

    With `trust`, runs that the study's table shows as done are not looked at one by one.
    """
    return Driver(study, store, cut, trust).state()


class Driver:
    """One study on its way: its searcher, and the batch of points that it waits for."""

    def __init__(self, study: Study, store: Store, cut: Cut = WHOLE, trust: bool = False) -> None:
        """Start before the first batch."""
        self.study, self.store, self.cut = study, store, cut
        self._searcher = SEARCHERS[study.search_kind](study.axes, study.search)
        self._sources = Sources(store, study.name)
        self._trainings = Trainings(store, study.resources.engine)
        self._extensions = extensions(store, study.name)
        self._reached = reached_before(store, study.name) if trust else None
        self._values: dict[int, float | None] = {}
        self._trials: list[Trial] = []
        self._points = 0
        self._batch: Batch = []
        self._batch_trials: list[Trial] = []
        self._refused: list[int] = []

    def state(self) -> StudyState:
        """Follow the searcher as far as the root has values."""
        return self._follow(None, False)

    def train(self, execute: Execute, retry_failed: bool = False, only_measure: bool = False) -> StudyState:
        """Train what is missing, batch by batch; returns early when a batch is left unfinished.

        With `only_measure`, runs are left out whose training no other run of the root has done to its end.
        """
        state = self._follow(execute, retry_failed, only_measure)
        write_study(self.store, self.study, state.trials, state.ledger)
        return state

    def shared(self, ledger: Ledger, retry_failed: bool = False) -> tuple[list[Run], dict[str, Share]]:
        """The runs to train now, with their siblings, and where the steps of each come from."""
        todo = self._trainings.joined(ledger.unsettled(retry_failed))
        return todo, self._trainings.shares(todo, ledger.states)

    def untrained(self, ledger: Ledger) -> dict[str, int]:
        """The runs that cannot be measured only, with the steps that no other run of the root has trained either."""
        _, shares = self.shared(ledger)
        return {run_id: share.trained for run_id, share in shares.items() if not share.measured}

    def _todo(self, ledger: Ledger, retry_failed: bool, only_measure: bool) -> list[Run]:
        """The runs to train, or only those that need not be."""
        runs, shares = self.shared(ledger, retry_failed)
        return [run.only_measured() for run in runs if shares[run.run_id].measured] if only_measure else runs

    def _follow(self, execute: Execute | None, retry_failed: bool, only_measure: bool = False) -> StudyState:
        ledger = None
        while self._batch or self._ask():
            ledger = self._ledger(self._batch_trials)
            if execute is not None and (todo := self._todo(ledger, retry_failed, only_measure)):
                write_study(self.store, self.study, self._trials, self._ledger(self._trials))
                execute(todo)
                ledger = self._ledger(self._batch_trials)
            open_ = any(state.state in ("missing", "interrupted") for state in ledger.states.values())
            if open_ or _waits(self._batch_trials):
                break
            self._values |= _values(self.study, self.store, ledger, self._batch_trials, self._batch)
            self._values |= dict.fromkeys(self._refused)
            self._batch = []
        complete = self._points == self._searcher.count(self.study.axes, self.study.search)
        if ledger is None or len(self._trials) != len(self._batch_trials):  # else one batch was all, with its ledger
            ledger = self._ledger(self._trials)
        return StudyState(self._trials, list(ledger.runs.values()), ledger, complete)

    def _ask(self) -> bool:
        """Take the next batch of points; whether there is one."""
        batch = self._searcher.next_points(self._values)
        if batch:
            self._batch, self._points = batch, self._points + len(batch)
            possible, self._refused = _possible(self.study, batch)
            trials = [self._sources.begin(trial) for trial in self.cut.of(possible)]
            self._batch_trials = trials if self.cut.steps is not None else extended(trials, self._extensions)
            self._trials = [*self._trials, *self._batch_trials]
        return bool(batch)

    def _ledger(self, trials: list[Trial]) -> Ledger:
        return Ledger(self.store, runs_of(trials), self.study.scheduler.stops, self._reached)


def _waits(trials: list[Trial]) -> bool:
    return any(trial.no_start.state == "waiting" for trial in trials if trial.no_start is not None)


def _possible(study: Study, batch: list[tuple[int, Point]]) -> tuple[list[Trial], list[int]]:
    """The trials of a batch, and the numbers of points that a search proposed but that cannot be trained."""
    trials: list[Trial] = []
    refused: list[int] = []
    for number, point in batch:
        try:
            seeds = trials_of(study, [(number, point)])
        except ValueError:
            seeds = []
        if not seeds or seeds[0].config.problems():
            refused.append(number)
        else:
            trials += seeds
    return trials, refused


def _values(
    study: Study, store: Store, ledger: Ledger, trials: list[Trial], batch: list[tuple[int, Point]]
) -> dict[int, float | None]:
    objective = getattr(study.search, "objective", None)
    if objective is None:
        return {number: None for number, _ in batch}
    by_point: dict[int, list[float | None]] = {}
    for trial in trials:
        lost = trial.run_id is None or ledger.states[trial.run_id].state in ("failed", "diverged")
        value = None if lost else last_value(store, trial, objective.metric, objective.split)
        by_point.setdefault(trial.number, []).append(value)
    return {
        number: None if None in values else statistics.fmean(v for v in values if v is not None)
        for number, values in by_point.items()
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
