"""SIGKILL at every single write and removal of a run, and at random times, in real processes.

The processes are forked from this one, so that a life costs a fraction of a second. GROKSTUDY_SEEDS sets how many
random seeds there are (3 by default).
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from deaths import DeadlyStore, live
from injury import train, unharmed

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.events import Event
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.retention import Keep
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(1500)]

Small = Callable[..., RunConfig]
SEEDS = int(os.environ.get("GROKSTUDY_SEEDS", "3"))
MOMENTS = ("before", "torn", "after")
EVERY = 1 if "GROKSTUDY_FAULTS" in os.environ else 3
"""`make test-faults` kills at every change, the normal run at every third."""


def kept_at(whole: RunDir, step: int) -> Keep:
    """Keep a checkpoint where the loss first is what it was at a step of the whole run."""
    rows = [row for row in records.read(whole, "evals").to_pylist() if row["split"] == "train_ii"]
    return Keep(
        (Event(metric="loss", split=("train_ii",), at_most={row["step"]: row["loss"] for row in rows}[step], for_=1),)
    )


def events(run: RunDir) -> list[str]:
    return [name for name in run.store.list(run.checkpoints) if "event-" in name]


def test_killed_at_every_change_of_the_root(small: Small, tmp_path: Path) -> None:
    config = small(train={"steps": 50}, eval={"every": 10, "probes": []})
    whole = train(config, Store(tmp_path / "whole"))
    keep, injected = kept_at(whole, 30), 0
    for moment in MOMENTS:
        for change in range(1, 1000, EVERY):
            root = tmp_path / f"{moment}-{change}"
            if live(partial(train, config, DeadlyStore(root, change, moment), keep)):
                break
            injected += 1
            run = train(config, Store(root), keep)
            unharmed(f"SIGKILL {moment} a write", run, whole)
            assert len(events(run)) == 1, "kept again, or still"
    assert injected >= 30 // EVERY


def test_killed_twice_at_the_same_places(small: Small, tmp_path: Path) -> None:
    """The second attempt restores, clears and rewinds: it dies there, too."""
    config = small(train={"steps": 50}, eval={"every": 10, "probes": []})
    whole = train(config, Store(tmp_path / "whole"))
    for change in range(1, 1000, EVERY):
        root = tmp_path / f"second-{change}"
        assert not live(partial(train, config, DeadlyStore(root, 7, "after")))
        if live(partial(train, config, DeadlyStore(root, change, "after"))):
            break
        unharmed("second SIGKILL, during recovery", train(config, Store(root)), whole)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_killed_at_random_times(small: Small, tmp_path: Path, seed: int) -> None:
    config = small(seed=seed, train={"steps": 300, "checkpoint_every": 20}, eval={"every": 10, "probes": []})
    begun = time.monotonic()
    whole = train(config, Store(tmp_path / "whole"))
    duration = time.monotonic() - begun
    store, chance, kills = Store(tmp_path / "hurt"), random.Random(seed), 0
    while RunDir(store, config.run_id).read("DONE.json") is None:
        kills += not live(lambda: train(config, store), chance.uniform(0.02, 0.5 * duration))
    unharmed("SIGKILL at random times", RunDir(store, config.run_id), whole, injected=kills)
