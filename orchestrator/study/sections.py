"""The parts of a study that are not options of a run: its events when it names none, stopping rule, resources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from grokstudy.trainables.events import Event
from grokstudy.trainables.options import option

DEFAULT_EVENTS = {
    "memorised": Event(metric="accuracy", split=("train_ii",), at_least=0.95),
    "generalised": Event(metric="accuracy", split=("test_oo",), at_least=0.5),
    "circuit": Event(metric="circuit_strength", split=("test_oo",), at_least=0.5),
    "decodable": Event(metric="bridge_hit", split=("test_oo",), at_least=0.85),
}
"""`circuit` is causal: hop 1 writes a bridge that another query's hop 2 can use, and hop 2 can use a good bridge, both
measured by patching on queries that need not be answered (`trainables/probes/circuit.py`). `decodable` is what a logit
lens reads at the same place, used or not."""

TASK_EVENTS = {
    "two_hop": DEFAULT_EVENTS,
    "two_hop_transfer": {
        "learnt": Event(metric="accuracy", split=("new",), at_least=0.95),
        **{name: Event(metric="accuracy", split=(name,), at_least=0.5) for name in ("new_old", "old_new", "new_new")},
        "writer": Event(metric="hop1_writer", split=("new_old",), at_least=0.5),
        "reader": Event(metric="hop2_reader", split=("old_new",), at_least=0.5),
    },
}
"""The events of a study that names none, by task. Those of a transfer are about new facts in either hop."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The number that a search drives up or down: its last value, averaged over the seeds of a point."""

    metric: str = option("accuracy", "accuracy, loss or margin, or the name of a probe's measurement")
    split: str = option("test_oo", "evaluation split")


@dataclass(frozen=True, kw_only=True)
class Fifo:
    """Every trial runs to its end."""


@dataclass(frozen=True, kw_only=True)
class Asha:
    """Asynchronous successive halving (arXiv 1810.05934): trials that lag behind at a rung are stopped."""

    metric: str = option("accuracy", "accuracy, loss or margin, or the name of a probe's measurement")
    split: str = option("test_oo", "evaluation split")
    mode: Literal["max", "min"] = option("max", "whether more is better")
    grace_steps: int = option(1000, "steps that every trial gets", ge=1)
    reduction_factor: int = option(3, "of that many trials, one goes on past a rung", ge=2)


SCHEDULERS: dict[str, type[Any]] = {"fifo": Fifo, "asha": Asha}
"""Stopping rules by name."""


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
        "auto", "how steps are carried out: auto is a CUDA graph on a GPU and eager elsewhere; compile is torch.compile"
    )
    checkpoint_mb: float | Literal["all"] = option(
        "all", "megabytes of checkpoints that a run keeps, the newest two in any case; or all that the rules keep", gt=0
    )

    @property
    def checkpoint_bytes(self) -> int | None:
        """The budget of a run; None without one."""
        return None if isinstance(self.checkpoint_mb, str) else int(self.checkpoint_mb * 1e6)


AUTO_RESOURCES = Resources(cpu="auto", gpu="auto", workers="auto")
"""What `resources: auto` means."""
