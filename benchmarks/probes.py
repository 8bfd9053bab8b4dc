"""Cost of the probes: one checkpoint of 1,000 queries against 50 training steps of the same model.

`python -m benchmarks.probes [--device cuda] [--members 8]` prints one JSON line: seconds per probe, seconds of the
whole set at 1,000 queries, seconds of 50 steps, and the share of the wall time that the default evaluation takes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Sequence

import torch

from benchmarks.scratch import scratch
from grokstudy.trainables import probes
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.probes.base import Scene
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.tasks import TASKS
from grokstudy.trainables.training.pack import Pack

QUERIES = 1000
STEPS = 50


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = RunConfig()
    pack = make_pack(config, options.members, options.device)

    def seconds(work: Callable[[], object]) -> float:
        return best_of(work, pack.device, options.repeats)

    steps = seconds(lambda: pack.engine.train(pack.step, pack.step + STEPS))
    ours = tuple(name for name in probes.PROBES if probes.needs(name))
    asked = dataclasses.replace(config.eval, probes=ours, probe_examples=full_cap(config))
    everything = dataclasses.replace(config, eval=asked)
    large = make_pack(everything, options.members, options.device)
    per_probe = {name: round(seconds(lambda name=name: measure(large, [name])), 4) for name in ours}
    whole = seconds(lambda: measure(large, ours))
    default = seconds(lambda: measure(pack, list(config.eval.probes)))
    evaluation = config.eval.every * steps / STEPS
    print(
        json.dumps(
            {
                "device": str(pack.device), "members": options.members, "torch": torch.__version__,
                "queries": len(large.queries.split_S), "whole_set_s": round(whole, 4), "steps_50_s": round(steps, 4),
                "whole_set_in_steps": round(whole / steps * STEPS, 1), "each_s": per_probe,
                "default_queries": len(pack.queries.split_S), "default_s": round(default, 4),
                "default_share_of_wall": round(default / (default + evaluation), 4),
            }
        )
    )  # fmt: skip


def full_cap(config: RunConfig) -> int:
    """Smallest cap per split with which all splits together reach 1,000 queries."""
    data = TASKS[config.task].build(config.data, config.seed, config.eval.max_examples)
    sizes = [len(data.splits[name]) for name in ("train_ii", "test_ii", "test_io", "test_oi", "test_oo")]
    return next(cap for cap in range(1, QUERIES + 1) if sum(min(cap, size) for size in sizes) >= QUERIES)


def make_pack(config: RunConfig, members: int, device: str) -> Pack:
    """Members that differ in their seed."""
    configs = [dataclasses.replace(config, seed=seed) for seed in range(members)]
    return Pack(configs, Store(scratch()), device, 1)


def measure(pack: Pack, names: Sequence[str]) -> None:
    """Run probes at the present weights, as an evaluation does."""
    with torch.no_grad():
        weights = pack.engine.evaluated()
        scene = Scene(pack.model, weights, pack.queries, pack.config.data.entities)
        measured = [m for name in names for m in probes.PROBES[name](scene)]
        torch.stack([m.value_M for m in measured]).cpu()


def best_of(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Least time of several repeats, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return min(times[1:])


if __name__ == "__main__":
    main()
