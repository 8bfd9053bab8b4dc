"""The parts of a study that are not options of a run: what a worker gets, where its runs begin, crossed seeds."""

from __future__ import annotations

import itertools
from dataclasses import MISSING, asdict, dataclass
from typing import Any, Literal

from grokstudy.trainables.options import option


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one worker gets, and how many there are. Never changes a result."""

    cpu: float | Literal["auto"] = option(1.0, "CPU cores of a worker, or auto", gt=0)
    gpu: float | Literal["auto"] = option(
        0.0, "GPUs of a worker; a share such as 0.25 packs four on one GPU; or auto", ge=0
    )
    workers: int | Literal["auto"] = option("auto", "workers at a time, or auto for what the cluster has", ge=1)
    pack: int | Literal["auto"] = option(
        "auto", "runs of equal shape that train as one stacked model, or auto for as many as pay", ge=1
    )
    max_failures: int = option(2, "crashes of one run that are retried", ge=0)
    engine: Literal["auto", "eager", "compile"] = option(
        "auto",
        "how steps are carried out: auto is a CUDA graph on a GPU and eager elsewhere; compile is one program a step",
    )
    checkpoint_mb: float | Literal["all"] = option(
        "all", "megabytes of checkpoints that a run keeps, the newest two in any case; or all that the rules keep", gt=0
    )

    keep_checkpoints: Literal["spaced", "all"] = option(
        "spaced", "which of them: ever fewer of the older ones, or all, so that more can be measured later at less cost"
    )

    price: float = option(0.0, "what an hour of one worker costs, for run --max-cost and plan; no currency", ge=0)

    @property
    def checkpoint_bytes(self) -> int | None:
        """The budget of a run; None without one."""
        return None if isinstance(self.checkpoint_mb, str) else int(self.checkpoint_mb * 1e6)


AUTO_RESOURCES = Resources(cpu="auto", gpu="auto", workers="auto")
"""What `resources: auto` means."""


@dataclass(frozen=True, kw_only=True)
class CrossedSeeds:
    """Seeds of what is drawn by chance, each by itself: every one of a kind is run with every one of the others."""

    graph: tuple[int, ...] = option((0,), "seeds of the data: graph, splits, evaluation sets and what probes draw")
    init: tuple[int, ...] = option((0,), "seeds of the initialisation")
    order: tuple[int, ...] = option((0,), "seeds of which example each step draws")

    @property
    def numbers(self) -> tuple[int, ...]:
        """One number for each combination, with three digits for each seed: 1002000 is graph 1, init 2, order 0."""
        parts = itertools.product(self.graph, self.init, self.order)
        return tuple((graph * CROSSED + init) * CROSSED + order for graph, init, order in parts)

    @staticmethod
    def parts(number: int) -> tuple[int, int, int]:
        """The seeds of graph, init and order that a number stands for."""
        return number // CROSSED**2, number // CROSSED % CROSSED, number % CROSSED

    def to_json(self) -> dict[str, list[int]]:
        """Plain values, as in the file."""
        return {name: list(seeds) for name, seeds in asdict(self).items()}


CROSSED = 1000
"""Seeds that each kind may have where they are crossed: 0 to 999."""


@dataclass(frozen=True, kw_only=True)
class StartFrom:
    """Begin with what the run of another study had that agrees in model, data and seed.

    start_from: {study: decoupling, event: circuit}   where that study's run was first seen to have reached the event
    start_from: {study: decoupling, step: 3000}       its state after so many steps
    start_from: {study: x, step: 9, state: all}       a fork: goes on there; the source agrees with base, arms may not
    start_from: null                                  from scratch
    """

    study: str = option(MISSING, "name of a study of the same root, already run")
    event: str | None = option(None, "an event of that study: the evaluation at which it was first seen")
    step: int | None = option(None, "a number of steps, instead of an event", ge=0)
    state: Literal["weights", "all"] = option(
        "weights", "its weights alone; all: moments and count of updates too, of the run that agrees with base"
    )

    def __str__(self) -> str:
        place = f"event {self.event}" if self.step is None else f"step {self.step:,}"
        return f"{self.study} at {place}" + (", whole state" if self.state == "all" else "")

    def to_json(self) -> dict[str, Any]:
        """Plain values, as in the file."""
        given = {key: value for key, value in asdict(self).items() if value is not None}
        return {key: value for key, value in given.items() if (key, value) != ("state", StartFrom.state)}
