"""Our loop against the loops that users have; recording on and off, chunked and synced, packs and one at a time."""

from __future__ import annotations

import dataclasses
import tempfile

import torch

from benchmarks import loops
from trainables.config import RunConfig
from trainables.engine import CHUNK
from trainables.measure import Steps, figure, ratio, speeds
from trainables.store import Store
from trainables.train import Pack

WIDTHS = (64, 128)


def ours(config: RunConfig, members: int = 1) -> Steps:
    """Our loop in chunks, metrics kept, nothing written."""
    pack = _pack(config, members)
    return lambda count: chunks(pack, count)


def chunks(pack: Pack, count: int) -> None:
    """So many steps in whole chunks, their numbers dropped."""
    for start in range(0, count, CHUNK):
        pack.engine.train(start, min(start + CHUNK, count))


def synced(config: RunConfig) -> Steps:
    """Our loop, looking at the loss after every step."""
    pack = _pack(config, 1)

    def steps(count: int) -> None:
        for _ in range(count):
            pack.engine.train(0, 1)

    return steps


def recording(config: RunConfig) -> Steps:
    """Our loop with every step recorded and committed."""
    pack = _pack(config, 1)

    def steps(count: int) -> None:
        goal = pack.step + count
        while pack.step < goal:
            stop = min(pack.step + CHUNK, goal)
            pack._record(pack.engine.train(pack.step, stop))
            pack.step = stop
        pack.members[0].recorder.cut(pack.step)

    return steps


def unrecorded(config: RunConfig) -> Steps:
    """Our loop in the same chunks, its numbers dropped."""
    return ours(config)


def _pack(config: RunConfig, members: int) -> Pack:
    configs = [dataclasses.replace(config, seed=seed) for seed in range(members)]
    return Pack(configs, Store(tempfile.mkdtemp(prefix="grokstudy-bench-")), device="cpu", threads=1)


def against_users_loops() -> None:
    """The shape of GPT-2 at small width: released, tidied, nn.Linear."""
    for width in WIDTHS:
        config = loops.gpt2_shape(width)
        rivals = {"released": loops.released(config), "tidied": loops.tidied(config), "plain": loops.plain(config)}
        found = speeds({"ours": ours(config), **rivals})
        for rival in rivals:
            ratio(f"engine/ours_vs_{rival}", found, "ours", rival, width=width, batch=config.train.batch)


def recording_cost() -> None:
    """What keeping every step costs, as a share of the step."""
    config = loops.gpt2_shape(64)
    found = speeds({"off": unrecorded(config), "on": recording(config)}, seconds=2.0)
    cost = [off / on - 1 for off, on in zip(found["off"], found["on"], strict=True)]
    figure("engine/recording_cost", cost, "share of step time", width=64)
    found = speeds({"chunked": ours(config), "synced": synced(config)})
    ratio("engine/chunked_vs_synced", found, "chunked", "synced", width=64)


def packs() -> None:
    """Summed speed of a pack over that of its members one at a time, on one thread."""
    for width in (16, 64):
        config = loops.gpt2_shape(width, batch=64)
        for members in (4, 16):
            found = speeds({"pack": ours(config, members), "alone": ours(config)}, rounds=3)
            values = [members * pack / alone for pack, alone in zip(found["pack"], found["alone"], strict=True)]
            figure("engine/pack_vs_one_at_a_time", values, "summed speed ratio", width=width, batch=64, members=members)


def main() -> None:
    """Print every figure."""
    torch.set_num_threads(1)
    against_users_loops()
    recording_cost()
    packs()


if __name__ == "__main__":
    main()
