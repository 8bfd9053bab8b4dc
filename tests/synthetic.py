"""A root with a study whose answer is known: logistic curves in log step, in the files a real run writes."""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.records import SCHEMAS, encode
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store

EVENTS: dict[str, dict[str, Any]] = {
    "memorised": {"metric": "accuracy", "split": ["train_ii", "atomic_id"], "at_least": 0.95, "for": 3},
    "generalised": {"metric": "accuracy", "split": ["test_oo"], "at_least": 0.5, "for": 3},
    "circuit": {"metric": "bridge_hit", "split": ["test_oo"], "at_least": 0.9, "for": 3},
}
STEPS = 3000
EVERY = 100


@dataclass(frozen=True)
class Regime:
    """Where the answer and the bridge end, and the step at which they are half way."""

    answer: float
    answer_at: float
    bridge: float
    bridge_at: float


REGIMES = {
    "natural": Regime(answer=0.03, answer_at=2000, bridge=0.7, bridge_at=1200),
    "first_hop": Regime(answer=0.04, answer_at=2000, bridge=0.96, bridge_at=700),
    "second_hop": Regime(answer=0.8, answer_at=1300, bridge=0.6, bridge_at=1500),
    "both_hops": Regime(answer=0.92, answer_at=600, bridge=1.0, bridge_at=800),
}
"""Verdicts: neither, latent, fake, answer_first."""


def curve(step: np.ndarray, top: float, half_at: float, steepness: float = 5.0) -> np.ndarray:
    """A logistic curve in log step."""
    return np.asarray(top / (1 + (half_at / np.maximum(step, 1)) ** steepness))


def build(root: Path, name: str = "regimes", seeds: int = 3, steps: int = STEPS, **spec: Any) -> Path:
    """Write a study of four regimes; `spec` overrides keys of study.json."""
    rows = []
    for number, (regime, seed) in enumerate(itertools.product(REGIMES, range(seeds))):
        write_run(root, run_id(number), REGIMES[regime], seed, steps)
        rows.append(trial_row(name, number, steps, seed, **{"data.exposure": regime}))
    write_study(root, name, rows, axes=["data.exposure"], **spec)
    return root


def run_id(number: int) -> str:
    """All digits on purpose: a run id must never be read as a number."""
    return f"{number:016d}"


def trial_row(study: str, number: int, horizon: int, seed: int, state: str = "done", **axes: Any) -> dict[str, Any]:
    """One row of trials.parquet."""
    known = {"trial_id": f"{study}-{number:04d}", "run_id": run_id(number), "horizon": horizon}
    return {**known, "seed": seed, "state": state, **axes}


def write_study(root: Path, name: str, rows: list[dict[str, Any]], axes: list[str], **spec: Any) -> None:
    """Write study.json, study.yaml and trials.parquet."""
    store = Store(root)
    known = {"name": name, "hypothesis": "The answer and the circuit come together.", "spec_hash": "0" * 16}
    described = {**known, "events": EVENTS, "axes": axes, "seeds": 3, "base": {"train": {"steps": STEPS}}}
    store.write_json(f"studies/{name}/study.json", {**described, **spec})
    store.write(f"studies/{name}/study.yaml", f"name: {name}\n# four regimes\n".encode())
    buffer = io.BytesIO()
    pl.DataFrame(rows).write_parquet(buffer)
    store.write(f"studies/{name}/trials.parquet", buffer.getvalue())


def write_run(root: Path, run: str, regime: Regime, seed: int, steps: int = STEPS) -> None:
    """Write the three metric tables of one run, in two parts each."""
    store = Store(root)
    middle = steps // 2 // EVERY * EVERY
    for first, last in ((0, middle), (middle, steps + 1)):
        at = np.arange(first, last, EVERY)
        tables = {
            "steps": _steps(np.arange(first, min(last, steps))),
            "evals": _evals(at, regime, seed),
            "probes": _probes(at, regime, seed),
        }
        for table, rows in tables.items():
            arrow = pa.Table.from_pydict(rows, schema=SCHEMAS[table])
            store.write(f"metrics/{table}/run_id={run}/part-{first:09d}.parquet", encode(arrow))


