"""Every searcher of Optuna 5, by its ask and tell: TPE, Gaussian process, NSGA-II, CMA-ES.

Optuna keeps nothing on disk here. Point i is asked for once the points up to i - `batch` have scores, which are told
before it, in order of their numbers: what is proposed depends on scores alone, not on which run finished first, and
`batch` points are on their way at any time (docs/decisions/0013). A new driver repeats the same sequence.

Axes named in `grid` are swept in full: every combination of them has a search of its own over the other axes.
An event that has not come by c steps is told as what to expect of a time beyond c, E[t | t > c] of a normal fitted to
the log times told so far (Schmee and Hahn 1979): always later than c, and the later, the larger c is.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from grokstudy.orchestrator.search.base import Goal, Objective, Proposals, Score, Scores, Searcher, cells, corners
from grokstudy.orchestrator.search.space import Axis, Point, Range, Value
from grokstudy.trainables.options import option
from grokstudy.trainables.randomness import Stream

TRIES, DRAWS = 20, 200
"""How often a point is proposed anew that was proposed before, by the sampler and then at random."""


@dataclass(frozen=True, kw_only=True)
class _Options:
    trials: int = option(40, "points to try, of each combination of `grid`; each is run for every seed", ge=1)
    batch: int = option(4, "points on their way at a time: each is chosen by the scores of those that far before", ge=1)
    seed: int = option(0, "seed of the search, not of the runs", ge=0, lt=2**31)
    grid: tuple[str, ...] = option((), "axes that are swept in full, with a search for each combination of them")


@dataclass(frozen=True, kw_only=True)
class _OneGoal(_Options):
    objective: Objective = field(default_factory=Objective, metadata={"doc": "what the search drives up or down"})
    mode: Literal["max", "min"] = option("max", "whether more of the metric is better; events come early at best")

    @property
    def goals(self) -> tuple[Goal, ...]:
        """The objective."""
        wanted = self.objective
        if wanted.event is not None:
            return (Goal("event", wanted.event, maximise=False),)
        return (Goal("metric", wanted.metric, wanted.split, self.mode == "max"),)


@dataclass(frozen=True, kw_only=True)
class TpeOptions(_OneGoal):
    """Tree-structured Parzen estimator (Bergstra et al. 2011): for any mixture of axes, from about 20 points on."""


@dataclass(frozen=True, kw_only=True)
class GpOptions(_OneGoal):
    """Gaussian process with expected improvement: few, costly points on few numeric axes."""


@dataclass(frozen=True, kw_only=True)
class CmaesOptions(_OneGoal):
    """Covariance matrix adaptation (Hansen 2016): numeric axes that interact; axes of words are drawn at random."""


@dataclass(frozen=True, kw_only=True)
class Nsga2Options(_Options):
    """NSGA-II (Deb et al. 2002): several objectives at once, such as earliest circuit and earliest answer."""

    objectives: tuple[str, ...] = option(
        ("circuit", "generalised"), "events, the earlier the better, or metric/split, the more the better"
    )
    population: int = option(8, "points of a generation", ge=2)

    @property
    def goals(self) -> tuple[Goal, ...]:
        """The objectives, in order."""
        split = [name.partition("/") for name in self.objectives]
        return tuple(Goal("metric", a, b) if mark else Goal("event", a, maximise=False) for a, mark, b in split)


class OptunaSearcher(Searcher):
    """A sampler of Optuna per combination of the `grid` axes, which take turns."""

    def __init__(self, axes: tuple[Axis, ...], options: Any) -> None:
        """Start before the first point."""
        super().__init__(axes, options)
        adaptive = tuple(axis for axis in axes if axis.name not in options.grid)
        fixed = cells(axes, options.grid)
        self._cells = [_Cell(adaptive, point, options, number, self.sampler) for number, point in enumerate(fixed)]
        self._turn, self._asked = 0, 0

    def sampler(self, seed: int) -> Any:
        """A fresh sampler of Optuna."""
        raise NotImplementedError

    @classmethod
    def count(cls, axes: tuple[Axis, ...], options: Any) -> int:
        """As many as asked for, of each combination."""
        return int(options.trials) * len(cells(axes, options.grid))

    def preview(self) -> Proposals:
        """The corners of the space: where the search goes is not known yet."""
        return corners(self.axes)

    def next_points(self, scores: Scores) -> Proposals:
        """Those whose turn it is, until one has to wait for a score."""
        batch: Proposals = []
        while open_ := [cell for cell in self._cells if not cell.over]:
            cell = open_[self._turn % len(open_)]
            if not cell.may_ask(scores):
                return batch
            if (point := cell.ask(self._asked, scores)) is None:
                continue
            batch.append((self._asked, {axis.name: point[axis.name] for axis in self.axes}))
            self._asked += 1
            self._turn += 1
        self.finished = True
        return batch


class _Cell:
    """The search at one combination of the `grid` axes."""

    def __init__(
        self, axes: tuple[Axis, ...], fixed: Point, options: Any, number: int, sampler: Callable[[int], Any]
    ) -> None:
        self.axes, self.fixed, self.options, self._number = axes, fixed, options, number
        self._make_sampler = sampler
        self._study: Any = None
        self._trials: list[tuple[int, Any]] = []
        """Number of the point and Optuna's trial, of each point in turn."""
        self._told = 0
        self._known: list[list[float]] = [[] for _ in options.goals]
        self._seen: set[tuple[Value, ...]] = set()
        self.over = False

    def may_ask(self, scores: Scores) -> bool:
        """Whether the scores are there that the next point depends on."""
        due = len(self._trials) - self.options.batch + 1
        return all(number in scores for number, _ in self._trials[self._told : max(due, 0)])

    def ask(self, number: int, scores: Scores) -> Point | None:
        """The next point, one that was not asked for before; None when there is none left."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parts that Optuna calls experimental
            while self._told < len(self._trials) - self.options.batch + 1:
                index, trial = self._trials[self._told]
                self._tell(trial, scores[index])
                self._told += 1
            proposal = self._fresh()
        if proposal is None:
            self.over = True
            return None
        trial, point = proposal
        self._trials.append((number, trial))
        self._seen.add(tuple(point.values()))
        self.over = len(self._trials) == self.options.trials
        return {**self.fixed, **point}

    def _fresh(self) -> tuple[Any, Point] | None:
        from optuna.trial import TrialState

        study = self._optuna()
        for _ in range(TRIES):
            trial = study.ask()
            point = {axis.name: _suggested(trial, axis) for axis in self.axes}
            if tuple(point.values()) not in self._seen:
                return trial, point
            study.tell(trial, state=TrialState.FAIL)
        for draw in range(DRAWS):
            stream = Stream(self.options.seed, f"search/{self._number}/{len(self._trials)}/{draw}")
            shares = stream.uniform(len(self.axes))
            point = {axis.name: axis.at(float(share)) for axis, share in zip(self.axes, shares, strict=True)}
            if tuple(point.values()) not in self._seen:
                study.enqueue_trial(point)
                trial = study.ask()
                return trial, {axis.name: _suggested(trial, axis) for axis in self.axes}
        return None

    def _optuna(self) -> Any:
        if self._study is None:
            import optuna

            optuna.logging.set_verbosity(optuna.logging.ERROR)
            directions = ["maximize" if goal.maximise else "minimize" for goal in self.options.goals]
            sampler = self._make_sampler(self.options.seed + self._number)
            self._study = optuna.create_study(directions=directions, sampler=sampler)
        return self._study

    def _tell(self, trial: Any, score: Score | None) -> None:
        from optuna.trial import TrialState

        if score is None or not all(map(math.isfinite, score.numbers)):
            self._optuna().tell(trial, state=TrialState.FAIL)
            return
        numbers = [
            expected_beyond(number, known) if beyond else number
            for number, beyond, known in zip(score.numbers, score.beyond, self._known, strict=True)
        ]
        for number, known in zip(score.numbers, self._known, strict=True):
            known.append(number)
        self._optuna().tell(trial, numbers)


def expected_beyond(bound: float, known: list[float]) -> float:
    """E[t | t > bound] of a normal with mean and spread of the numbers known so far; of one decade, of too few."""
    from scipy.stats import norm

    mean = statistics.fmean([*known, bound])
    spread = max(statistics.stdev(known), 0.05) if len(known) > 2 else 1.0
    share = (bound - mean) / spread
    return mean + spread * math.exp(float(norm.logpdf(share) - norm.logsf(share)))


class Tpe(OptunaSearcher):
    """The searcher `tpe`."""

    Options = TpeOptions

    def sampler(self, seed: int) -> Any:
        """A fresh sampler of Optuna."""
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed)


class Gp(OptunaSearcher):
    """The searcher `gp`."""

    Options = GpOptions

    def sampler(self, seed: int) -> Any:
        """A fresh sampler of Optuna."""
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed, deterministic_objective=False)


class Cmaes(OptunaSearcher):
    """The searcher `cmaes`."""

    Options = CmaesOptions

    def sampler(self, seed: int) -> Any:
        """A fresh sampler of Optuna."""
        from optuna.samplers import CmaEsSampler

        return CmaEsSampler(seed=seed, warn_independent_sampling=False)


class Nsga2(OptunaSearcher):
    """The searcher `nsga2`."""

    Options = Nsga2Options

    def sampler(self, seed: int) -> Any:
        """A fresh sampler of Optuna."""
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(seed=seed, population_size=self.options.population)


def _suggested(trial: Any, axis: Axis) -> Value:
    if not isinstance(axis, Range):
        choice: Value = trial.suggest_categorical(axis.name, axis.grid())
        return choice
    if axis.step is not None:
        step = int(axis.step) if axis.whole else axis.step
        suggest = trial.suggest_int if axis.whole else trial.suggest_float
        return axis.rounded(float(suggest(axis.name, axis.low, axis.high, step=step)))
    if axis.whole:
        return int(trial.suggest_int(axis.name, int(axis.low), int(axis.high), log=axis.scale == "log"))
    return axis.rounded(trial.suggest_float(axis.name, axis.low, axis.high, log=axis.scale == "log"))
