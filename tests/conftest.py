"""Fixtures that several tests share."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from grokstudy.orchestrator.execution.tuner import set_environment
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.store import Store

SMALL = {
    "data": {"entities": 20, "relations": 8, "out_degree": 5, "ood_fraction": 0.2, "phi": 2.0},
    "model": {"layers": 1, "loops": 2, "width": 16, "heads": 2},
    "train": {"steps": 60, "batch": 32, "checkpoint_every": 20},
    "eval": {"every": 10},
}
"""A configuration that trains in a second."""
LONGEST = ("cluster/test_ray_up.py", "docs/test_tutorial.py", "execution/test_executors.py", "packaging/test_wheel.py")
"""Files that take minutes. They begin first, so that no process waits for them at the end."""
SHOTS = Path(__file__).resolve().parents[1] / "test-output"
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
"""It runs as root here, without a graphics card, and fetches nothing."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files in front; all else as it was collected."""
    items.sort(key=lambda item: not str(item.path).endswith(LONGEST))


@pytest.fixture(autouse=True, scope="session")
def ray_settings() -> None:
    """Ray reads its environment when it is first imported, by whichever test that is: one without a token would have
    all later ones start clusters that do not know their own.
    """
    set_environment()


@pytest.fixture(autouse=True, scope="session")
def default_signals() -> None:
    """Under nohup, or in the background of a script, signals are ignored, and so they would be by what tests start."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The system's chromium, one for all tests; none is ever fetched."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed: scripts/system-packages.sh installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=CHROMIUM)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def shots() -> Path:
    """Where screenshots are kept to be looked at."""
    SHOTS.mkdir(exist_ok=True)
    return SHOTS
