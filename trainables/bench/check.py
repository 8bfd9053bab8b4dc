"""`python -m trainables bench --check`: are the numbers of this device those of a CPU in single precision?

A small run is trained to the end each way, with evaluations, and compared in the loss of every step and in the step at
which each split reaches each accuracy. Limits are those of rounding that grows over the run, not of a wrong sign.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grokstudy.trainables.bench.measure import machine, verdict
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.pack import Pack
from grokstudy.trainables.training.stepper import Mode

STEPS, EARLY, EVERY = 400, 100, 10
EVENTS = [("train_ii", 0.2), ("train_ii", 0.5), ("train_ii", 0.9), ("test_oo", 0.5)]
SAME = {"loss": 1e-3, "events": 0.25}
"""Largest relative error allowed: mean of the loss over the early steps, and the worst event, by more than one
evaluation. Training amplifies rounding, so the loss of single late steps cannot be compared."""
ROUNDED = {"loss": 2e-2, "events": 0.25}
"""The same for arithmetic in bfloat16."""


@dataclass(frozen=True)
class Curve:
    """What came out of one run."""

    loss_K: NDArray[np.float64]
    reached: dict[tuple[str, float], float]
    """First step at which a split reaches an accuracy; infinity: it never does."""


def config_of(seed: int = 0, **train: Any) -> RunConfig:
    """A run of seconds that memorises, and generalises in both ways."""
    data = {"entities": 30, "relations": 10, "out_degree": 6, "ood_fraction": 0.2, "phi": 3.0, "exposure": "both_hops"}
    more = {"steps": STEPS, "batch": 128, "checkpoint_every": STEPS, **train}
    raw = {"seed": seed, "data": data, "model": {"width": 64}, "optim": {"lr": 4e-3}, "train": more}
    return RunConfig.from_dict({**raw, "eval": {"every": EVERY, "probes": []}})


def curves(configs: list[RunConfig], device: str, engine: Mode = "auto") -> list[Curve]:
    """Train these runs as one pack."""
    with tempfile.TemporaryDirectory(prefix="grokstudy-check-") as folder:
        store = Store(folder)
        pack = Pack(configs, store, device, engine=engine)
        while not pack.finished:
            pack.advance(60.0)
        return [_curve(RunDir(store, config.run_id)) for config in configs]


def _curve(run: RunDir) -> Curve:
    evals = records.read(run, "evals").to_pydict()
    rows = list(zip(evals["split"], evals["step"], evals["accuracy"], strict=True))
    reached = {
        (split, level): min((step for s, step, accuracy in rows if s == split and accuracy >= level), default=np.inf)
        for split, level in EVENTS
    }
    return Curve(records.read(run, "steps")["loss"].to_numpy().astype(np.float64), reached)


def check(device: str) -> bool:
    """Print one line per comparison; returns whether all are within their limits."""
    return all([_told(*line) for line in _comparisons(device)])


def _comparisons(device: str) -> Iterator[tuple[str, Curve, Curve, dict[str, float]]]:
    plain, rounded = config_of(), config_of(precision="bf16")
    (here,) = curves([plain], device)
    yield "bf16 against fp32", curves([rounded], device)[0], here, ROUNDED
    first, second = curves([plain, config_of(seed=1)], device)
    yield "first member of a pack against alone", first, here, SAME
    yield "second member of a pack against alone", second, curves([config_of(seed=1)], device)[0], SAME
    if device != "cpu":
        yield f"{device} against cpu, fp32", here, curves([plain], "cpu")[0], SAME
        (eager,) = curves([plain], device, "eager")
        yield "graph against eager", here, eager, SAME
        yield "compiled against eager", curves([plain], device, "compile")[0], eager, SAME


def _told(name: str, found: Curve, expected: Curve, limits: dict[str, float]) -> bool:
    errors = {"loss": loss_error(found, expected), "events": event_error(found, expected)}
    passed = all(errors[key] <= limit for key, limit in limits.items())
    steps = [None if not np.isfinite(step) else int(step) for step in found.reached.values()]
    line = {
        "check": name, "relative_error": {key: float(f"{error:.3g}") for key, error in errors.items()},
        "limit": limits, "verdict": verdict(passed), "event_steps": steps, "machine": machine(),
    }  # fmt: skip
    print(json.dumps(line), flush=True)
    return passed


def loss_error(found: Curve, expected: Curve) -> float:
    """Mean over the early steps of the relative error of the loss."""
    return float(np.mean(np.abs(found.loss_K - expected.loss_K)[:EARLY] / expected.loss_K[:EARLY]))


def event_error(found: Curve, expected: Curve) -> float:
    """Largest relative error of an event's step beyond one evaluation; infinity where only one of the two has it."""
    pairs = [(found.reached[event], expected.reached[event]) for event in EVENTS]
    return float(max(0.0 if a == b else max(abs(a - b) - EVERY, 0.0) / min(a, b) for a, b in pairs))
