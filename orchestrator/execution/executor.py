"""Who carries a launch out: Ray Tune, or the workers of this machine without Ray. Same files, same bits.

Ray Tune is the engine of everything that outgrows a moment: clusters, schedulers that stop trials, hours of training.
Where the work is over in about a minute and no cluster is asked for, starting Ray would take longer than training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import Any

from grokstudy.orchestrator.execution.breaker import HaltedError
from grokstudy.orchestrator.execution.budget import Budget
from grokstudy.orchestrator.execution.resources import cluster_address
from grokstudy.orchestrator.planning.cost import workers_here
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.config import RunConfig, eval_steps
from grokstudy.trainables.storage.store import Store

OnProgress = Callable[[list[dict[str, Any]]], None]
More = Callable[[Set[str]], list[Run] | None]
"""(ids of runs that workers have or are to have) -> runs of points that can be asked for now; None: none will be."""
LONG_S, SHORT_S, MOMENT_S = 300.0, 60.0, 10.0
"""Seconds of one core, roughly estimated, up to which work is not worth a forecast, starting Ray, a second process."""
FLOPS, FLOPS_A_WIDTH, BLOCK_S = 7e10, 6e8, 0.0014
"""What a core makes of matrix products at most, and for each number of a model's width; what starting the operations
of a block takes in a step. Within 40 % of 24 measured shapes (width 16 to 128, 64 and 512 examples, 2 to 8 blocks) on
a machine without AVX-512."""


class RayStartError(HaltedError):
    """Ray's processes did not come up on this machine."""


class RayLostError(HaltedError):
    """Ray's processes on this machine died in the middle of the work; whoever asks Ray to end now waits for ever."""


@dataclass(frozen=True)
class Executor:
    """Where runs are trained."""

    kind: str
    """ray or local."""
    workers: int
    """Of the local one."""

    measured: bool = True
    """Whether it is worth measuring how many members of a pack pay; for a moment's work that takes longer than it."""
    foretells: bool = False
    """Whether it is worth measuring how long all will take."""

    @classmethod
    def choose(cls, study: Study, left: Iterable[tuple[RunConfig, int]], local: bool | None) -> Executor:
        """By what was asked; else by what is `left` to do: each configuration with the steps that it lacks."""
        if not local and (cluster_address() is not None or study.resources.gpu):
            return cls("ray", 0)
        seconds = _rough_seconds(left)
        if local is False or (local is None and seconds > SHORT_S):
            return cls("ray", 0, seconds > SHORT_S, seconds > LONG_S)
        from grokstudy.orchestrator.execution.local import local_workers

        is_given = isinstance(study.resources.workers, int)
        workers = 1 if seconds <= MOMENT_S and not is_given else local_workers(study)
        return cls("local", workers, seconds > SHORT_S, seconds > LONG_S)

    def __str__(self) -> str:
        """Told on the first line of a run."""
        if self.kind == "local":
            place = "in this process" if self.workers == 1 else f"in up to {self.workers} processes of this machine"
            return f"training {place}, without Ray (--ray starts it)"
        address = cluster_address()
        return "starting Ray Tune on this machine" if address is None else f"on the Ray cluster at {address}"

    def workers_here(self, study: Study) -> int | None:
        """Workers whose pace this machine can tell beforehand; None where they are others, or have GPUs."""
        if self.kind == "local":
            from grokstudy.orchestrator.execution.local import local_resources

            return None if local_resources(study)["gpu"] else self.workers
        if cluster_address() is not None or study.resources.gpu:
            return None
        return workers_here(study.resources.cpu, study.resources.workers)

    def launch(
        self, study: Study, runs: list[Run], store: Store, on_progress: OnProgress, say: Callable[[str], None],
        more: More = lambda _: None, budget: Budget | None = None,
    ) -> bool:  # fmt: skip
        """Train these runs to their length, or until the scheduler ends them; whether paused ones are to go on now.

        Where Ray does not start, this machine trains without it, and says so. `more` is asked for runs when a worker
        has no more work.
        """
        from grokstudy.orchestrator.execution import local, tuner

        workers = self.workers
        if self.kind == "ray":
            try:
                return tuner.launch(study, runs, store, on_progress, self.measured, more, budget)
            except RayStartError as error:
                workers = local.local_workers(study)
                say(f"{error}\ntraining on this machine without Ray instead, as --local does")
        return local.launch(study, runs, store, on_progress, workers, self.measured, more, budget)


def _rough_seconds(left: Iterable[tuple[RunConfig, int]]) -> float:
    """Seconds of one core, without measuring anything; more than LONG_S is not looked at closely."""
    from grokstudy.trainables.models import step_flops

    seconds = 0.0
    for config, steps in left:
        pace = min(FLOPS, FLOPS_A_WIDTH * config.model.width)
        step = step_flops(config.model, config.example, config.train.batch) / pace + BLOCK_S * config.depth
        seconds += step * (steps + 10 * len(eval_steps(config.eval, steps)))
        if seconds > LONG_S:
            break
    return seconds
