"""`torch.compile` with its C++ backend, for real: what `engine: compile` does on a CPU.

On two threads, with enough examples that the kernels share them out: there, the gradient of an embedding as torch
itself compiles it does not repeat to the bit. All tests have one shape, which is compiled once.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_runs import train

from grokstudy.trainables.config import RunConfig, Start
from grokstudy.trainables.storage import checkpoint
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.pack import Pack
from grokstudy.trainables.training.stepper import Mode
from grokstudy.trainables.training.warm_start import starting_state

Small = Callable[..., RunConfig]
MODEL = {"layers": 1, "loops": 2, "norm": "layernorm", "bias": True}
TRAIN = {"batch": 512, "steps": 60, "checkpoint_every": 40}

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++: bash scripts/system-packages.sh"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own, while it compiles
]


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two threads; nothing that was compiled before this module, and nothing left behind."""
    torch.set_num_threads(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        yield
    torch.set_num_threads(1)


def test_compiled_steps_agree_with_launched_ones_to_rounding(small: Small, store: Store) -> None:
    config = small(model=MODEL, train=TRAIN)

    def curve(engine: Mode) -> NDArray[np.float32]:
        return Pack([config], store, engine=engine).engine.train(0, 30)

    np.testing.assert_allclose(curve("compile"), curve("eager"), rtol=1e-4)


def test_a_compiled_run_that_was_interrupted_ends_where_the_whole_one_does(small: Small, tmp_path: Path) -> None:
    config, whole, parts = small(model=MODEL, train=TRAIN), Store(tmp_path / "whole"), Store(tmp_path / "parts")
    once = train(config, whole, engine="compile")
    train(config, parts, to=40, engine="compile")
    again = train(config, parts, engine="compile")
    (found, _), (asked, _) = checkpoint.newest(again), checkpoint.newest(once)
    assert found is not None
    assert asked is not None
    assert found.step == asked.step == config.train.steps
    assert torch.equal(found.flat_P, asked.flat_P)


def test_a_start_repeats_a_compiled_source_to_the_bit(small: Small, store: Store, tmp_path: Path) -> None:
    source = small(model=MODEL, train=TRAIN)
    train(source, store, engine="compile")
    shorter = small(model=MODEL, train=TRAIN | {"steps": 50})
    exact, _ = checkpoint.newest(train(shorter, Store(tmp_path / "exact"), engine="compile"))
    assert exact is not None
    found_P = starting_state(source, Start(run_id=source.run_id, step=50), store, torch.device("cpu")).flat_P
    assert torch.equal(found_P, exact.flat_P)
