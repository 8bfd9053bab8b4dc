"""A bundle: packs that one worker trains one after the other, with all that it must know to do so. It travels.

Ray Tune's workers and the processes of `--local` open the same bundles, so that both leave the same files.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from grokstudy.orchestrator.execution.pack_queue import AnyPack, PackQueue
from grokstudy.orchestrator.planning.packing import PackSize, bundles_of, packs_of
from grokstudy.orchestrator.runs.state import read_states
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.messages import warn_in_words
from grokstudy.trainables.plugins import Code, code_of
from grokstudy.trainables.storage.retention import Keep
from grokstudy.trainables.storage.siblings import Siblings
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.function import FunctionPack
from grokstudy.trainables.training.pack import Pack
from grokstudy.trainables.training.stepper import Mode

HEARTBEAT_S = 2.0
"""How long a worker trains before it says where it stands."""
Sizes = Mapping[str, int]
"""Members of a pack that pay, by kind of GPU; empty when nothing was measured."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What one worker is given."""

    code: tuple[Code, ...] = ()
    """From outside. It stands first: what comes behind is unpickled with it."""
    root: str
    packs: list[list[RunConfig]]
    sizes: list[Sizes]
    """Of each pack, what was measured for its shape."""
    cpu: float
    gpu: float
    max_failures: int
    keep: Keep
    engine: Mode
    siblings: Mapping[str, Siblings] = field(default_factory=dict)
    """By run_id, of the runs that have any."""
    executor: str | None = None
    """Who carries it out: ray or local."""
    heard: bool = False
    """Whether a scheduler listens to its evaluations."""

    def __str__(self) -> str:
        """What Tune makes a trial's tag of."""
        return f"{len(self.packs)} packs"

    @property
    def run_ids(self) -> set[str]:
        """Of its runs."""
        return {config.run_id for pack in self.packs for config in pack}

    @property
    def threads(self) -> int:
        """Threads that torch may use."""
        return max(1, int(self.cpu))

    @property
    def device(self) -> str:
        """The device follows what was granted, not what happens to be visible: a CPU worker never touches a GPU.

        Where a GPU was granted and torch can use none, a warning in the worker's log says so, and the CPU trains.
        """
        if self.gpu and not torch.cuda.is_available():
            warnings.warn("a GPU was granted, but torch can use none here: training on the CPU", stacklevel=2)
            return "cpu"
        return "cuda" if self.gpu else "cpu"

    def open(self, packs: list[list[RunConfig]] | None = None) -> PackQueue:
        """Begin to work on its packs, or on these, cut to what fits."""
        warn_in_words()
        store = Store(self.root)

        def open_pack(configs: list[RunConfig]) -> AnyPack:
            if configs[0].trainable is not None:
                return FunctionPack(configs[0], store, self.device, self.threads, self.keep, self.executor)
            how = (self.engine, self.keep, self.siblings, self.executor)
            return Pack(configs, store, self.device, self.threads, *how)

        return PackQueue(self.packs if packs is None else packs, store, open_pack, self.max_failures, self.heard)


def have_ended(lines: list[dict[str, Any]]) -> set[str]:
    """The runs that have come to an end by these lines of progress, which stands whatever happens to the worker.

    Not those that failed: should its process die, another one has the whole bundle, and tries them again.
    """
    return {line["run_id"] for line in lines if line["outcome"] not in (None, "failed")}


def make_bundles(
    study: Study, runs: list[Run], store: Store, resources: Mapping[str, float], workers: int, size: PackSize,
    sizes: Callable[[RunConfig], Sizes] = lambda _: {}, executor: str | None = None,
) -> list[Bundle]:  # fmt: skip
    """Put runs together as far as that pays, and packs into bundles.

    Packs are as large as the study says, or as `size` measures.
    """
    horizons = {run.run_id: run.config.train.steps for run in runs}
    steps = {run_id: state.step for run_id, state in read_states(store, horizons, scheduler_stops=False).items()}
    fixed = study.resources.pack
    packs = packs_of(runs, steps, size if isinstance(fixed, str) else lambda _, most: min(fixed, most), workers)
    groups = bundles_of(packs, workers)
    kept = study.resources
    keep = Keep(tuple(study.events.values()), kept.checkpoint_bytes, kept.keep_checkpoints == "all")
    return [
        Bundle(
            code=tuple({name: code_of(name) for name in study.code.values()}.values()),
            root=store.uri,
            packs=[[run.config for run in pack] for pack in group],
            sizes=[sizes(pack[0].config) for pack in group],
            cpu=resources["cpu"],
            gpu=resources["gpu"],
            max_failures=study.resources.max_failures,
            keep=keep,
            engine=study.resources.engine,
            executor=executor,
            heard=study.scheduler.stops,
            siblings={run.run_id: run.siblings for pack in group for run in pack if run.siblings.run_ids},
        )
        for group in groups
    ]
