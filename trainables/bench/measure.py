"""Measurements that can be trusted: two things in turn in one process, and one JSON line per figure.

Ratios travel between machines; absolute times do not.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping

import torch

Steps = Callable[[int], object]
"""Carries out so many steps, and waits for them."""


def speeds(contestants: Mapping[str, Steps], seconds: float = 1.0, rounds: int = 5) -> dict[str, list[float]]:
    """Steps per second of each, in rounds that alternate, after a warm-up that also sizes the rounds."""
    counts = {}
    for name, steps in contestants.items():
        few = 1 if timed(steps, 1) > seconds else 5
        steps(few)
        counts[name] = max(1, int(seconds * few / timed(steps, few)))
    per_second: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, steps in contestants.items():
            per_second[name].append(counts[name] / timed(steps, counts[name]))
    return per_second


def timed(steps: Steps, count: int) -> float:
    """Seconds of so many steps."""
    start = time.perf_counter()
    steps(count)
    return time.perf_counter() - start


def figure(name: str, values: list[float], unit: str, at_least: float | None = None, **about: object) -> None:
    """Print one figure: median, spread (smallest and largest round), machine; and whether a target is met."""
    median = statistics.median(values)
    target = {} if at_least is None else {"target": at_least, "verdict": verdict(median >= at_least)}
    line = {
        "figure": name, "unit": unit, "median": round(median, 4),
        "low": round(min(values), 4), "high": round(max(values), 4), "rounds": len(values), **target, **about,
        "machine": machine(),
    }  # fmt: skip
    print(json.dumps(line), flush=True)


def ratio(
    name: str, per_second: Mapping[str, list[float]], over: str, under: str, times: float = 1.0,
    at_least: float | None = None, **about: object,
) -> None:  # fmt: skip
    """Print the ratio of two contestants, round by round; `times`: what a step of the first counts for."""
    values = [times * a / b for a, b in zip(per_second[over], per_second[under], strict=True)]
    medians = {f"{key}_per_s": round(statistics.median(per_second[key]), 2) for key in (over, under)}
    figure(name, values, f"{over} / {under}", at_least, **medians, **about)


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def verdict(passed: bool) -> str:
    """As it is printed."""
    return "PASS" if passed else "FAIL"


def machine() -> str:
    """What was measured on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return f"{platform.machine()} {device}, torch {torch.__version__}, {torch.get_num_threads()} threads"
