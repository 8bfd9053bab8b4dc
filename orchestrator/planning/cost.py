"""What a study would take: what is missing, what is shared, how long, how large."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from typing import Any

from grokstudy.orchestrator.planning.pace import Pace, evaluations, makespan
from grokstudy.orchestrator.runs.state import Ledger
from grokstudy.orchestrator.runs.trials import Run, Trial
from grokstudy.trainables.config import RunConfig

BYTES_PER_STEP = 12
BYTES_PER_EVALUATION = 400
BYTES_PER_PROBED_SITE = 12
BYTES_PER_PARAMETER = 12
"""Weights and two moments in fp32."""
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
    """What is not in the root yet."""
    parameters: tuple[int, int]
    """Smallest and largest model."""
    workers: int
    steps_per_second: float | None
    """Of one worker, averaged over the work, evaluations included. None: nothing is left to do."""
    seconds: float
    disk_bytes: int
    checkpoint_bytes: int
    """Of that, the most that checkpoints come to."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def make_plan(
    trials: list[Trial], runs: list[Run], ledger: Ledger, workers: int, pace: Pace,
    events: int = 0, budget: int | None = None,
) -> Plan:  # fmt: skip
    """Count the work.

    A run keeps a checkpoint of each of so many `events`, and of them all at most `budget` bytes.
    """
    from grokstudy.trainables.models import parameter_count

    todo = ledger.unsettled()
    left = [(run.config, ledger.states[run.run_id].step, run.config.train.steps) for run in todo]
    sizes = [parameter_count(run.config.model, run.config.data.vocabulary) for run in runs]
    seconds = [pace.seconds(stretch) for stretch in left]
    steps_todo = sum(stop - start for _, start, stop in left)
    sized = zip(todo, _sizes(todo), strict=True)
    checkpoints = sum(_checkpoint_bytes(run.config, size, events, budget) for run, size in sized)
    return Plan(
        trials=len(trials),
        runs=len(runs),
        runs_todo=len(todo),
        steps_asked=sum(trial.horizon for trial in trials if trial.run_id),
        steps_needed=sum(run.config.train.steps for run in runs),
        steps_todo=steps_todo,
        parameters=(min(sizes, default=0), max(sizes, default=0)),
        workers=workers,
        steps_per_second=steps_todo / sum(seconds) if steps_todo else None,
        seconds=makespan(seconds, workers),
        disk_bytes=sum(_metric_bytes(run.config) for run in todo) + checkpoints,
        checkpoint_bytes=checkpoints,
    )


def workers_here(cpu: float | str, asked: int | str) -> int:
    """Workers that this machine runs at a time."""
    cores = os.cpu_count() or 1
    fit = max(1, int(cores / (1.0 if isinstance(cpu, str) else cpu)))
    return fit if isinstance(asked, str) else min(fit, asked)


def _sizes(runs: list[Run]) -> list[int]:
    from grokstudy.trainables.models import parameter_count

    return [parameter_count(run.config.model, run.config.data.vocabulary) for run in runs]


def _metric_bytes(config: RunConfig) -> int:
    steps = config.train.steps
    sites = 3 * (config.depth + 1) * len(config.eval.probes)
    return steps * BYTES_PER_STEP + evaluations(config.eval, 0, steps) * (
        BYTES_PER_EVALUATION + sites * PROBED_ROWS_PER_SITE * BYTES_PER_PROBED_SITE
    )


def _checkpoint_bytes(config: RunConfig, parameters: int, events: int, budget: int | None) -> int:
    """The newest two, log-spaced ones and those of events, as far as the budget goes."""
    steps, one = config.train.steps, parameters * BYTES_PER_PARAMETER
    spaced = min(steps // config.train.checkpoint_every, 2 + math.ceil(4 * math.log10(max(steps, 10)))) + 1
    every = (spaced + events) * one
    return every if budget is None else min(every, max(budget, 2 * one))
