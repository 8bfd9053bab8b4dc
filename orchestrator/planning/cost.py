"""What a study would take: what is missing, what is shared, how long, how large, and how much of it is evaluation."""

from __future__ import annotations

import dataclasses
import functools
import heapq
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from grokstudy.orchestrator.planning.packing import PackSize, packs_of
from grokstudy.orchestrator.planning.seconds import NONE, Seconds
from grokstudy.orchestrator.runs.siblings import Share
from grokstudy.orchestrator.runs.state import Ledger
from grokstudy.orchestrator.runs.trials import Run, Trial
from grokstudy.trainables.config import Eval, RunConfig, eval_steps
from grokstudy.trainables.machine import cores

Measure = Callable[[RunConfig], Seconds]
Stretch = tuple[RunConfig, int, int]
"""A run, the step where it stands, and the step where it is to end."""
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Pace:
    """Of one worker, while the others are busy, too."""

    step: Callable[[RunConfig, int], Seconds]
    """Of an optimiser step of a pack of so many runs."""
    evaluation: Measure
    """Of one evaluation with its probes."""
    state: Callable[[RunConfig], int]
    """Bytes of one checkpoint."""
    opening: Measure = lambda _: NONE
    """Of what a run takes besides its updates and evaluations; of one that goes on it is not asked."""
    start: Callable[[], Seconds] = lambda: NONE
    """Of the workers until they train, as far as that is known once the others were asked for."""

    def seconds(self, stretch: Stretch, jumped: int = 0, members: int = 1) -> Seconds:
        """Of training a run from one step to another, evaluations included; of a pack, the part of one member.

        So many steps are `jumped` over.
        """
        config, start, stop = stretch
        training = self.step(config, members) * ((stop - start - jumped) / members)
        opening = NONE if start else self.opening(config)
        return training + self.evaluation(config) * evaluations(config.eval, start, stop) + opening

    def remembered(self) -> Pace:
        """The same, measuring each kind of run once."""
        steps: dict[tuple[Hashable, int], Seconds] = {}

        def step(config: RunConfig, members: int) -> Seconds:
            if (key := (step_kind(config), members)) not in steps:
                steps[key] = self.step(config, members)
            return steps[key]

        evaluation, opening = (_once(measure, evaluation_kind) for measure in (self.evaluation, self.opening))
        return Pace(step, evaluation, _once(self.state, step_kind), opening, self.start)


def step_kind(config: RunConfig) -> Hashable:
    """What the speed of a step depends on."""
    by = config.trainable, config.own
    return config.model, config.train.batch, config.example, config.train.precision, config.train.loss, by


def evaluation_kind(config: RunConfig) -> Hashable:
    """What the time of an evaluation depends on."""
    by = config.trainable, config.own
    return config.task, config.model, config.example, config.train.precision, config.eval, by


@functools.lru_cache
def evaluations(options: Eval, start: int, stop: int) -> int:
    """Evaluations of a run that stands at step `start` (0: not begun) until it has trained to `stop`."""
    return sum(step > start or start == 0 for step in eval_steps(options, stop))


def makespan(seconds: Iterable[float], workers: int) -> float:
    """Seconds until work that cannot be divided is done by so many workers, the longest first."""
    busy = [0.0] * max(1, workers)
    for length in sorted(seconds, reverse=True):
        heapq.heapreplace(busy, busy[0] + length)
    return max(busy)


def work_seconds(
    runs: list[Run], steps: Mapping[str, int], shares: Mapping[str, Share], size: PackSize, workers: int, pace: Pace
) -> list[Seconds]:
    """Of each pack of these runs, which stand at these steps."""

    def member(run: Run, members: int) -> Seconds:
        stretch = run.config, steps[run.run_id], run.config.train.steps
        return pace.seconds(stretch, shares[run.run_id].jumped, members)

    packs = packs_of(runs, steps, size, workers)
    return [sum((member(run, len(pack)) for run in pack), NONE) for pack in packs]


