"""What Ray Tune runs: a pack of runs as a class trainable. One of the few files that know Ray.

Each `step()` trains for a heartbeat's time and reports where the pack stands. Ray's own checkpoints are not used:
a retried worker opens the run directories and goes on from what it finds there.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from ray import tune

from trainables.config import RunConfig
from trainables.store import Store
from trainables.train import Pack, failures_recorded

HEARTBEAT_S = 2.0


class PackTrainable(tune.Trainable):  # type: ignore[misc]
    """Trains the runs of `config["pack"]` under its root."""

    def setup(self, config: dict[str, Any]) -> None:
        """Open the pack on what Ray granted."""
        pack = config["pack"]
        configs = [RunConfig.from_dict(raw) for raw in pack["runs"]]
        threads = max(1, int(pack["cpus"]))
        self.pack = Pack(configs, Store(pack["root"]), device=_device(), threads=threads)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over another pack in the same process; the old one may have been ended by the scheduler."""
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train for a heartbeat."""
        with failures_recorded(self.pack):
            progress = self.pack.advance(HEARTBEAT_S)
        return {
            "progress": [vars(line) for line in progress],
            "done": self.pack.finished,
            "step": self.pack.step,
            "pid": os.getpid(),
            **{f"accuracy/{split}": value for split, value in progress[0].accuracy.items()},
        }

    def cleanup(self) -> None:
        """Leave a checkpoint when ended from outside."""
        with contextlib.suppress(Exception):
            self.pack.checkpoint_now()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing: the run directory is the state."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: `setup` has restored the run directory."""


def _device() -> str:
    return "cuda" if os.environ.get("CUDA_VISIBLE_DEVICES") else "cpu"
