"""Which runs train together: packs of equal shape at the same step, large enough to pay, small enough to share out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from grokstudy.orchestrator.runs.trials import Run
from grokstudy.trainables.config import RunConfig

BUNDLES_PER_WORKER = 16
"""Enough that workers end at about the same time, few enough that what a trial costs Ray Tune hardly counts."""

PackSize = Callable[[RunConfig, int], int]
"""(configuration, most members) -> members that pay on the hardware."""


def packs_of(runs: list[Run], steps: Mapping[str, int], size: PackSize, workers: int) -> list[list[Run]]:
    """Group runs into packs, the most expensive pack first.

    `steps` says where each run goes on (run_id -> step). No worker is left idle for the sake of a larger pack, and runs
    of similar length go together, so that few members wait for the longest.
    """
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault((*run.config.shape(), steps.get(run.run_id, 0)), []).append(run)
    share = max(1, len(runs) // max(1, workers))
    packs = [pack for group in groups.values() for pack in _cut(group, size, min(share, len(group)))]
    return sorted(packs, key=lambda pack: -sum(run.config.train.steps - steps.get(run.run_id, 0) for run in pack))


def bundles_of(packs: list[list[Run]], workers: int) -> list[list[list[Run]]]:
    """Share very many packs out in bundles, whose packs a worker trains one after the other; the order stays."""
    size = max(1, -(-len(packs) // (BUNDLES_PER_WORKER * max(1, workers))))
    return [packs[start : start + size] for start in range(0, len(packs), size)]


def _cut(group: list[Run], size: PackSize, most: int) -> list[list[Run]]:
    ordered = sorted(group, key=lambda run: -run.config.train.steps)
    members = 1 if most == 1 else max(1, min(most, size(ordered[0].config, most)))
    return [ordered[start : start + members] for start in range(0, len(ordered), members)]