def makespan_seconds(packs: list[Seconds], workers: int) -> Seconds:
    """Until all are trained: as foretold, and if all of it went at the fastest pace measured, or at the slowest.

    What workers that have nothing left stand idle is in all three.
    """
    lows, highs = [pack.low for pack in packs], [pack.high for pack in packs]
    low, high = (
        None if None in bounds else makespan((bound for bound in bounds if bound is not None), workers)
        for bounds in (lows, highs)
    )
    return Seconds(makespan((pack.mean for pack in packs), workers), low, high)


def _once(
    measure: Callable[[RunConfig], _Found], kind: Callable[[RunConfig], Hashable]
) -> Callable[[RunConfig], _Found]:
    measured: dict[Hashable, _Found] = {}

    def known(config: RunConfig) -> _Found:
        if (key := kind(config)) not in measured:
            measured[key] = measure(config)
        return measured[key]

    return known


BYTES_PER_STEP = 12
BYTES_PER_EVALUATION = 400
BYTES_PER_PROBED_SITE = 12
PROBED_ROWS_PER_SITE = 5 * 12


@dataclass(frozen=True)
class Plan:
    """The cost of what a study still needs."""

    trials: int
    runs: int
    runs_todo: int
    steps_asked: int
    """Summed over trials, as if each trained alone."""
    steps_needed: int
    """Summed over runs, after prefix sharing."""
    steps_todo: int
    """What is to be trained: neither these runs nor others of equal training have it in the root yet."""
    runs_measured: int
    """Of the runs to do, those whose training is there to its end: only measurements are missing."""
    steps_replayed: int
    """Trained before by another run, carried out again,"""
    steps_jumped: int
    """and passed over, from checkpoint to checkpoint."""
    parameters: tuple[int, int] | None
    """Smallest and largest model; None where a training function from outside decides."""
    workers: int
    steps_per_second: float | None
    """Of one worker, averaged over what it carries out, evaluations included. None: no step is left to do."""
    seconds: float
    seconds_low: float | None
    """If all went as in the fastest repetition of what was measured,"""
    seconds_high: float | None
    """or as in the slowest. None: something was not measured more than once."""
    disk_bytes: int
    checkpoint_bytes: int
    """Of that, the most that checkpoints come to."""

    @property
    def time(self) -> Seconds:
        """How long it takes."""
        return Seconds(self.seconds, self.seconds_low, self.seconds_high)


def make_plan(
    trials: list[Trial], runs: list[Run], ledger: Ledger, workers: int, pace: Pace, shares: Mapping[str, Share],
    events: int = 0, budget: int | None = None, every: bool = False, size: PackSize = lambda _, most: 1,
) -> Plan:  # fmt: skip
    """Count the work. `shares` say where the steps of each run to do come from, `size` which of them train together.

    A run keeps a checkpoint of each of so many `events`, and of them all at most `budget` bytes; with `every`, older
    ones are not thinned.
    """
    from grokstudy.trainables.models import parameter_count

    todo = ledger.unsettled()
    steps = {run.run_id: ledger.states[run.run_id].step for run in todo}
    ours = [run.config for run in (*runs, *todo) if run.config.trainable is None]
    parameters = [parameter_count(config.model, config.example) for config in ours]
    packs = work_seconds(todo, steps, shares, size, workers, pace)
    foretold = makespan_seconds(packs, workers) + pace.start()
    shared = sum((shares[run.run_id] for run in todo), Share())
    carried_out = shared.trained + shared.replayed
    checkpoints = sum(_checkpoint_bytes(run.config, pace.state(run.config), events, budget, every) for run in todo)
    return Plan(
        trials=len(trials),
        runs=len(runs),
        runs_todo=len(todo),
        steps_asked=sum(trial.horizon for trial in trials if trial.run_id),
        steps_needed=sum(run.config.train.steps for run in runs),
        steps_todo=shared.trained,
        runs_measured=sum(shares[run.run_id].measured for run in todo),
        steps_replayed=shared.replayed,
        steps_jumped=shared.jumped,
        parameters=(min(parameters), max(parameters)) if parameters else None,
        workers=workers,
        steps_per_second=carried_out / sum(pack.mean for pack in packs) if carried_out else None,
        seconds=foretold.mean,
        seconds_low=foretold.low,
        seconds_high=foretold.high,
        disk_bytes=sum(_metric_bytes(run.config) for run in todo) + checkpoints,
        checkpoint_bytes=checkpoints,
    )


