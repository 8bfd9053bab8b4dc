"""What Ray Tune runs: a bundle of packs as a class trainable. One of the few files that know Ray.

Each `step()` trains for a heartbeat's time and reports where the pack stands. Ray's own checkpoints are not used:
a retried worker opens the run directories and goes on from what it finds there. Ray only ever retries a process that
died; what fails inside it is handled by `pack_queue.py`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
from typing import Any

from ray import tune

from grokstudy.orchestrator.execution.bundle import HEARTBEAT_S, Bundle, Sizes
from grokstudy.orchestrator.execution.pack_size import kind_here
from grokstudy.orchestrator.execution.preemption import PreemptionNotice
from grokstudy.trainables.bench.speed import pack_size
from grokstudy.trainables.config import RunConfig


class PackTrainable(tune.Trainable):  # type: ignore[misc]
    """Trains the packs of `config["bundle"]` under its root, one after the other."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take over the bundle, on what Ray granted."""
        if not gc.get_freeze_count():
            gc.freeze()  # what the imports left; looking through it after each pack takes longer than a tiny run
        bundle: Bundle = config["bundle"]
        self.pack_queue = bundle.open(_packs(bundle))
        self.notice = PreemptionNotice(self.cleanup)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over another bundle in the same process; the old one may have been ended by the scheduler."""
        if self.pack_queue.unusable:
            os._exit(1)  # the next worker starts in a process of its own
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train for a heartbeat."""
        with self.notice.watched():
            lines = self.pack_queue.advance(HEARTBEAT_S)
        return {
            "progress": lines,
            "done": self.pack_queue.finished,
            "halt": self.pack_queue.halt,
            "pid": os.getpid(),
            "host": socket.gethostname(),
        }

    def freeze(self, run_ids: list[str]) -> None:
        """Train these runs no further; Ray carries this out between two heartbeats."""
        self.pack_queue.freeze(run_ids)

    def cleanup(self) -> None:
        """Leave a checkpoint when ended from outside."""
        with contextlib.suppress(Exception):
            self.pack_queue.checkpoint_now()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing: the run directory is the state."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: `setup` has restored the run directory."""


def _packs(bundle: Bundle) -> list[list[RunConfig]]:
    """The packs as they fit here: those cut for a larger GPU are cut again."""
    cut = []
    for configs, sizes in zip(bundle.packs, bundle.sizes, strict=True):
        most = _most(configs, sizes, bundle)
        cut += [configs[start : start + most] for start in range(0, len(configs), most)]
    return cut


def _most(configs: list[RunConfig], sizes: Sizes, bundle: Bundle) -> int:
    """Members that fit here: as the driver measured on this kind of GPU, or as measured now."""
    if len(configs) == 1 or not sizes:
        return len(configs)
    if (kind := kind_here()) in sizes:
        return sizes[kind]
    return pack_size(configs[0], len(configs), bundle.device, bundle.threads, min(bundle.gpu, 1.0))
