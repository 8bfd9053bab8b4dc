"""Our loop against the loops that users have, and what recording every step costs.

    python -m benchmarks.engine [--device cpu|cuda]

On a CPU at small widths, on a GPU at the papers' shape; needs the extra `bench`.
"""

from __future__ import annotations

import argparse

import torch

from benchmarks import loops
from benchmarks.scratch import scratch
from grokstudy.trainables.bench.bench import WORKLOADS, in_chunks
from grokstudy.trainables.bench.measure import figure, ratio, speeds, timed
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.engine import CHUNK
from grokstudy.trainables.training.pack import Pack
from grokstudy.trainables.training.stepper import Mode

WIDTHS = (64, 128)
TARGETS = {"cpu": {"released": 20.0, "tidied": 2.0, "plain": 0.95}, "cuda": {"released": 10.0, "tidied": 3.0}}
"""Least ratio to each rival."""


def recorded(pack: Pack) -> None:
    """A chunk of steps as a run does it: every step recorded, and what was recorded committed when a part is due."""
    stop = pack.step + CHUNK
    pack._record(pack.engine.train(pack.step, stop))
    pack.step = stop
    if stop % pack.config.train.checkpoint_every == 0:
        pack.members[0].recorder.cut(stop)
        pack.writer.flush()


def _pack(config: RunConfig, device: str = "cpu", engine: Mode = "auto") -> Pack:
    return Pack([config], Store(scratch()), device, engine=engine)


def against_users_loops(config: RunConfig, device: torch.device) -> None:
    """The same shape: released, tidied, nn.Linear; ours as it is by default, and compiled."""
    width, batch = config.model.width, config.train.batch
    makers = {"released": loops.released, "tidied": loops.tidied, "plain": loops.plain}
    rivals = {name: makers[name](config, device) for name in TARGETS[device.type]}
    modes: dict[str, Mode] = {"ours": "auto", "compiled": "compile"}
    ours = {name: in_chunks(_pack(config, device.type, mode).engine) for name, mode in modes.items()}
    found = speeds({**ours, **rivals})
    for name in ours:
        for rival, target in TARGETS[device.type].items():
            ratio(f"engine/{name}_vs_{rival}", found, name, rival, at_least=target, width=width, batch=batch)


def recording_cost(config: RunConfig, engine: Mode, chunks: int = 30) -> None:
    """What keeping every step costs, as a share of the step, in chunks that alternate; `mean` counts every part."""
    bare, kept = _pack(config, engine=engine), _pack(config, engine=engine)
    contestants = {"off": lambda _: bare.engine.train(0, CHUNK), "on": lambda _: recorded(kept)}
    rounds = [{name: timed(steps, CHUNK) for name, steps in contestants.items()} for _ in range(chunks + 1)][1:]
    mean = sum(r["on"] for r in rounds) / sum(r["off"] for r in rounds) - 1
    about = {"engine": engine, "width": config.model.width, "mean": round(mean, 4)}
    figure("engine/recording_cost", [r["on"] / r["off"] - 1 for r in rounds], "share of step time", **about)


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    device = torch.device(parser.parse_args().device)
    torch.set_num_threads(1)
    if device.type == "cuda":
        against_users_loops(WORKLOADS["cuda"].large, device)
        return
    for width in WIDTHS:
        against_users_loops(loops.gpt2_shape(width), device)
    for engine in ("eager", "compile"):
        recording_cost(loops.gpt2_shape(64), engine)


if __name__ == "__main__":
    main()
