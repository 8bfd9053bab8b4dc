"""Runs trained in the test's own process, for tests that look at what a run leaves."""

from __future__ import annotations

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.pack import Pack
from grokstudy.trainables.training.stepper import Mode


def train(config: RunConfig, store: Store, to: int = 10**9, engine: Mode = "auto") -> RunDir:
    """Train to the end, or to the first stop at or after a step; everything is written when this returns."""
    pack = Pack([config], store, engine=engine)
    train_to(pack, to)
    pack.writer.flush()
    return RunDir(store, config.run_id)


def train_to(pack: Pack, step: int) -> None:
    """Train to the first stop at or after a step; what is written meanwhile may still be on its way."""
    while not pack.finished and pack.step < step:
        pack._segment()


def finish(config: RunConfig, store: Store) -> RunDir:
    """Train to the end as a worker does, in stretches of time."""
    pack = Pack([config], store)
    while not pack.finished:
        pack.advance(60.0)
    return RunDir(store, config.run_id)
