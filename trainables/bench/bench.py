"""`python -m trainables bench`: how fast this machine trains, and how near that is to what it can do.

Every figure sets two things against each other, in turn and in this process: a step against a matrix product of the
same number format, a pack against one member at a time, chunks against a look at every step, one way of carrying out
steps against another. Examples are random. The comparison with the loops of others is `python -m benchmarks.engine`.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from grokstudy.trainables.bench.measure import Steps, figure, ratio, speeds, wait
from grokstudy.trainables.bench.speed import timed_engine
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.models import parameter_count, step_flops
from grokstudy.trainables.training.engine import CHUNK, Engine
from grokstudy.trainables.training.stepper import WARM_UP, Mode

PAPER_STEPS, CEILING_SHARE, PACK_SPEEDUP = 450.0, 0.5, 20.0
"""Targets on one H200: steps/s of the paper's shape alone, share of the ceiling in packs, gain of 64 small members."""
ENGINES: tuple[Mode, ...] = ("graph", "compile")
"""Ways of carrying out steps that are compared with eager ones."""
OPTIMISER_BYTES = 28
"""Traffic of AdamW per parameter: read weight, gradient and two moments, write all but the gradient."""


@dataclass(frozen=True)
class Workload:
    """What is measured on a kind of device."""

    large: RunConfig
    large_members: tuple[int, ...]
    widths: tuple[int, ...]
    members: tuple[int, ...]
    matmul: int
    """Side of the square matrices whose product is the ceiling."""
    rounds: int = 3


NEVER = 50_000_000
"""Steps of a run that is stopped by the clock long before; more would be refused as too many evaluations."""


