"""What is foretold of a study's runs on this machine: measured while as many workers are busy as will train."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from grokstudy.orchestrator.planning.cost import Pace
from grokstudy.orchestrator.planning.crew import Crew
from grokstudy.orchestrator.planning.packing import PackSize
from grokstudy.orchestrator.planning.seconds import Seconds
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.bench.speed import (
    evaluation_seconds,
    opening_seconds,
    remembered_pack_size,
    state_bytes,
    step_seconds,
)
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.plugins import code_of


@contextlib.contextmanager
def measured_pace(study: Study, workers: int, say: Callable[[str], None]) -> Iterator[Pace]:
    """The pace of one of so many workers of this machine, each kind of run measured when it is first asked for.

    What takes long is told to `say`.
    """
    threads, engine = threads_of(study), study.resources.engine
    code = tuple({name: code_of(name) for name in study.code.values()}.values())
    with Crew(workers, code) as crew:

        def step(config: RunConfig, members: int) -> Seconds:
            if engine == "compile" and config.trainable is None:
                blocks = f"{config.depth} block applications of width {config.model.width}"
                say(f"Compiling to measure {blocks}: about 20 s the first time on a machine ...")
            return Seconds.of(crew(step_seconds, config, "cpu", threads, engine, members))

        def evaluation(config: RunConfig) -> Seconds:
            return Seconds.of(crew(evaluation_seconds, config, "cpu", threads))

        def opening(config: RunConfig) -> Seconds:
            return Seconds.of(crew(opening_seconds, config, threads))

        def state(config: RunConfig) -> int:
            return crew(state_bytes, config)[0]

        def start() -> Seconds:  # measured once, and as sure as that
            return Seconds(crew.start_s, crew.start_s, crew.start_s)

        yield Pace(step, evaluation, state, opening, start).remembered()


def members_of(study: Study, measured: bool) -> PackSize:
    """How many members a pack will have: as the study says, or what pays here; unless `measured`, one."""
    fixed, threads = study.resources.pack, threads_of(study)

    def size(config: RunConfig, most: int) -> int:
        if not isinstance(fixed, str):
            return min(fixed, most)
        return remembered_pack_size(config, most, "cpu", threads, share=0.0) if measured else 1

    return size


def threads_of(study: Study) -> int:
    """Threads that torch may use in one worker."""
    cpu = study.resources.cpu
    return 1 if isinstance(cpu, str) else max(1, int(cpu))
