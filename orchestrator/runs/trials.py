"""From a study's points to trials, and from trials to the runs that have to be carried out.

A trial is what a person asked for: a point of the space with a seed. A run is one training. Trials whose
configurations share a `run_id` share the run: a shorter training is the beginning of a longer one when the
learning rate does not depend on the length.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable
from dataclasses import dataclass

from grokstudy.orchestrator.search import SEARCHERS
from grokstudy.orchestrator.search.space import Point
from grokstudy.orchestrator.study.sections import StartFrom
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.siblings import NO_SIBLINGS, Siblings


@dataclass(frozen=True)
class NoStart:
    """Why a trial with `start_from` cannot be trained."""

    state: str
    """waiting: its source has to be trained first. no_start: its event never came there, which is a result."""
    note: str
    """Which source, and what to do."""


@dataclass(frozen=True)
class Trial:
    """One point of a study's space with one seed."""

    trial_id: str
    number: int
    seed: int
    point: Point
    config: RunConfig
    """What is trained. With `start_from`, its `start` is filled in by `orchestrator/runs/warm_start.py`."""
    start_from: StartFrom | None = None
    origin: RunConfig | None = None
    """With `state: all`, what its source agrees with: the base of the study, of which the point is a change."""
    no_start: NoStart | None = None
    """Why there is no run for it (yet)."""

    @property
    def horizon(self) -> int:
        """Training length asked for, in steps."""
        return self.config.train.steps

    def with_steps(self, steps: int) -> Trial:
        """The same trial, trained for another number of steps."""
        return dataclasses.replace(self, config=self.config.with_steps(steps))

    @property
    def run_id(self) -> str | None:
        """The run that serves it; None where it has no start."""
        return self.config.run_id if self.no_start is None else None


@dataclass(frozen=True)
class Run:
    """One training. `config` has the largest length that its trials ask for."""

    run_id: str
    config: RunConfig
    trials: tuple[Trial, ...]
    siblings: Siblings = NO_SIBLINGS
    """Where its training is there already, filled in by `orchestrator/runs/siblings.py`."""

    def only_measured(self) -> Run:
        """The same run, not to be trained where its training cannot be repeated to the bit."""
        return dataclasses.replace(self, siblings=dataclasses.replace(self.siblings, only_measure=True))


def trials_of(study: Study, points: Iterable[tuple[int, Point]]) -> list[Trial]:
    """Each numbered point with each seed. Raises ValueError where an expression has no value."""
    return [
        Trial(
            f"{study.name}-{number:05d}-s{seed}",
            number,
            seed,
            point,
            study.config_at(point, seed),
            start_from,
            study.resolver.base(seed) if start_from is not None and start_from.state == "all" else None,
        )
        for number, point in points
        for start_from in [study.resolver.start_from_at(point)]
        for seed in study.seeds
    ]


def all_trials(study: Study) -> list[Trial]:
    """Every trial that is known before anything has run: the first batch of the searcher."""
    return trials_of(study, SEARCHERS[study.search_kind](study.axes, study.search).next_points({}))


def runs_of(trials: Iterable[Trial]) -> list[Run]:
    """The runs that serve these trials, in the order of their first trials. A trial without a start has none."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.no_start is None:
            groups.setdefault(trial.config.run_id, []).append(trial)
    longest = operator.attrgetter("horizon")
    return [Run(run_id, max(group, key=longest).config, tuple(group)) for run_id, group in groups.items()]
