"""`run`: ask the searcher for points, train what is missing, hand the values back, until it has no more.

Nothing is remembered between two commands. The searcher is replayed from its beginning, once; points whose runs are
settled in the root get their value at once, so resuming after an interruption is the same as starting.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

from grokstudy.orchestrator.runs.outcomes import scores_of
from grokstudy.orchestrator.runs.siblings import Share, Trainings
from grokstudy.orchestrator.runs.state import Ledger
from grokstudy.orchestrator.runs.study_dir import extended, extensions, reached_before, write_study
from grokstudy.orchestrator.runs.trials import Run, Trial, runs_of, trials_of
from grokstudy.orchestrator.runs.warm_start import Sources
from grokstudy.orchestrator.search import SEARCHERS
from grokstudy.orchestrator.search.base import Goal, Proposals, Score, Searcher
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.storage.store import Store

Execute = Callable[[list[Run]], bool | None]
"""Trains these runs; true when the scheduler has paused some that are to go on now."""


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
    """One study on its way: its searcher, and the points that it has asked for and that have no score yet."""

    def __init__(self, study: Study, store: Store, cut: Cut = WHOLE, trust: bool = False) -> None:
        """Start before the first point."""
        self.study, self.store, self.cut = study, store, cut
        self._searcher = SEARCHERS[study.search_kind](study.axes, study.search)
        self._sources = Sources(store, study.name)
        self._trainings = Trainings(store, study.resources.engine)
        self._extensions = extensions(store, study.name)
        self._reached = reached_before(store, study.name) if trust else {}
        """Runs that are known to be done, with their steps: the root is not asked about them again."""
        self._scores: dict[int, Score | None] = {}
        self._trials: list[Trial] = []
        self._open: dict[int, list[Trial]] = {}
        self._launched: set[str] = set()
        self._how = False, False
        """Whether failed runs are tried again, and whether runs are only measured."""

    def state(self) -> StudyState:
        """Follow the searcher as far as the root has scores."""
        return self._follow(None, False)

    def train(self, execute: Execute, retry_failed: bool = False, only_measure: bool = False) -> StudyState:
        """Train what is missing, as the searcher asks for it; returns early when something is left unfinished.

        With `only_measure`, runs are left out whose training no other run of the root has done to its end.
        """
        state = self._follow(execute, retry_failed, only_measure)
        write_study(self.store, self.study, state.trials, state.ledger)
        return state

    def more(self, at_work: Set[str]) -> list[Run] | None:
        """While a launch is under way: the runs of points that can be asked for by now; None when none will be.

        Nothing is said of points with a run that is `at_work`: one that is tried again has FAILED.json meanwhile.
        """
        if self._searcher.finished:
            return None
        idle = {n: trials for n, trials in self._open.items() if at_work.isdisjoint(trial.run_id for trial in trials)}
        self._settle(self._ledger([trial for trials in idle.values() for trial in trials]), idle)
        new = [trial for trials in self._ask().values() for trial in trials]
        runs = self._todo(self._ledger(new), *self._how) if new else []
        fresh = [run for run in runs if run.run_id not in self._launched]
        if new:
            write_study(self.store, self.study, self._trials, self._ledger(self._trials))
        self._launched |= {run.run_id for run in fresh}
        return fresh

    def shared(self, ledger: Ledger, retry_failed: bool = False) -> tuple[list[Run], dict[str, Share]]:
        """The runs to train now, with their siblings, and where the steps of each come from."""
        todo = self._trainings.joined(ledger.unsettled(retry_failed))
        return todo, self._trainings.shares(todo, ledger.states)

    def untrained(self, ledger: Ledger) -> dict[str, int]:
        """The runs that cannot be measured only, with the steps that no other run of the root has trained either."""
        _, shares = self.shared(ledger)
        return {run_id: share.trained for run_id, share in shares.items() if not share.measured}

    @property
    def _open_trials(self) -> list[Trial]:
        return [trial for trials in self._open.values() for trial in trials]

    def _todo(self, ledger: Ledger, retry_failed: bool, only_measure: bool) -> list[Run]:
        """The runs to train, or only those that need not be."""
        runs, shares = self.shared(ledger, retry_failed)
        return [run.only_measured() for run in runs if shares[run.run_id].measured] if only_measure else runs

    def _follow(self, execute: Execute | None, retry_failed: bool, only_measure: bool = False) -> StudyState:
        self._how = retry_failed, only_measure
        ledger = None
        while True:
            self._ask()
            if not self._open:
                break
            ledger = self._ledger(self._open_trials)
            todo = self._todo(ledger, retry_failed, only_measure) if execute is not None else []
            again = False
            if execute is not None and todo:
                write_study(self.store, self.study, self._trials, self._ledger(self._trials))
                self._launched = {run.run_id for run in todo}
                again = bool(execute(todo))
                ledger = self._ledger(self._open_trials)
                if not again and any(ledger.states[run_id].open for run_id in self._launched & ledger.states.keys()):
                    execute = None  # it was cut short: train no more, follow what there is
            if not self._settle(ledger, self._open) and not again:
                break
        if ledger is None or len(ledger.runs) != len(runs_of(self._trials)):
            ledger = self._ledger(self._trials)
        complete = self._searcher.finished or (self.cut.first is not None and len(self._trials) >= self.cut.first)
        return StudyState(self._trials, list(ledger.runs.values()), ledger, complete)

    def _settle(self, ledger: Ledger, points: dict[int, list[Trial]]) -> bool:
        """Score those of these points whose runs have ended; whether there was one."""
        ended = {number: trials for number, trials in points.items() if not _is_open(trials, ledger)}
        if ended and not self._searcher.goals:
            self._scores |= dict.fromkeys(ended)
        elif ended:
            self._scores |= _scores(self.study, self.store, ledger, self._searcher.goals, ended)
        self._open = {number: trials for number, trials in self._open.items() if number not in ended}
        return bool(ended)

    def _ask(self) -> dict[int, list[Trial]]:
        """Take the points that can be asked for now, with their trials."""
        trials_by_number: dict[int, list[Trial]] = {}
        while batch := self._searcher.next_points(self._scores):
            possible, refused = _possible(self.study, batch, self._searcher)
            self._scores |= dict.fromkeys(refused)
            left = None if self.cut.first is None else max(0, self.cut.first - len(self._trials))
            trials = [self._sources.begin(trial) for trial in Cut(self.cut.steps, left).of(possible)]
            new = trials if self.cut.steps is not None else extended(trials, self._extensions)
            self._trials = [*self._trials, *new]
            for trial in new:
                trials_by_number.setdefault(trial.number, []).append(trial)
        self._open |= trials_by_number
        return trials_by_number

    def _ledger(self, trials: list[Trial]) -> Ledger:
        ledger = Ledger(self.store, runs_of(trials), self.study.scheduler.stops, self._reached)
        self._reached |= {run_id: state.step for run_id, state in ledger.states.items() if state.state == "done"}
        return ledger


def _waits(trials: list[Trial]) -> bool:
    return any(trial.no_start.state == "waiting" for trial in trials if trial.no_start is not None)


def _is_open(trials: list[Trial], ledger: Ledger) -> bool:
    """Whether something may still come of these trials."""
    return _waits(trials) or any(ledger.states[trial.run_id].open for trial in trials if trial.run_id is not None)


def _possible(study: Study, batch: Proposals, searcher: Searcher) -> tuple[list[Trial], list[int]]:
    """The trials of these points, and the numbers of those that a search proposed but that cannot be trained."""
    trials: list[Trial] = []
    refused: list[int] = []
    for number, point in batch:
        try:
            chosen = searcher.seeds(number, study.seeds)
            seeds = [trial for trial in trials_of(study, [(number, point)]) if trial.seed in chosen]
        except ValueError:
            seeds = []
        if not seeds or seeds[0].config.problems():
            refused.append(number)
        else:
            trials += seeds
    return trials, refused


def _scores(
    study: Study, store: Store, ledger: Ledger, goals: tuple[Goal, ...], points: dict[int, list[Trial]]
) -> dict[int, Score | None]:
    """The scores of points that have ended. A run that failed has none; nor has a metric of one that diverged."""
    lost = ("failed", "diverged") if any(goal.kind == "metric" for goal in goals) else ("failed",)
    whole = {
        number: trials
        for number, trials in points.items()
        if all(trial.run_id is not None and ledger.states[trial.run_id].state not in lost for trial in trials)
    }
    return {**dict.fromkeys(points), **scores_of(study, store, goals, whole)}
