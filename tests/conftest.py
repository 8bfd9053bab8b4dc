"""Fixtures that several tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trainables.config import RunConfig
from trainables.store import Store

SMALL = {
    "data": {"entities": 20, "relations": 8, "out_degree": 5, "ood_fraction": 0.2, "phi": 2.0},
    "model": {"layers": 1, "loops": 2, "width": 16, "heads": 2},
    "train": {"steps": 60, "batch": 32, "checkpoint_every": 20},
    "eval": {"every": 10},
}
"""A configuration that trains in a second."""


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Sums in a fixed order: the same numbers on every machine with this torch."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failing storage is tried again for a moment only."""
    monkeypatch.setenv("GROKSTUDY_PATIENCE_S", "0.3")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty root."""
    return Store(tmp_path / "root")


@pytest.fixture
def small() -> Callable[..., RunConfig]:
    """Make a small configuration with some options changed: `small(seed=1, train={"steps": 5})`."""

    def make(**changes: object) -> RunConfig:
        merged: dict[str, object] = {**SMALL}
        for key, value in changes.items():
            base = SMALL.get(key)
            merged[key] = {**base, **value} if isinstance(base, dict) and isinstance(value, dict) else value
        return RunConfig.from_dict(merged)

    return make
