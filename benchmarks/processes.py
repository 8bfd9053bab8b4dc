"""Packs against a process per run: the same M runs, on the same cores, one thread each.

    python -m benchmarks.processes [MEMBERS ...]

`packed` is what we do: one process per core, each with its share of the runs as one pack. `apart` is what a shell loop
does: M processes that share the cores. Both train for the same time, in turn; figures are summed steps per second.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import sys
import time
from multiprocessing.connection import Connection

import torch

from grokstudy.trainables.bench.bench import small
from grokstudy.trainables.bench.measure import figure
from grokstudy.trainables.bench.speed import timed_engine

MEMBERS, WIDTHS = (4, 16, 64), (16, 64)
ROUNDS, SECONDS, STEPS = 3, 3.0, 10


def train(line: Connection, width: int, members: int) -> None:
    """A process: train so many members for a while whenever asked; answers with summed steps per second."""
    torch.set_num_threads(1)
    engine = timed_engine(small(width, "fp32"), torch.device("cpu"), members)
    engine.train(0, STEPS)
    line.send(0.0)
    while line.recv():
        begun, done = time.perf_counter(), 0
        while time.perf_counter() - begun < SECONDS:
            engine.train(0, STEPS)
            done += STEPS * members
        line.send(done / (time.perf_counter() - begun))


class Crew:
    """Processes that wait to be asked."""

    def __init__(self, width: int, shares: list[int]) -> None:
        """Start one per share, and wait until all are warm."""
        context = mp.get_context("forkserver")
        pairs = [context.Pipe() for _ in shares]
        self.lines = [ours for ours, _ in pairs]
        arguments = [(theirs, width, share) for (_, theirs), share in zip(pairs, shares, strict=True)]
        self.processes = [context.Process(target=train, args=a, daemon=True) for a in arguments]
        for process in self.processes:
            process.start()
        for line in self.lines:
            line.recv()

    def speed(self) -> float:
        """Summed steps per second of a round in which all train at once."""
        for line in self.lines:
            line.send(True)
        return sum(line.recv() for line in self.lines)

    def end(self) -> None:
        """Let all of them go."""
        for line, process in zip(self.lines, self.processes, strict=True):
            line.send(False)
            process.join()


def compare(width: int, members: int) -> None:
    """One figure."""
    cores = min(os.cpu_count() or 1, members)
    shares = [members // cores + (core < members % cores) for core in range(cores)]
    crews = {"packed": Crew(width, shares), "apart": Crew(width, [1] * members)}
    rounds = [{name: crew.speed() for name, crew in crews.items()} for _ in range(ROUNDS)]
    for crew in crews.values():
        crew.end()
    told = {f"{name}_per_s": round(sorted(r[name] for r in rounds)[len(rounds) // 2], 1) for name in crews}
    values = [r["packed"] / r["apart"] for r in rounds]
    figure("processes/pack_vs_processes", values, "packed / apart", width=width, members=members, cores=cores, **told)


def main(members: list[int]) -> None:
    """Print every figure."""
    mp.get_context("forkserver").set_forkserver_preload(["grokstudy.trainables.bench.speed"])
    for width in WIDTHS:
        for count in members:
            compare(width, count)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or list(MEMBERS))
