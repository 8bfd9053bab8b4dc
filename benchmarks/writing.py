"""What writing in a thread saves: a checkpoint and its parts every 100 steps, on this disk and on slow storage.

    python -m benchmarks.writing

`in_turn` waits for each file, as a loop without the thread does. The slow storage answers every request after 50 ms,
about what a bucket in another region does. Nothing is evaluated.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from benchmarks.scratch import scratch
from grokstudy.trainables.bench.measure import Steps, ratio, speeds
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.writer import Writer
from grokstudy.trainables.training.pack import Pack

EVERY = 100
LATENCY_S = 0.05


class SlowStore(Store):
    """A local store in which every request takes a while."""

    def write(self, relative: str, data: bytes) -> None:
        """Write after a while."""
        time.sleep(LATENCY_S)
        super().write(relative, data)

    def read(self, relative: str) -> bytes:
        """Read after a while."""
        time.sleep(LATENCY_S)
        return super().read(relative)

    def list(self, relative: str, *, recursive: bool = False) -> list[str]:
        """List after a while."""
        time.sleep(LATENCY_S)
        return super().list(relative, recursive=recursive)


class InTurn(Writer):
    """A writer that training waits for."""

    def later(self, work: Callable[[], None], size: int) -> None:
        """Do it now."""
        super().later(work, size)
        self.flush()


def training(config: RunConfig, store: type[Store], writer: type[Writer]) -> Steps:
    """Stretches of 100 steps of a run, each with a commit; all is written when they return."""
    pack = Pack([config], store(scratch()), "cpu", 1)
    pack.writer = writer()
    for member in pack.members:
        member.writer = member.recorder.writer = pack.writer

    def steps(count: int) -> None:
        goal = pack.step + count * EVERY
        while pack.step < goal:
            pack._segment()
        pack.writer.flush()

    return steps


def main() -> None:
    """Print a figure for each storage."""
    torch.set_num_threads(1)
    train = {"steps": 10**9, "batch": 64, "checkpoint_every": EVERY}
    config = RunConfig.from_dict({"eval": {"every": 10**9, "probes": []}, "train": train})
    for name, store in {"this disk": Store, "50 ms a request": SlowStore}.items():
        found = speeds({kind.__name__: training(config, store, kind) for kind in (Writer, InTurn)}, seconds=3.0)
        ratio("writing/thread_vs_in_turn", found, "Writer", "InTurn", storage=name, batch=64, checkpoint_every=EVERY)


if __name__ == "__main__":
    main()
