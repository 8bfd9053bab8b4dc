"""What a training function from outside takes: a few updates and evaluations of it, in a folder that is removed."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from functools import lru_cache
from typing import NamedTuple

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.function import FunctionPack

EVERY, LEAST_UPDATES, SECONDS = 3, 7, 3.0
"""Updates from one evaluation to the next; how many are tried, and for how long beyond those."""


class Tried(NamedTuple):
    """Of one run alone."""

    update_s: float
    evaluation_s: float
    state_bytes: int
    """Of what its `save` gives."""


@lru_cache(maxsize=64)
def tried(config: RunConfig, device: str = "cpu", threads: int = 1) -> Tried:
    """Train it for a moment. Raises what the function raises."""
    options = dataclasses.replace(config.eval, grid="linear", every=EVERY)
    train = dataclasses.replace(config.train, steps=10**6, checkpoint_every=10**6)
    with tempfile.TemporaryDirectory() as folder:
        pack = FunctionPack(dataclasses.replace(config, train=train, eval=options), Store(folder), device, threads)
        pack.advance(0.0)  # to the first update, with all that comes before
        plain: list[float] = []
        evaluated: list[float] = []
        began = time.perf_counter()
        while len(plain) + len(evaluated) < LEAST_UPDATES or time.perf_counter() - began < SECONDS:
            start = time.perf_counter()
            pack.advance(0.0)
            (evaluated if pack.step % EVERY == 0 else plain).append(time.perf_counter() - start)
        state = pack.run.state()
        pack.freeze([pack.config.run_id])
    update = statistics.median(plain)
    return Tried(update, max(statistics.median(evaluated) - update, 1e-6), 0 if state is None else state.nbytes)
