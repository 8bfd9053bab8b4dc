"""Tries a policy on recorded curves: the searcher and the scheduler themselves, without Ray and without training.

What stands in for training is a study that was trained in full: a run advances from one of its evaluations to the next,
and takes as long as it has steps. A point that the searcher asks for is the nearest one that was recorded and not yet
used. Workers, the order in which runs wait, and the seed of the search are drawn anew for every seed of the simulation.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from grokstudy.orchestrator.runs.outcomes import event_number, mean_score
from grokstudy.orchestrator.runs.recorded import RecordedCurve, read_curve
from grokstudy.orchestrator.schedulers import SCHEDULERS
from grokstudy.orchestrator.schedulers.base import Ranked, Scheduler
from grokstudy.orchestrator.search import SEARCHERS
from grokstudy.orchestrator.search.base import Goal, Score, Searcher
from grokstudy.orchestrator.search.boundary import Boundary, BoundaryOptions, is_numeric
from grokstudy.orchestrator.search.space import Axis, Point
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import study_names

if TYPE_CHECKING:
    from grokstudy.analysis.tables.study import StudyTables

Kind = tuple[str, Any]
"""Name and options of a searcher or a scheduler."""
MOST_LOOKED_AT = 200
"""Runs of a study that a rule is tried on before it is used."""


@dataclass(frozen=True)
class Recorded:
    """A trial that was trained to its end."""

    trial_id: str
    point: Point
    seed: int
    horizon: int
    curve: RecordedCurve
    reached: Mapping[str, float]
    """Steps until each event that came."""
    seconds: float
    """What its training took."""


@dataclass(frozen=True)
class Policy:
    """Who chooses the points, and who stops trials."""

    search: Kind
    scheduler: Kind

    @property
    def name(self) -> str:
        """Both kinds."""
        return f"{self.search[0]} + {self.scheduler[0]}"


@dataclass(frozen=True)
class Outcome:
    """What a policy came to."""

    runs: int
    run_steps: int
    """Trained, summed over runs."""
    found: int
    """Runs that were seen to reach the event."""
    killed: int
    """Runs that reach it and were stopped before."""
    untried: int
    """Runs that reach it and were never begun."""
    boundary_error: float | None
    """Share of recorded points on the wrong side of the boundary by its outcomes; None without numeric axes."""
    seconds: float
    """What the training would have taken."""


@dataclass
class _Running:
    trial: Recorded
    number: int
    index: int = 0
    step: int = 0
    over: bool = False


@dataclass
class _Play:
    """One simulation."""

    axes: Sequence[Axis]
    seeds: tuple[int, ...]
    recorded: Sequence[Recorded]
    searcher: Searcher
    scheduler: Scheduler
    rng: np.random.Generator
    workers: int
    waiting: list[_Running] = field(default_factory=list)
    paused: list[_Running] = field(default_factory=list)
    begun: list[_Running] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    open_: dict[int, list[_Running]] = field(default_factory=dict)
    scores: dict[int, Score | None] = field(default_factory=dict)

    def run(self) -> list[_Running]:
        """Until nobody trains and nothing is asked for."""
        clock: list[tuple[int, int, _Running]] = []
        now = order = 0
        while True:
            self._ask()
            while self.waiting and len(clock) < self.workers:
                running = self.waiting.pop(0)
                clock, order = self._next(clock, now, order, running)
            if not clock:
                if not self._resume():
                    return self.begun
                continue
            now, _, running = heapq.heappop(clock)
            step, metrics = running.trial.curve[running.index]
            running.step, running.index = step, running.index + 1
            decision = self.scheduler.on_result(running.trial.trial_id, step, metrics)
            if running.index == len(running.trial.curve) or decision == "stop":
                self._end(running, "finished" if running.index == len(running.trial.curve) else "stopped")
            elif decision == "pause":
                self.paused.append(running)
            else:
                clock, order = self._next(clock, now, order, running)
            self._resume()

    def _next(self, clock: Any, now: int, order: int, running: _Running) -> Any:
        step = running.trial.curve[running.index][0]
        heapq.heappush(clock, (now + step - running.step, order, running))
        return clock, order + 1

    def _resume(self) -> bool:
        standing = [(running, self.scheduler.standing(running.trial.trial_id)) for running in self.paused]
        for running, decision in standing:
            if decision != "pause":
                self.paused.remove(running)
            if decision == "continue":
                self.waiting.append(running)
            elif decision == "stop":
                self._end(running, "stopped")
        return any(decision != "pause" for _, decision in standing)

    def _end(self, running: _Running, outcome: str) -> None:
        running.over = True
        self.scheduler.on_end(running.trial.trial_id, outcome)
        group = self.open_[running.number]
        if all(each.over for each in group):
            goals = self.searcher.goals
            self.scores[running.number] = mean_score([_number(goal, each) for each in group] for goal in goals)

    def _ask(self) -> None:
        while batch := self.searcher.next_points(self.scores):
            new: list[_Running] = []
            for number, point in batch:
                trials = self._nearest(point, self.searcher.seeds(number, self.seeds))
                self.open_[number] = [_Running(trial, number) for trial in trials]
                self.used |= {trial.trial_id for trial in trials}
                new += self.open_[number]
                if not trials:
                    self.scores[number] = None
            for running in new:
                self.scheduler.begin(running.trial.trial_id, running.trial.horizon)
            order = self.rng.permutation(len(new)) if self.searcher.finished else range(len(new))
            self.waiting += [new[index] for index in order]
            self.begun += new

    def _nearest(self, point: Point, seeds: tuple[int, ...]) -> list[Recorded]:
        """Trials of the nearest recorded point of which some are left, with these seeds where there are such."""
        left = [trial for trial in self.recorded if trial.trial_id not in self.used]
        if not left:
            return []
        nearest = min(left, key=lambda trial: (distance(self.axes, point, trial.point), trial.trial_id)).point
        candidates = [trial for trial in left if trial.point == nearest]
        wanted = [trial for trial in candidates if trial.seed in seeds]
        return wanted or candidates[:1]


def simulate(
    study: Study, recorded: Sequence[Recorded], policy: Policy, event: str, seed: int, workers: int
) -> Outcome:
    """Play a policy once."""
    (kind, options), (rule, about) = policy.search, policy.scheduler
    if hasattr(options, "seed"):
        options = dataclasses.replace(options, seed=options.seed + seed)
    searcher = SEARCHERS[kind](study.axes, options)
    scheduler = SCHEDULERS[rule](about, study.events)
    runs = _Play(study.axes, study.seeds, recorded, searcher, scheduler, np.random.default_rng(seed), workers).run()
    tried = {running.trial.trial_id: running for running in runs}
    reaching = [trial for trial in recorded if event in trial.reached]
    successes = {name for name, running in tried.items() if _seen(running, event)}
    share = {name: running.step / max(1, running.trial.horizon) for name, running in tried.items()}
    return Outcome(
        runs=len(tried),
        run_steps=sum(running.step for running in tried.values()),
        found=len(successes),
        killed=sum(trial.trial_id in tried and trial.trial_id not in successes for trial in reaching),
        untried=sum(trial.trial_id not in tried for trial in reaching),
        boundary_error=boundary_error(study, recorded, event, {name: name in successes for name in tried}),
        seconds=sum(share[name] * running.trial.seconds for name, running in tried.items()),
    )


def recorded_trials(study: Study, store: Store) -> list[Recorded]:
    """The study's trials that were trained to their end, with their curves and its events as the file has them now."""
    from grokstudy.analysis.tables.study import load

    tables = dataclasses.replace(load(store.uri, study.name), declared=dict(study.events))
    return _recorded(tables, store)


