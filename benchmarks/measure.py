"""Alternating measurement and the one line per figure."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping

import torch

Steps = Callable[[int], object]
"""Carries out so many steps."""


def speeds(contestants: Mapping[str, Steps], seconds: float = 1.0, rounds: int = 5) -> dict[str, list[float]]:
    """Steps per second of each, in rounds that alternate, after a warm-up that also sizes the rounds."""
    counts = {}
    for name, steps in contestants.items():
        steps(2)
        begun = time.perf_counter()
        steps(3)
        counts[name] = max(1, int(seconds * 3 / (time.perf_counter() - begun)))
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, steps in contestants.items():
            begun = time.perf_counter()
            steps(counts[name])
            found[name].append(counts[name] / (time.perf_counter() - begun))
    return found


def figure(name: str, values: list[float], unit: str, **about: object) -> None:
    """Print one figure: median, spread (smallest and largest round), machine."""
    line = {
        "figure": name, "unit": unit, "median": round(statistics.median(values), 4),
        "low": round(min(values), 4), "high": round(max(values), 4), "rounds": len(values), **about,
        "machine": f"{platform.machine()} {_device()}, torch {torch.__version__}, {torch.get_num_threads()} threads",
    }  # fmt: skip
    print(json.dumps(line), flush=True)


def ratio(name: str, found: Mapping[str, list[float]], over: str, under: str, **about: object) -> None:
    """Print the ratio of two contestants, round by round."""
    values = [a / b for a, b in zip(found[over], found[under], strict=True)]
    speed = {f"{key}_per_s": round(statistics.median(found[key]), 2) for key in (over, under)}
    figure(name, values, f"{over} / {under}", **speed, **about)


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
