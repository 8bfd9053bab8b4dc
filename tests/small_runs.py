"""Runs trained in the test's own process, for tests that look at what a run leaves."""

from __future__ import annotations

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.pack import Pack
from grokstudy.trainables.training.stepper import Mode

TWO_RUNS = """\
hypothesis: it grows, and is written whole
base:
  data: {entities: 20, relations: 8, out_degree: 5, ood_fraction: 0.2, phi: 2.0}
  model: {layers: 1, width: 16, heads: 2}
  train: {steps: 20, batch: 32, checkpoint_every: 10}
  eval: {every: 10, probes: []}
space:
  data.exposure: [natural, both_hops]
seeds: [0]
"""
"""A study of two runs that train in a second."""


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