def write_markers(
    root: Path, run: str, seed: int, steps: int = STEPS, started: float = 1.7e9, exposure: str = "natural", **done: Any
) -> None:
    """Write run.json, lease.json and DONE.json of a run that took a second for every ten steps."""
    store = Store(root)
    config = {**RunConfig().to_dict(), "seed": seed}
    config["train"] = {**config["train"], "steps": steps}
    config["data"] = {**config["data"], "exposure": exposure}
    about = {"config": config, "data_hash": "d" * 16, "commit": "c" * 40, "host": "here", "started": started}
    store.write_json(f"runs/{run}/run.json", about)
    store.write_json(f"runs/{run}/lease.json", {"attempt": 1, "token": "t", "reached": 0, "stuck": 0})
    end = {"step": steps, "reason": "finished", "seconds": steps / 10, "ended": started + steps / 10}
    store.write_json(f"runs/{run}/DONE.json", {**end, **done})


def build_tracked(root: Path, name: str = "regimes", seeds: int = 2, **spec: Any) -> Path:
    """As `build`, with the markers that a real run leaves."""
    build(root, name, seeds, **spec)
    for number, (regime, seed) in enumerate(itertools.product(REGIMES, range(seeds))):
        write_markers(root, run_id(number), seed, exposure=regime)
    return root


def _steps(step: np.ndarray) -> dict[str, Any]:
    loss = 0.05 + 5 / (1 + (step / 300) ** 2)
    flat = np.ones(len(step))
    return _attempt({"step": step, "loss": loss, "grad_norm": flat, "weight_norm": 30 * flat, "lr": 2e-3 * flat})


def _evals(at: np.ndarray, regime: Regime, seed: int) -> dict[str, Any]:
    late = 1 + 0.08 * seed
    accuracy = {
        "train_ii": curve(at, 1.0, 300 * late),
        "atomic_id": curve(at, 1.0, 200 * late),
        "test_ii": curve(at, 0.9, 500 * late),
        "test_oo": curve(at, regime.answer * (1 - 0.03 * seed), regime.answer_at * late),
    }
    split = np.repeat(list(accuracy), len(at))
    value = np.concatenate(list(accuracy.values()))
    step = np.tile(at, len(accuracy))
    rows = {"step": step, "split": split, "n": np.full(len(step), 100), "accuracy": value}
    return _attempt({**rows, "loss": 3 * (1 - value), "margin": 10 * value - 5})


def _probes(at: np.ndarray, regime: Regime, seed: int) -> dict[str, Any]:
    summary = curve(at, regime.bridge * (1 - 0.01 * seed), regime.bridge_at * (1 + 0.08 * seed))
    rows: list[tuple[Any, ...]] = [(int(s), "bridge_hit", None, None, v) for s, v in zip(at, summary, strict=True)]
    for layer in range(5):
        for place, position in enumerate(("h", "r1", "r2")):
            share = max(0.0, 1 - 0.3 * abs(layer - 2)) * (0.1, 1.0, 0.3)[place]
            values = zip(at, summary * share, strict=True)
            rows += [(int(s), "lens_bridge_hit", layer, position, v) for s, v in values]
    splits = ["test_oo"] * len(rows)
    rows += _causal(at[at > 0])
    splits += ["train_ii"] * (len(rows) - len(splits))
    step, probe, layers, positions, value = (list(column) for column in zip(*rows, strict=True))
    sites = {"layer": layers, "position": positions, "value": value, "n": [100] * len(rows)}
    return _attempt({"step": step, "probe": probe, "split": splits, **sites})


