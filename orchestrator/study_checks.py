"""Checks that need the whole study: its size, its expressions, and what is impossible at each of its points.

They run only when the parts are sound by themselves, so that one mistake is not told twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.axes import Choices, Point, Range
from orchestrator.mistakes import Findings, Steps
from orchestrator.resolver import ResolveError, point_text
from orchestrator.searchers import SEARCHERS
from orchestrator.settings import METRICS
from trainables.config import RunConfig
from trainables.options import Problem
from trainables.tasks import TASKS

if TYPE_CHECKING:
    from orchestrator.study import Study

MAX_TRIALS = 100_000
MAX_DATA_CHECKS = 2_000
MAX_VOCABULARY = 10_000
"""Larger graphs are not drawn just to check a file; their runs say it when the data cannot be built."""


def check_study(study: Study, findings: Findings) -> None:
    """Add what is wrong with the study as a whole."""
    if findings.mistakes:
        return
    _check_size(study, findings)
    _check_events(study, findings)
    if not findings.mistakes:
        _PointCheck(study, findings).run()


def _check_size(study: Study, findings: Findings) -> None:
    if study.search_kind == "grid":
        for axis in study.axes:
            if isinstance(axis, Range) and axis.points is None:
                findings.at_value(
                    ("space", axis.name),
                    f"a grid needs points: {{{axis.scale}: [...], points: 5}}, or search: {{kind: random}}",
                )
            elif isinstance(axis, Range) and len(axis.grid()) < (axis.points or 0):
                findings.at_value(
                    ("space", axis.name, "points"),
                    f"there are only {len(axis.grid())} different whole numbers among {axis.points}",
                )
    elif not study.axes:
        findings.at_key(("search",), "there is nothing to search: space has no axis")
    if not findings.mistakes:
        _check_count(study, findings)


def _check_count(study: Study, findings: Findings) -> None:
    n_trials = SEARCHERS[study.search_kind].count(study.axes, study.search) * len(study.seeds)
    if n_trials > MAX_TRIALS:
        section = "space" if study.search_kind == "grid" else "search"
        findings.at_key((section,), f"comes to {n_trials:,} trials; a study has at most {MAX_TRIALS:,}")


def _check_events(study: Study, findings: Findings) -> None:
    """An event on a probe's measurement, when no trial has a probe, would be a false 'never'."""
    if "events" not in {steps[0] for steps in findings.places if steps} or _has_probes(study):
        return
    for name, event in study.events.items():
        if event.metric not in METRICS:
            findings.at_value(
                ("events", name, "metric"), f"nothing measures {event.metric}: eval.probes is empty"
            )


def _has_probes(study: Study) -> bool:
    values = [study.settings.get("eval.probes", ("default",))]
    for axis in study.axes:
        values += [axis.settings(value).get("eval.probes", ()) for value in axis.corners()]
    return any(values)


@dataclass
class _Occurrence:
    steps: Steps
    first: str
    count: int = 0


@dataclass
class _PointCheck:
    """Looks at every point for what is impossible there, and reports each problem once."""

    study: Study
    findings: Findings
    found: dict[tuple[str, str], _Occurrence] = field(default_factory=dict)
    data_checked: set[tuple[object, int]] = field(default_factory=set)
    n_points: int = 0
    longest: int = 0

    def run(self) -> None:
        """Check all points, or the corners of a space that is searched as it goes."""
        for _, point in SEARCHERS[self.study.search_kind](self.study).preview():
            self.n_points += 1
            for problem, seed in self._problems(point):
                self._note(point, problem, seed)
        for (key, message), occurrence in self.found.items():
            self._report(key, message, occurrence)
        if not self.found:
            self._check_grace()

    def _problems(self, point: Point) -> Iterator[tuple[Problem, int | None]]:
        try:
            config = self.study.config_at(point, self.study.seeds[0])
        except ResolveError as error:
            yield Problem(error.key, error.message), None
            return
        self.longest = max(self.longest, config.train.steps)
        problems = config.problems()
        yield from ((problem, None) for problem in problems)
        if not problems and config.data.vocabulary <= MAX_VOCABULARY:
            yield from self._data_problems(config)

    def _data_problems(self, config: RunConfig) -> Iterator[tuple[Problem, int | None]]:
        for seed in self.study.seeds:
            if (config.data, seed) in self.data_checked or len(self.data_checked) >= MAX_DATA_CHECKS:
                continue
            self.data_checked.add((config.data, seed))
            yield from ((problem, seed) for problem in TASKS[config.task].check(config.data, seed))

    def _note(self, point: Point, problem: Problem, seed: int | None) -> None:
        where = point_text(point)
        new = _Occurrence(locate(self.study, problem.key, point), where)
        self.found.setdefault((problem.key, problem.message), new).count += 1

    def _report(self, key: str, message: str, occurrence: _Occurrence) -> None:
        others = occurrence.count - 1
        where = f" (at {occurrence.first}" if occurrence.first and occurrence.count < self.n_points else ""
        where += f", and {others} more points)" if where and others else ")" if where else ""
        known = occurrence.steps if occurrence.steps in self.findings.places else ()
        self.findings.at_value(occurrence.steps, message + where, key=None if known else key)

    def _check_grace(self) -> None:
        grace = getattr(self.study.scheduler, "grace_steps", 0)
        if grace >= self.longest:
            self.findings.at_value(
                ("scheduler", "grace_steps"),
                f"{grace} is not below the longest train.steps, {self.longest}, so nothing could be stopped",
            )


def locate(study: Study, key: str, point: Point) -> Steps:
    """Where the file sets an option at a point; the nearest section when it does not."""
    for axis in study.axes:
        value = point[axis.name]
        if key in axis.settings(value):
            if isinstance(axis, Choices):
                return ("space", axis.name, axis.values.index(value))
            return ("space", axis.name) if isinstance(axis, Range) else ("space", axis.name, str(value), key)
    if key in study.derived:
        return ("space", key)
    return ("base", *key.split("."))
