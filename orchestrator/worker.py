"""What Ray Tune runs: a pack of runs as a class trainable. One of the few files that know Ray.

Each `step()` trains for a heartbeat's time and reports where the pack stands. Ray's own checkpoints are not used:
a retried worker opens the run directories and goes on from what it finds there. Ray only ever retries a process that
died; what fails inside it is handled by `shift.py`.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any

from ray import tune

from orchestrator.notice import Notice
from orchestrator.shift import Shift
from trainables.config import RunConfig
from trainables.store import Store
from trainables.train import Pack

HEARTBEAT_S = 2.0


class PackTrainable(tune.Trainable):  # type: ignore[misc]
    """Trains the runs of `config["pack"]` under its root."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take over the pack, on what Ray granted."""
        pack = config["pack"]
        configs = [RunConfig.from_dict(raw) for raw in pack["runs"]]
        store, threads = Store(pack["root"]), max(1, int(pack["cpus"]))
        self.shift = Shift(
            configs, store, lambda runs: Pack(runs, store, device=_device(), threads=threads), pack["max_failures"]
        )
        self.notice = Notice(self.cleanup)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over another pack in the same process; the old one may have been ended by the scheduler."""
        if self.shift.unusable:
            os._exit(1)  # the next worker starts in a process of its own
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train for a heartbeat."""
        with self.notice.minded():
            lines = self.shift.advance(HEARTBEAT_S)
        return {
            "progress": lines,
            "done": self.shift.finished,
            "halt": self.shift.halt,
            "step": lines[0]["step"] if lines else 0,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            **{f"accuracy/{split}": value for split, value in (lines[0]["accuracy"] if lines else {}).items()},
        }

    def cleanup(self) -> None:
        """Leave a checkpoint when ended from outside."""
        with contextlib.suppress(Exception):
            self.shift.checkpoint_now()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing: the run directory is the state."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: `setup` has restored the run directory."""


def _device() -> str:
    return "cuda" if os.environ.get("CUDA_VISIBLE_DEVICES") else "cpu"