def _causal(at: np.ndarray) -> list[tuple[Any, ...]]:
    """Causal effects that run from h over r1 to r2, alike at every step but the first, where nothing is answered."""
    share = {"h": (0.6, 0.1, 0.0), "r1": (0.9, 0.7, 0.2), "r2": (0.3, 0.5, 1.0)}
    return [
        (int(step), probe, depth, position, scale * by_depth[depth - 1])
        for step, (probe, scale) in itertools.product(at, (("patch_effect", 1.0), ("restore", 0.8)))
        for position, by_depth in share.items()
        for depth in (1, 2, 3)
    ]


def _attempt(rows: dict[str, Any]) -> dict[str, Any]:
    return {"attempt": np.ones(len(rows["step"]), np.int16), **rows}


def build_grid(root: Path, name: str = "grid", seeds: int = 2) -> Path:
    """Write a study over two numeric axes and one of words: more phi and more decay help, shared blocks too."""
    points = itertools.product((1.8, 3.6, 7.2), (0.03, 0.3), ("shared", "untied"), range(seeds))
    rows = []
    for number, (phi, decay, depth, seed) in enumerate(points):
        strength = min(1.0, phi / 7.2 * (decay / 0.3) ** 0.2)
        regime = Regime(strength * (0.95 if depth == "shared" else 0.3), 900 / strength, strength, 800 / strength)
        write_run(root, run_id(number), regime, seed)
        row = trial_row(name, number, STEPS, seed)
        rows.append({**row, "data.phi": phi, "optim.weight_decay": decay, "depth": depth})
    write_study(root, name, rows, axes=["data.phi", "optim.weight_decay", "depth"])
    return root


def build_forks(root: Path, seeds: int = 3, at: int = 1500) -> Path:
    """Write `regimes`, and `forks`: what its runs with both hops exposed do from a step on, as they were and changed.

    Without decay the answer falls by half.
    """
    build_tracked(root, seeds=seeds)
    kept, rows = REGIMES["both_hops"], []
    source = list(REGIMES).index("both_hops") * seeds
    for number, (arm, seed) in enumerate(itertools.product(("control", "no_decay"), range(seeds)), start=1000):
        answer = kept.answer if arm == "control" else kept.answer / 2
        write_run(root, run_id(number), Regime(answer, 1.0, kept.bridge, 1.0), seed, 1000)
        write_markers(root, run_id(number), seed, 1000, exposure="both_hops")
        run = RunDir(Store(root), run_id(number))
        about = run.read("run.json") or {}
        about["config"]["start"] = {"run_id": run_id(source + seed), "step": at, "state": "all"}
        run.write("run.json", about)
        rows.append({**trial_row("forks", number, 1000, seed), "arm": arm})
    start = {"study": "regimes", "step": at, "state": "all"}
    write_study(root, "forks", rows, axes=["arm"], base={"train": {"steps": 1000}, "start_from": start})
    return root


def build_large(root: Path, runs: int, name: str = "large") -> Path:
    """Write a study of many runs over the four regimes, of which every fourth ended early: see `benchmarks.report`.

    The tables of a run are those of another of its regime, linked: a file per run and table, as a real study has.
    """
    rows = []
    for number in range(runs):
        regime, seed = list(REGIMES)[number % len(REGIMES)], number // len(REGIMES)
        first = number if number < 8 * len(REGIMES) else number % (8 * len(REGIMES))
        if number == first:
            write_run(root, run_id(number), REGIMES[regime], seed)
        for table in ("steps", "evals", "probes") if number != first else ():
            folder = root / f"metrics/{table}/run_id={run_id(number)}"
            folder.mkdir(parents=True)
            for part in (root / f"metrics/{table}/run_id={run_id(first)}").iterdir():
                (folder / part.name).hardlink_to(part)
        horizon = STEPS if seed % 4 else STEPS // 2
        rows.append(trial_row(name, number, horizon, seed, **{"data.exposure": regime}))
    write_study(root, name, rows, axes=["data.exposure"])
    return root
