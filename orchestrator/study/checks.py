"""Checks that need the whole study: its size, its expressions, and what is impossible at each of its points.

They run only when the parts are sound by themselves, so that one mistake is not reported twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from grokstudy.orchestrator.search import SEARCHERS
from grokstudy.orchestrator.search.boundary import is_numeric
from grokstudy.orchestrator.search.space import START_FROM, Choices, Point, Range
from grokstudy.orchestrator.study.errors import Findings, KeyPath
from grokstudy.orchestrator.study.fields import config_fields
from grokstudy.orchestrator.study.resolve import ResolveError, point_text
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.measurements import measured_by
from grokstudy.trainables.options import Problem, did_you_mean
from grokstudy.trainables.plugins import word_of
from grokstudy.trainables.schema import METRICS
from grokstudy.trainables.tasks import TASKS

if TYPE_CHECKING:
    from grokstudy.orchestrator.study.study import Study

MAX_TRIALS = 100_000
MAX_DATA_CHECKS = 2_000
MAX_DATA_WORK = 500_000_000
"""Sum of squared vocabularies: beyond it graphs are not drawn just to check a file; the run itself says it then."""


def check_study(study: Study, findings: Findings) -> None:
    """Add what is wrong with the study as a whole."""
    if findings.mistakes:
        return
    _check_size(study, findings)
    _check_starts(study, findings)
    _check_measured(study, findings)
    _check_watched(study, findings)
    _check_search(study, findings)
    _check_axis_names(study, findings)
    if not findings.mistakes:
        _PointCheck(study, findings).run()


def _check_axis_names(study: Study, findings: Findings) -> None:
    """The answer has columns such as `circuit_at`: an axis of such a name would be taken for one of them."""
    for axis in study.axes:
        for event in study.events:
            if axis.name == event or axis.name.startswith(f"{event}_"):
                fault = f"would be taken for a column of the event {event}; name the axis otherwise"
                findings.at_key(("space", axis.name), fault)


def _check_size(study: Study, findings: Findings) -> None:
    if study.search_kind == "grid":
        for axis in study.axes:
            if isinstance(axis, Range) and axis.points is None and axis.step is None:
                remedy = f"{{{axis.scale}: [...], points: 5}}, or search: {{kind: random}}"
                findings.at_value(("space", axis.name), f"a grid needs points: {remedy}")
            elif isinstance(axis, Range) and axis.step is None and len(axis.grid()) < (axis.points or 0):
                fault = f"there are only {len(axis.grid())} different whole numbers among {axis.points}"
                findings.at_value(("space", axis.name, "points"), fault)
    elif not study.axes:
        findings.at_key(("search",), "there is nothing to search: space has no axis")
    if findings.mistakes:
        return
    n_trials = SEARCHERS[study.search_kind].count(study.axes, study.search) * len(study.seeds)
    if n_trials > MAX_TRIALS:
        section = "space" if study.search_kind == "grid" else "search"
        findings.at_key((section,), f"comes to {n_trials:,} trials; a study has at most {MAX_TRIALS:,}")


def _check_starts(study: Study, findings: Findings) -> None:
    """Weights of another run are those of the built-in loop, which a training function cannot be given."""
    for place in ("space", "base"):
        if study.function is not None and (place, START_FROM) in findings.places:
            fault = f"is for the built-in loop; {word_of(study.function)} begins by itself"
            findings.at_key((place, START_FROM), fault)


def _check_watched(study: Study, findings: Findings) -> None:
    """A rule that looks at events looks at those of the study, and at one value of each evaluation."""
    for index, name in enumerate(getattr(study.scheduler, "events", ())):
        place = ("scheduler", "events", index)
        key_path = place if place in findings.places else ("scheduler",)
        if name not in study.events:
            findings.at_value(key_path, f"{name!r} is no event here; {did_you_mean(name, list(study.events))}")
        elif study.events[name].sited:
            findings.at_value(key_path, f"{name} looks at one site; a scheduler hears of summaries only")


def _check_search(study: Study, findings: Findings) -> None:
    """Axes and events that a search names are those of the study."""
    if not hasattr(study.search, "grid"):
        return
    from grokstudy.analysis.statistics.decoupling import CLASSES  # with polars: not for a study that names nothing

    options, known = study.search, [axis.name for axis in study.axes]
    numeric = [axis.name for axis in study.axes if is_numeric(axis)]
    for index, name in enumerate(getattr(options, "grid", ())):
        if name not in known:
            findings.at_value(("search", "grid", index), f"{name} is no axis here; {did_you_mean(name, known)}")
        elif next(axis for axis in study.axes if axis.name == name).grid() == ():
            findings.at_value(("search", "grid", index), f"{name} is swept in full, and its range has no points")
    for goal in getattr(options, "goals", ()):
        words = [*study.events, *(CLASSES if goal.kind == "outcome" else ())]
        if goal.kind != "metric" and goal.name not in words:
            place = ("search", "objective", "event")
            key_path = place if place in findings.places else ("search",)
            findings.at_value(key_path, f"{goal.name!r} is no event here; {did_you_mean(goal.name, words)}")
    if study.search_kind == "boundary":
        left = [name for name in numeric if name not in options.grid]
        if not left:
            findings.at_key(("search",), "a boundary needs an axis of numbers that is not in its grid")
        elif options.axis is not None and options.axis not in left:
            findings.at_value(("search", "axis"), f"is no axis of numbers here; {did_you_mean(options.axis, left)}")
        if options.repeats > len(study.seeds):
            findings.at_value(("search", "repeats"), f"is more than the study has seeds, {len(study.seeds)}")


def _check_measured(study: Study, findings: Findings) -> None:
    """What the file looks at and none of its trials measures would be a false 'never'."""
    looked_at: dict[KeyPath, tuple[str, bool]]
    looked_at = {("events", name): (event.metric, event.sited) for name, event in study.events.items()}
    looked_at[("scheduler",)] = (getattr(study.scheduler, "metric", METRICS[0]), False)
    objective = getattr(study.search, "objective", None)
    looked_at[("search", "objective")] = (getattr(objective, "metric", METRICS[0]), False)
    for key_path, (metric, sited) in looked_at.items():
        if key_path in findings.places and not study.measures(metric, sited):
            task = TASKS[study.task]
            probes = " or ".join(sorted(map(word_of, measured_by(metric, sited, task, study.probes)))) or "a probe"
            chosen = ", ".join(sorted(map(word_of, study.probes))) or "empty"
            fault = f"nothing measures {metric}: it takes {probes}, and eval.probes is {chosen}"
            findings.at_value((*key_path, "metric"), fault)


@dataclass
class _Occurrence:
    key_path: KeyPath
    first: Problem
    point: str
    messages: list[str] = field(default_factory=list)


@dataclass
class _PointCheck:
    """Looks at every point for what is impossible there, and reports each problem once."""

    study: Study
    findings: Findings
    occurrences: dict[tuple[KeyPath, str], _Occurrence] = field(default_factory=dict)
    data_checked: set[tuple[object, int]] = field(default_factory=set)
    data_work: int = 0
    n_points: int = 0
    longest: int = 0

    def run(self) -> None:
        """Check all points, or the corners of a space that is searched as it goes."""
        for _, point in SEARCHERS[self.study.search_kind](self.study.axes, self.study.search).preview():
            self.n_points += 1
            for problem in self._problems(point):
                # Problems of one place that differ in their numbers only are one.
                key_path, is_beside = locate(self.study, problem, point)
                if is_beside and key_path in self.findings.places:
                    message = f"does not go with {problem.key}, left at its default: {problem.message}"
                    problem = replace(problem, message=message)
                kind = (key_path, re.sub(r"[-+.\d]+", "#", problem.message))
                first = _Occurrence(key_path, problem, point_text(point))
                self.occurrences.setdefault(kind, first).messages.append(problem.message)
        for occurrence in self.occurrences.values():
            self._report(occurrence)
        grace = getattr(self.study.scheduler, "grace_steps", 0)
        if not self.occurrences and grace >= self.longest:
            fault = f"{grace} is not below the longest train.steps, {self.longest}, so nothing could be stopped"
            self.findings.at_value(("scheduler", "grace_steps"), fault)

    def _problems(self, point: Point) -> Iterator[Problem]:
        try:
            config = self.study.config_at(point, self.study.seeds[0])
        except ResolveError as error:
            yield Problem(error.key, error.message)
            return
        except ValueError as error:  # of a searcher from outside
            yield Problem("search.kind", f"gives {point}, which is no point of this space: {error}")
            return
        self.longest = max(self.longest, config.train.steps)
        problems = config.problems()
        yield from problems
        if not problems:
            yield from self._data_problems(config)

    def _data_problems(self, config: RunConfig) -> Iterator[Problem]:
        crossed = self.study.crossed
        for seed in self.study.seeds if crossed is None else crossed.graph:
            work = self.data_work + sum(config.example.fields) ** 2
            room = work <= MAX_DATA_WORK and len(self.data_checked) < MAX_DATA_CHECKS
            if (config.data, seed) in self.data_checked or not room:
                continue
            self.data_work = work
            self.data_checked.add((config.data, seed))
            problems = TASKS[config.task].check(config.data, seed)
            wrong = f"its check gives {type(problems).__name__}, and should give a list of Problem"
            yield from problems if isinstance(problems, list) else [Problem("task", wrong)]

    def _report(self, occurrence: _Occurrence) -> None:
        problem, messages = occurrence.first, occurrence.messages
        everywhere = len(set(messages)) == 1 and len(messages) >= self.n_points
        where = [f"at {occurrence.point}"] if occurrence.point and not everywhere else []
        where += [f"and {len(messages) - 1} more like it"] if len(messages) > 1 and not everywhere else []
        message = f"{problem.message} ({', '.join(where)})" if where else problem.message
        if occurrence.key_path in self.findings.places:
            self.findings.at_value(occurrence.key_path, message)
        else:
            self.findings.at_key(occurrence.key_path, message, key=problem.key)


def locate(study: Study, problem: Problem, point: Point) -> tuple[KeyPath, bool]:
    """Where the file sets the option at fault; when that is a default, an option that the message speaks of.

    Also whether it is such an option beside the one at fault.
    """
    if problem.key == "search.kind":
        return ("search", "kind"), False
    if own := _set_at(study, problem.key, point):
        return own, False
    words = set(re.findall(r"[a-z_]+", problem.message))
    spoken_of = [key for key in config_fields(study.task, study.function) if key.partition(".")[2] in words]
    places = filter(None, (_set_at(study, key, point) for key in spoken_of))
    return next(((place, True) for place in places), (("base", *problem.key.split(".")), False))


def _set_at(study: Study, key: str, point: Point) -> KeyPath:
    """Where the file sets an option at a point; empty when it does not."""
    for axis in study.axes:
        value = point[axis.name]
        if key in axis.settings(value):
            if isinstance(axis, Choices):
                return ("space", axis.name, axis.values.index(value))
            return ("space", axis.name) if isinstance(axis, Range) else ("space", axis.name, str(value), key)
    if key in study.derived:
        return ("space", key)
    return ("base", *key.split(".")) if key in study.settings else ()
