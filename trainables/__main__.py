"""`python -m trainables`: train runs without Ray, on any machine with torch, numpy and pyarrow.

SIGTERM and Ctrl-C end it at the next whole chunk of steps, with a checkpoint and exit code 3; the same command resumes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from grokstudy.trainables.messages import warn_in_words

if TYPE_CHECKING:
    from grokstudy.trainables.config import RunConfig

HEARTBEAT_S = 10.0
INTERRUPTED = 3


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m trainables", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train one run, or several of equal shape as one pack")
    train.add_argument("--config", type=Path, nargs="+", required=True, help="run.json files, or bare configurations")
    train.add_argument("--out", required=True, help="root folder or URI for checkpoints and metrics")
    train.add_argument("--steps", type=int, help="training length instead of the configured one")
    train.add_argument("--device", default="auto", help="cpu, cuda or auto")
    train.add_argument("--threads", type=int, help="torch threads")
    train.add_argument("--engine", default="auto", help="eager, graph, compile or auto; changes no number")
    bench = commands.add_parser("bench", help="how fast this machine trains, as one JSON line per figure")
    bench.add_argument("--device", default="auto", help="cpu, cuda or auto")
    bench.add_argument("--check", action="store_true", help="first compare the numbers with those of a CPU")
    bench.add_argument("--seconds", type=float, help="length of one round of a measurement")
    bench.add_argument("--engine", default="auto", help="as for train; only the large shape is then measured")
    bench.add_argument("--threads", type=int, default=1, help="torch threads; one, as each worker has")
    options = parser.parse_args(arguments)
    warn_in_words()
    return {"train": _train, "bench": _bench}[options.command](options)


def _train(options: argparse.Namespace) -> int:
    from grokstudy.trainables.storage.store import StorageError, Store
    from grokstudy.trainables.training.pack import Pack, failures_recorded

    try:
        configs = [_config(path, options.steps) for path in options.config]
        pack = Pack(configs, Store(options.out), options.device, options.threads, options.engine)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2

    def stop(*_: object) -> None:
        pack.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        with failures_recorded(pack):
            while not pack.finished and not pack.stopping:
                for progress in pack.advance(HEARTBEAT_S):
                    line = {name: value for name, value in vars(progress).items() if name != "evaluations"}
                    print(json.dumps(line), flush=True)
            pack.checkpoint_now()
    except StorageError as error:
        print(error, file=sys.stderr)
        return INTERRUPTED
    return 0 if pack.finished else INTERRUPTED


def _bench(options: argparse.Namespace) -> int:
    import torch

    from grokstudy.trainables.bench.bench import bench
    from grokstudy.trainables.bench.check import numbers_match
    from grokstudy.trainables.training.pack import chosen_device

    device = chosen_device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("bench: --device cuda, but torch sees no GPU here; --device cpu measures this machine", file=sys.stderr)
        return 2
    torch.set_num_threads(options.threads)
    same = numbers_match(device.type) if options.check else True
    try:
        bench(device, options.seconds or (0.5 if device.type == "cuda" else 0.3), options.engine)
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    return 0 if same else 1


def _config(path: Path, steps: int | None) -> RunConfig:
    from grokstudy.trainables.config import RunConfig

    try:
        raw = json.loads(path.read_text())
        config = RunConfig.from_dict(raw.get("config", raw) if isinstance(raw, dict) else raw)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    if steps is not None:
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, steps=steps))
    problems = config.problems()
    if problems:
        raise ValueError("\n".join(f"{path}: {problem}" for problem in problems))
    return config


if __name__ == "__main__":
    raise SystemExit(main())