def _recorded(tables: StudyTables, store: Store, most: int | None = None) -> list[Recorded]:
    import polars as pl

    done = tables.trials.filter(pl.col("state") == "done").sort("trial_id").collect().slice(0, most)
    rows = tables.events.filter(pl.col("state") == "observed").select("trial_id", "event", "time").collect()
    reached: dict[str, dict[str, float]] = {}
    for trial_id, event, time in rows.iter_rows():
        reached.setdefault(trial_id, {})[event] = time
    metrics = {event.metric for event in tables.declared.values()}
    return [
        Recorded(
            row["trial_id"],
            {name: row[name] for name in tables.axes},
            row["seed"],
            row["horizon"],
            read_curve(store, row["run_id"], metrics, row["horizon"]),
            reached.get(row["trial_id"], {}),
            float((RunDir(store, row["run_id"]).read("DONE.json") or {}).get("seconds", 0.0)),
        )
        for row in done.iter_rows(named=True)
    ]


def late_warning(study: Study, store: Store, event: str = "generalised") -> str | None:
    """What a rule that ranks trials by a metric would have killed among the curves in the root, in a sentence.

    None for a rule that does not rank, or where no late generaliser is known.
    """
    if not isinstance(study.scheduler, Ranked):
        return None
    from grokstudy.analysis.tables.study import load

    killed = late = 0
    for name in study_names(store):
        tables = load(store.uri, name)
        if event in tables.declared:
            counts = killed_late(_recorded(tables, store, MOST_LOOKED_AT), event, study.scheduler, study.scheduler_kind)
            killed, late = killed + counts[0], late + counts[1]
    if not late:
        return None
    return (
        f"scheduler {study.scheduler_kind} would have killed {killed} of the {late} late generalisers that this root "
        f"knows ({killed / late:.0%}); futility stops only what is not going to generalise"
    )


