"""`python -m trainables bench --check`: are the numbers of this device those of a CPU in single precision?

A small run is trained to the end each way, with evaluations, and compared in the loss of every step and in the step at
which each split reaches each accuracy. Limits are those of rounding that grows over the run, not of a wrong sign.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grokstudy.trainables.bench.measure import machine, verdict
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.tasks import DEFAULT, TASKS
from grokstudy.trainables.tasks.graph import IN_DISTRIBUTION
from grokstudy.trainables.training.pack import Pack
from grokstudy.trainables.training.stepper import Mode

TRAIN_STEPS, EARLY_STEPS, EVAL_EVERY = 400, 100, 10
TRAINED, HELD_OUT = IN_DISTRIBUTION[0], TASKS[DEFAULT].headline
THRESHOLDS = [(TRAINED, 0.2), (TRAINED, 0.5), (TRAINED, 0.9), (HELD_OUT, 0.5)]
"""Events that are compared: when the accuracy on a split reaches a value."""
FP32_LIMITS = {"loss": 1e-3, "events": 0.25}
"""Largest relative error allowed: mean of the loss over the early steps, and the worst event, by more than one
evaluation. Training amplifies rounding, so the loss of single late steps cannot be compared."""
BF16_LIMITS = {"loss": 2e-2, "events": 0.25}
"""The same for arithmetic in bfloat16."""


@dataclass(frozen=True)
class LearningCurve:
    """What came out of one run."""

    loss_K: NDArray[np.float64]
    reached: dict[tuple[str, float], float]
    """First step at which a split reaches an accuracy; infinity: it never does."""


def config_of(seed: int = 0, **train: Any) -> RunConfig:
    """A run of seconds that memorises, and generalises in both ways."""
    data = {"entities": 30, "relations": 10, "out_degree": 6, "ood_fraction": 0.2, "phi": 3.0, "exposure": "both_hops"}
    more = {"steps": TRAIN_STEPS, "batch": 128, "checkpoint_every": TRAIN_STEPS, **train}
    raw = {"seed": seed, "data": data, "model": {"width": 64}, "optim": {"lr": 4e-3}, "train": more}
    return RunConfig.from_dict({**raw, "eval": {"every": EVAL_EVERY, "probes": []}})


def curves(configs: list[RunConfig], device: str, engine: Mode = "auto") -> list[LearningCurve]:
    """Train these runs as one pack."""
    with tempfile.TemporaryDirectory(prefix="grokstudy-check-") as folder:
        store = Store(folder)
        pack = Pack(configs, store, device, engine=engine)
        while not pack.finished:
            pack.advance(60.0)
        return [_curve(RunDir(store, config.run_id)) for config in configs]


def _curve(run: RunDir) -> LearningCurve:
    evals = records.read(run, "evals").to_pydict()
    rows = list(zip(evals["split"], evals["step"], evals["accuracy"], strict=True))
    reached = {
        (split, level): min((step for s, step, accuracy in rows if s == split and accuracy >= level), default=np.inf)
        for split, level in THRESHOLDS
    }
    return LearningCurve(records.read(run, "steps")["loss"].to_numpy().astype(np.float64), reached)


def numbers_match(device: str) -> bool:
    """Print one line per comparison; returns whether all are within their limits."""
    first, second, rounded = config_of(), config_of(seed=1), config_of(precision="bf16")
    (own,) = curves([first], device)
    passed = [_compared("bf16 against fp32", curves([rounded], device)[0], own, BF16_LIMITS)]
    pack = curves([first, second], device)
    passed.append(_compared("first member of a pack against alone", pack[0], own))
    passed.append(_compared("second member of a pack against alone", pack[1], curves([second], device)[0]))
    if device != "cpu":
        passed.append(_compared(f"{device} against cpu, fp32", own, curves([first], "cpu")[0]))
        (eager,) = curves([first], device, "eager")
        passed.append(_compared("graph against eager", own, eager))
        passed.append(_compared("compiled against eager", curves([first], device, "compile")[0], eager))
    return all(passed)


def _compared(name: str, curve: LearningCurve, expected: LearningCurve, limits: dict[str, float] = FP32_LIMITS) -> bool:
    errors = {"loss": loss_error(curve, expected), "events": event_error(curve, expected)}
    passed = all(errors[key] <= limit for key, limit in limits.items())
    steps = [None if not np.isfinite(step) else int(step) for step in curve.reached.values()]
    line = {
        "check": name, "relative_error": {key: float(f"{error:.3g}") for key, error in errors.items()},
        "limit": limits, "verdict": verdict(passed), "event_steps": steps, "machine": machine(),
    }  # fmt: skip
    print(json.dumps(line), flush=True)
    return passed


def loss_error(curve: LearningCurve, expected: LearningCurve) -> float:
    """Mean over the early steps of the relative error of the loss."""
    return float(np.mean(np.abs(curve.loss_K - expected.loss_K)[:EARLY_STEPS] / expected.loss_K[:EARLY_STEPS]))


def event_error(curve: LearningCurve, expected: LearningCurve) -> float:
    """Largest relative error of an event's step beyond one evaluation; infinity where only one of the two has it."""
    pairs = [(curve.reached[event], expected.reached[event]) for event in THRESHOLDS]
    return float(max(0.0 if a == b else max(abs(a - b) - EVAL_EVERY, 0.0) / min(a, b) for a, b in pairs))