def workers_here(cpu: float | str, workers: int | str) -> int:
    """Workers that this machine runs at a time."""
    fit = max(1, int(cores() / (1.0 if isinstance(cpu, str) else cpu)))
    return fit if isinstance(workers, str) else min(fit, workers)


def _metric_bytes(config: RunConfig) -> int:
    steps = config.train.steps
    sites = 3 * (config.depth + 1) * len(config.eval.probes)
    return steps * BYTES_PER_STEP + evaluations(config.eval, 0, steps) * (
        BYTES_PER_EVALUATION + sites * PROBED_ROWS_PER_SITE * BYTES_PER_PROBED_SITE
    )


def _checkpoint_bytes(config: RunConfig, one: int, events: int, budget: int | None, every: bool) -> int:
    """The newest two, log-spaced ones or all, and those of events, as far as the budget goes."""
    steps = config.train.steps
    made, spaced = steps // config.train.checkpoint_every, 2 + math.ceil(4 * math.log10(max(steps, 10)))
    most = ((made if every else min(made, spaced)) + 1 + events) * one
    return most if budget is None else min(most, max(budget, 2 * one))


SHARE = 0.1
"""Of the time, what evaluation should take at most."""


@dataclass(frozen=True)
class Cadence:
    """How often the run with the costliest evaluations evaluates, and what would bring it down to SHARE."""

    share: float
    key: str
    value: int | None
    """None where no sparser cadence is left: what takes the time are the first and the last evaluation."""

    def __str__(self) -> str:
        """The line of `plan`."""
        message, key = f"takes about {self.share:.0%} of the time", self.key.removeprefix("eval.")
        if self.value is None:
            return f"{message}, by the first and the last one; fewer probes or examples (eval) make it less"
        return f"{message}; eval: {{{key}: {self.value}}} would bring it towards {SHARE:.0%}"


def costly(configs: list[RunConfig], pace: Pace) -> Cadence | None:
    """The worst of these runs; None where none is beyond SHARE. Each kind of run is looked at once."""
    kinds = {(step_kind(config), evaluation_kind(config), config.train.steps): config for config in configs}
    cadences = [_cadence(config, pace.step(config, 1).mean, pace.evaluation(config).mean) for config in kinds.values()]
    worst = max(cadences, key=lambda cadence: cadence.share, default=None)
    return worst if worst is not None and worst.share > SHARE else None


def _cadence(config: RunConfig, step_s: float, seconds: float) -> Cadence:
    steps, options = config.train.steps, config.eval
    training, evaluating = steps * step_s, evaluations(options, 0, steps) * seconds
    share, allowed = evaluating / (training + evaluating), training * SHARE / (1.0 - SHARE) / seconds
    if options.grid == "linear":  # the first and the last step are evaluated whatever the cadence
        every = min(steps, _rounded(steps / max(allowed - 2.0, 1.0)))
        return Cadence(share, "eval.every", every if every > options.every else None)
    if options.grid == "thinning":
        sparser = (_rounded(options.every * 1.05**count) for count in range(1, 200))
        fits = (n for n in sparser if evaluations(dataclasses.replace(options, every=n), 0, steps) <= allowed)
        every = next(fits, steps)
        return Cadence(share, "eval.every", min(every, steps) if min(every, steps) > options.every else None)
    fewer = (dataclasses.replace(options, per_decade=count) for count in range(options.per_decade - 1, 0, -1))
    fit = next((grid.per_decade for grid in fewer if evaluations(grid, 0, steps) <= allowed), None)
    return Cadence(share, "eval.per_decade", fit or (1 if options.per_decade > 1 else None))


def _rounded(every: float) -> int:
    """The next number of two digits and zeros: 243.1 -> 250."""
    unit: int = max(1, 10 ** (math.floor(math.log10(max(every, 1.0))) - 1))
    return math.ceil(every / unit) * unit