def killed_late(recorded: Sequence[Recorded], event: str, options: Any, kind: str) -> tuple[int, int]:
    """Of the recorded runs that reach an event late, how many a rule kills before, and how many there are.

    Late is the later half, in decades, of what lies between step 100 and the run's length.
    """
    late = [run for run in recorded if run.reached.get(event, 0.0) > math.sqrt(100 * run.horizon)]
    scheduler = SCHEDULERS[kind](options, {})
    searcher = SEARCHERS["grid"]((), None)
    searcher.finished = True
    rng = np.random.default_rng(0)
    play = _Play((), (), recorded, searcher, scheduler, rng, max(1, len(recorded)))
    play.begun = [_Running(trial, number) for number, trial in enumerate(recorded) if trial.curve]
    play.open_ = {running.number: [running] for running in play.begun}
    for running in play.begun:
        scheduler.begin(running.trial.trial_id, running.trial.horizon)
    play.waiting = [play.begun[index] for index in rng.permutation(len(play.begun))]
    seen = {running.trial.trial_id for running in play.run() if _seen(running, event)}
    return sum(run.trial_id not in seen for run in late), len(late)


def boundary_error(
    study: Study, recorded: Sequence[Recorded], event: str, outcomes: Mapping[str, bool]
) -> float | None:
    """Share of recorded points whose majority outcome is not that of the boundary through these outcomes."""
    from grokstudy.analysis.statistics.boundary import Surface

    if not any(is_numeric(axis) for axis in study.axes):
        return None
    view = Boundary(study.axes, BoundaryOptions(outcome=event))
    names = [axis.name for axis in view.numeric]
    truth: dict[tuple[Any, ...], list[bool]] = {}
    for trial in recorded:
        truth.setdefault(tuple(trial.point.values()), []).append(event in trial.reached)
    groups: dict[tuple[Any, ...], list[tuple[list[float], bool, float]]] = {}
    for trial in recorded:
        key = tuple(value for name, value in trial.point.items() if name not in names)
        place = [position(axis, trial.point[axis.name]) for axis in view.numeric]
        known = outcomes.get(trial.trial_id)
        groups.setdefault(key, []).append(
            (place, statistics.fmean(truth[tuple(trial.point.values())]) > 0.5, math.nan if known is None else known)
        )
    wrong = total = 0
    for rows in groups.values():
        places, sides, known_ = (np.array(column) for column in zip(*rows, strict=True))
        has = ~np.isnan(known_)
        mean, _ = Surface.fit(places[has], known_[has]).latent(places)
        wrong, total = wrong + int(((mean > 0) != sides).sum()), total + len(rows)
    return wrong / total


def distance(axes: Sequence[Axis], a: Point, b: Point) -> float:
    """Of two points: squared shares of the numeric axes, and one for every word that differs."""
    total = 0.0
    for axis in axes:
        if is_numeric(axis):
            total += (position(axis, a[axis.name]) - position(axis, b[axis.name])) ** 2
        else:
            total += a[axis.name] != b[axis.name]
    return total


def position(axis: Axis, value: Any) -> float:
    """Where a value lies on its numeric axis, 0 to 1; in decades where the axis spreads over more than half of one."""
    low, *_, high = sorted(float(end or 0) for end in axis.corners())
    if low > 0 and high / low >= 3:
        return math.log(float(value) / low) / math.log(high / low)
    return (float(value) - low) / (high - low)


def _seen(running: _Running, event: str) -> bool:
    """Whether the event came before the run ended; a run that was trained to its end has all of its own."""
    at = running.trial.reached.get(event)
    return at is not None and (at <= running.step or running.index == len(running.trial.curve))


def _number(goal: Goal, running: _Running) -> tuple[float, bool] | None:
    if goal.kind == "metric":
        values = running.trial.curve[running.index - 1][1]
        value = values.get((goal.name, goal.split or "", None, None))
        return None if value is None else (float(value), False)
    return event_number(goal, _events(running))


def _events(running: _Running) -> Any:
    """The events of one run as it stands (`analysis.events.EVENTS`)."""
    import polars as pl

    from grokstudy.analysis.events import EVENTS

    names = [*running.trial.reached, "generalised", "circuit"]
    rows = []
    for name in dict.fromkeys(names):
        seen = _seen(running, name)
        time = running.trial.reached[name] if seen else None
        rows.append(
            (
                running.trial.trial_id,
                name,
                "observed" if seen else "censored",
                time,
                running.step,
                running.step,
                running.step,
            )
        )
    return pl.DataFrame(rows, EVENTS, orient="row")