def shape(width: int, layers: int, batch: int, precision: str) -> RunConfig:
    """A run of the paper's recipe and data (arXiv 2405.15071) at some size."""
    data = {"entities": 2000, "relations": 200, "out_degree": 20, "ood_fraction": 0.05}
    model = {"layers": layers, "loops": 1, "width": width, "heads": max(1, width // 64)}
    optim = {"lr": 1e-4, "weight_decay": 0.1, "decay": "matrices", "beta2": 0.999, "clip": 1.0}
    more = {"norm": "layernorm", "bias": True, "init": "gpt2"}
    train = {"steps": NEVER, "batch": batch, "precision": precision}
    return RunConfig.from_dict({"data": data, "model": {**model, **more}, "optim": optim, "train": train})


def small(width: int, precision: str) -> RunConfig:
    """A run as most studies have it: few entities, 2 blocks applied twice."""
    options = {"model": {"width": width}, "train": {"steps": NEVER, "batch": 256, "precision": precision}}
    return RunConfig.from_dict(options)


WORKLOADS = {
    "cuda": Workload(shape(768, 8, 512, "bf16"), (4, 16), (64, 128, 256), (4, 16, 64), 8192),
    "cpu": Workload(shape(256, 4, 64, "fp32"), (4,), (16, 64), (4,), 1024),
}


def bench(device: torch.device, seconds: float, engine: Mode = "auto") -> None:
    """Print every figure; `seconds` is the length of one round. With an engine named, the large shape alone."""
    table = Table(device, WORKLOADS[device.type], seconds, engine)
    table.large_shape()
    if engine != "auto":
        return
    table.packs()
    table.chunks()
    if device.type == "cuda":
        table.engines()


class Table:
    """The figures of one device."""

    def __init__(self, device: torch.device, sizes: Workload, seconds: float, engine: Mode = "auto") -> None:
        """Measure nothing yet."""
        self.device, self.sizes, self.seconds, self.engine = device, sizes, seconds, engine
        self.precision = sizes.large.train.precision

    def large_shape(self) -> None:
        """The large shape alone and in packs, against the matrix product; speed, floor and peak memory."""
        for members in (1, *self.sizes.large_members):
            if self.device.type == "cuda":
                gc.collect()
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(self.device)
            steps = self.steps(self.sizes.large, members, self.engine)
            per_second = self._speeds({"step": steps, "matmul": self.matmul(), "copy": self.copy()})
            self._floor(per_second, members)
            products = members * self.flops(self.sizes.large) / (2 * self.sizes.matmul**3)
            target = self._target(CEILING_SHARE if members > 1 else None)
            ratio("bench/share_of_matmul_ceiling", per_second, "step", "matmul", products, target, members=members)
            if self.device.type == "cuda":
                peak = torch.cuda.max_memory_allocated(self.device) / 2**30
                figure("bench/peak_memory", [peak], "GiB", members=members, **_about(self.sizes.large))

    def _floor(self, per_second: dict[str, list[float]], members: int) -> None:
        """Steps per second, beside the most that the products and the optimiser's traffic allow here."""
        config, side = self.sizes.large, self.sizes.matmul
        matmul, copy = (statistics.median(per_second[name]) for name in ("matmul", "copy"))
        products = members * self.flops(config) / (2 * side**3 * matmul)
        parameters = members * parameter_count(config.model, config.example)
        traffic = parameters * OPTIMISER_BYTES / (2 * 4 * side**2 * copy)
        about = {
            "floor_per_s": round(1 / (products + traffic), 1), "matmul_tflops": round(2 * side**3 * matmul / 1e12, 3),
            "copy_gb_per_s": round(2 * 4 * side**2 * copy / 1e9, 1), "engine": self.engine, **_about(config),
        }  # fmt: skip
        target = self._target(PAPER_STEPS if members == 1 else None)
        figure("bench/steps", per_second["step"], "steps per s", target, members=members, **about)

    def packs(self) -> None:
        """Summed speed of a pack over that of its members one at a time."""
        for width in self.sizes.widths:
            config = small(width, self.precision)
            alone = self.steps(config)
            for members in self.sizes.members:
                per_second = self._speeds({"pack": self.steps(config, members), "alone": alone})
                target = self._target(PACK_SPEEDUP if members == 64 else None)
                about = {"width": width, "members": members}
                ratio("bench/pack_vs_one_at_a_time", per_second, "pack", "alone", members, target, **about)

    def chunks(self) -> None:
        """Chunks against a look at the metrics after every step."""
        engine = timed_engine(small(64, self.precision), self.device)
        per_second = self._speeds({"chunked": in_chunks(engine), "synced": in_chunks(engine, 1)})
        ratio("bench/chunked_vs_synced", per_second, "chunked", "synced", width=64)

    def engines(self) -> None:
        """Each way of carrying out steps against eager ones."""
        for config in (self.sizes.large, small(64, self.precision)):
            for engine in ENGINES:
                modes: tuple[Mode, ...] = (engine, "eager")
                per_second = self._speeds({mode: self.steps(config, engine=mode) for mode in modes})
                ratio(f"bench/{engine}_vs_eager", per_second, engine, "eager", **_about(config))

    def steps(self, config: RunConfig, members: int = 1, engine: Mode = "auto") -> Steps:
        """Our steps in whole chunks."""
        gc.collect()  # the memory of the engine before
        steps = in_chunks(timed_engine(config, self.device, members, engine))
        if self.device.type == "cuda":
            steps(WARM_UP + 1)  # compiled and captured before anything is timed
        return steps

    def matmul(self) -> Steps:
        """Products of two square matrices in the number format of the large shape."""
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        left = torch.randn(self.sizes.matmul, self.sizes.matmul, device=self.device, dtype=dtype)
        out = torch.empty_like(left)
        return self._waited(lambda: torch.matmul(left, left, out=out))

    def copy(self) -> Steps:
        """Copies of a matrix of single precision."""
        source = torch.randn(self.sizes.matmul, self.sizes.matmul, device=self.device)
        out = torch.empty_like(source)
        return self._waited(lambda: out.copy_(source))

    def _waited(self, work: Callable[[], object]) -> Steps:
        def steps(count: int) -> None:
            for _ in range(count):
                work()
            wait(self.device)

        return steps

    def flops(self, config: RunConfig) -> float:
        """Of one member's step."""
        return step_flops(config.model, config.example, config.train.batch)

    def _target(self, value: float | None) -> float | None:
        """The targets are those of a GPU."""
        return value if self.device.type == "cuda" else None

    def _speeds(self, contestants: dict[str, Steps]) -> dict[str, list[float]]:
        return speeds(contestants, self.seconds, self.sizes.rounds)


def in_chunks(engine: Engine, chunk: int = CHUNK) -> Steps:
    """Steps as in training; the metrics leave the device once per chunk."""

    def steps(count: int) -> None:
        for start in range(0, count, chunk):
            engine.train(start, min(start + chunk, count))

    return steps


def _about(config: RunConfig) -> dict[str, Any]:
    return {"layers": config.model.layers, "width": config.model.width, "batch": config.train.batch}
