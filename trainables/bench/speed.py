"""How fast a configuration trains on this machine: a few steps, measured."""

from __future__ import annotations

import dataclasses
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grokstudy.trainables.bench.function import tried
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.models import build, parameter_count, step_flops
from grokstudy.trainables.probes import PROBES, needs
from grokstudy.trainables.probes.base import Scene
from grokstudy.trainables.probes.queries import Queries
from grokstudy.trainables.probes.splits import stack_splits
from grokstudy.trainables.probes.subject import Subject
from grokstudy.trainables.randomness import Stream
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.tasks import TASKS
from grokstudy.trainables.tasks.base import Fresh, StoredRows
from grokstudy.trainables.tasks.graph import GraphData
from grokstudy.trainables.training.batches import Drawn, Source, Table, TrainingSet, WithOffset
from grokstudy.trainables.training.engine import CHUNK, Engine, precision
from grokstudy.trainables.training.evaluate import evaluate, grouped
from grokstudy.trainables.training.pack import Pack
from grokstudy.trainables.training.stepper import WARM_UP, Mode

PROBE_FLOPS = 1.6e10
"""Largest training step that is measured as it is."""
REPETITIONS, REPETITION_S = 4, 0.15
"""How often a step or an evaluation is measured, and for how long at a time."""
EVALUATION_FLOPS = 1e10
"""Largest evaluation of the splits that is measured as it is."""
FEW = 8
"""Examples that are evaluated where it is not evaluations that are measured."""
DOUBLING_GAIN = 1.1
"""A pack is doubled only when the summed speed rises by a tenth."""
MEMORY_SHARE = 0.8
BYTES_PER_PARAMETER = 12
"""Weights and two moments in fp32."""
PROBE_BYTES, DATA_BYTES = 4e7, 3.2e8
"""Largest parameters, in fp32, and largest data that are allocated to measure. An engine takes 55 bytes a parameter."""
RECKONED_FLOPS = 3e10
"""Of a core, for what is reckoned; an estimate within a factor of two or three."""


def step_seconds(
    config: RunConfig, device: str = "cpu", threads: int = 1, engine: Mode = "auto", members: int = 1
) -> tuple[float, ...]:
    """Measured seconds of an optimiser step of a run alone or of a pack, in REPETITIONS; a moment's work, not minutes.

    With `engine` compile, compiling comes before the measurement; what it takes is not in the result.

    A large step is measured at two small batches and extended along the line through them: what a step costs without
    examples (the optimiser), plus what each example costs. A large model is measured by one of its blocks. Such
    estimates, within tens of per cent, and those of a training function are one number: their spread is not known.
    """
    if config.trainable is not None:
        return (tried(config, device, threads).update_s,)
    torch.set_num_threads(threads)
    at = torch.device(device)
    batch = config.train.batch
    full = step_flops(config.model, config.example, batch)
    if _is_large(config):
        block = _one_block(config)
        if block is None:
            return (members * full / RECKONED_FLOPS,)
        share = step_flops(block.model, config.example, batch) / full
        return (statistics.fmean(step_seconds(block, device, threads, engine, members)) / share,)
    if full <= PROBE_FLOPS:
        return _repeated_step(config, at, members, engine)
    small = max(1, int(batch * PROBE_FLOPS / full / 4))
    sizes = [dataclasses.replace(config.train, batch=size) for size in (small, 4 * small)]
    low, high = (_seconds_per_step(dataclasses.replace(config, train=train), at, members, engine) for train in sizes)
    per_example = max(high - low, 0.0) / (3 * small)
    return (high + per_example * (batch - 4 * small),)


def state_bytes(config: RunConfig) -> int:
    """Bytes of a checkpoint of one run: weights and two moments in fp32, or what a training function keeps."""
    if config.trainable is not None:
        return tried(config).state_bytes
    return BYTES_PER_PARAMETER * parameter_count(config.model, config.example)


def _is_large(config: RunConfig) -> bool:
    return 4 * parameter_count(config.model, config.example) > PROBE_BYTES


def _one_block(config: RunConfig) -> RunConfig | None:
    """The same model with one block, passed once; None where that is large, too."""
    block = dataclasses.replace(config, model=dataclasses.replace(config.model, layers=1, loops=1))
    return None if _is_large(block) else block


def evaluation_seconds(config: RunConfig, device: str = "cpu", threads: int = 1) -> tuple[float, ...]:
    """Measured seconds of one evaluation of one run with its probes, repeated; a large one on fewer examples, in
    proportion. One number alone where a large model is measured by one of its blocks, or a training function is tried.

    Raises ValueError when the data cannot be built as configured.
    """
    if config.trainable is not None:
        return (tried(config, device, threads).evaluation_s,)
    torch.set_num_threads(threads)
    stored = TASKS[config.task].memory(config.data)
    is_there = stored is None or stored[0] <= DATA_BYTES
    measured = (_one_block(config) if _is_large(config) else config) if is_there else None
    if measured is None:
        return (_forward_flops(config) / RECKONED_FLOPS,)
    parts = _evaluated(measured, torch.device(device))
    if measured is config:
        return tuple(splits_s + probes_s for splits_s, probes_s in parts)
    blocks = _forward_flops(config) / _forward_flops(measured)
    patched = config.depth / 2  # probes at each depth run what lies behind it
    return (blocks * statistics.fmean(splits_s + patched * probes_s for splits_s, probes_s in parts),)


def opening_seconds(config: RunConfig, threads: int = 1) -> tuple[float, ...]:
    """Measured seconds of what a run takes besides updates and evaluations: its data, its weights, its files; repeated.

    Of a run of one step that evaluates few examples. Not measured, and counted as nothing, where a training function
    trains or the model or its data is large.
    """
    stored = None if config.trainable is not None else TASKS[config.task].memory(config.data)
    if config.trainable is not None or _is_large(config) or (stored is not None and stored[0] > DATA_BYTES):
        return 0.0, 0.0
    few = dataclasses.replace(config.eval, probes=(), max_examples=FEW, generated=0)
    short = dataclasses.replace(config, train=dataclasses.replace(config.train, steps=1), eval=few, start=None)
    seconds = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            pack = Pack([short], Store(folder), "cpu", threads, "eager")
            while not pack.finished:
                pack.advance(math.inf)
            seconds.append(time.perf_counter() - began)
    return tuple(seconds[1:])


def _forward_flops(config: RunConfig) -> float:
    """Of the splits, forward."""
    splits = len(TASKS[config.task].splits_of(config.data))
    return step_flops(config.model, config.example, splits * config.eval.max_examples) / 3


def _evaluated(config: RunConfig, at: torch.device) -> list[tuple[float, float]]:
    """Seconds of the splits, and of the probes, after a warm-up: twice at least, for a spread."""
    options = config.eval
    share = min(1.0, EVALUATION_FLOPS / _forward_flops(config))
    data = TASKS[config.task].build(config.data, config.seed, max(1, int(share * options.max_examples)))
    model = build(config.model, config.example)
    weights = model.unpack(model.initial(config.seed)[None].to(at))
    splits = stack_splits([data], at)
    groups = grouped(model, splits)
    most = max(1, int(share * options.probe_examples))
    queries = None
    if isinstance(data, GraphData) and any(map(needs, options.probes)):
        queries = Queries.build([data], [config.seed], most, at, options.probes)

    def evaluated() -> list[Tensor]:
        freely = options.generated, options.temperature
        return [b.accuracy_M for b in evaluate(model, weights, splits, TASKS[config.task], *freely, groups)]

    def probed() -> list[Tensor]:
        scene = queries and Scene(model, weights, queries, config.example.range[1])
        subject = Subject(model, weights, splits, most)
        return [m.value_M for name in options.probes for m in PROBES[name](scene if needs(name) else subject)]

    def seconds(measure: Callable[[], list[Tensor]]) -> float:
        start = time.perf_counter()
        with torch.no_grad(), precision(config, at):
            for value in measure():
                value.cpu()
        return time.perf_counter() - start

    evaluations = [(seconds(evaluated) / share, seconds(probed) / share) for _ in range(3)][1:]
    while len(evaluations) < REPETITIONS and sum(map(sum, evaluations)) < REPETITIONS * REPETITION_S:
        evaluations.append((seconds(evaluated) / share, seconds(probed) / share))
    return evaluations


def pack_size(config: RunConfig, most: int, device: str = "cpu", threads: int = 1, share: float = 1.0) -> int:
    """Members of a pack beyond which the summed speed stops rising, or memory would not hold twice as many.

    Doubles the pack as long as that is worth DOUBLING_GAIN. On a CPU that is soon over: one member keeps a core busy.
    There Ray, just started, takes part of the core for a second, which would look like a gain. Steps are not compiled:
    what a pack gains is alike (docs/performance.md).
    `share` is the part of the GPU's memory that the pack may have, where several workers share it.
    """
    torch.set_num_threads(threads)
    at = torch.device(device)

    def summed_speed(members: int) -> float:
        return members / _seconds_per_step(config, at, members)

    members, speed = 1, summed_speed(1)
    while 2 * members <= most and _fits(at, share):
        doubled = summed_speed(2 * members)
        if at.type == "cpu" and doubled >= DOUBLING_GAIN * speed:  # again: what slowed the first may be over by now
            speed, doubled = max(speed, summed_speed(members)), max(doubled, summed_speed(2 * members))
        if doubled < DOUBLING_GAIN * speed:
            break
        members, speed = 2 * members, doubled
    return members


_pack_sizes: dict[Any, tuple[int, int]] = {}
"""(shape, device, threads, share) -> what was found, and the most that was asked for."""


def remembered_pack_size(config: RunConfig, most: int, device: str, threads: int, share: float) -> int:
    """`pack_size`, measured once in a process for runs of one shape."""
    key = config.shape(), device, threads, share
    found, tried_to = _pack_sizes.get(key, (1, 1))
    if tried_to < most and 2 * found > tried_to:  # it was the most, and not what pays
        found, tried_to = pack_size(config, most, device, threads, share), most
        _pack_sizes[key] = found, tried_to
    return min(found, most)


def _fits(device: torch.device, share: float) -> bool:
    """Whether twice the members that have just been run stay within their share of the GPU's memory."""
    if device.type != "cuda":
        return True
    peak = torch.cuda.max_memory_allocated(device)
    free, total = torch.cuda.mem_get_info(device)
    return 2 * peak < MEMORY_SHARE * min(free + peak, share * total)


def _seconds_per_step(config: RunConfig, device: torch.device, members: int = 1, engine: Mode = "auto") -> float:
    """Of the pack, over all repetitions."""
    return statistics.fmean(_repeated_step(config, device, members, engine))


def _repeated_step(config: RunConfig, device: torch.device, members: int, engine: Mode) -> tuple[float, ...]:
    """Seconds of a step of the pack in each repetition, after a warm-up."""
    trained = timed_engine(config, device, members, engine)
    trained.train(0, 1 if device.type == "cpu" else WARM_UP + 1)
    count, repetitions = 1, []
    for _ in range(REPETITIONS):
        start, done = time.perf_counter(), 0
        while done == 0 or time.perf_counter() - start < REPETITION_S:
            before = time.perf_counter()
            trained.train(0, count)
            done += count
            if time.perf_counter() - before < REPETITION_S / 4:  # as long as chunks do not outgrow a repetition
                count = min(2 * count, CHUNK)
        repetitions.append((time.perf_counter() - start) / done)
    return tuple(repetitions)


def timed_engine(config: RunConfig, device: torch.device, members: int = 1, engine: Mode = "auto") -> Engine:
    """An engine of so many members that is as fast as theirs will be, and there at once.

    Examples that a task draws for each step are drawn, which can take longer than the update; others are random.
    """
    model = build(config.model, config.example)
    task, members_data = TASKS[config.task], [config.data] * members
    fresh = Drawn(task, members_data, [*range(members)], device) if issubclass(task, Fresh) else None
    source: Source = fresh or Table([_noise(config)] * members, device)
    if config.model.positions == "learned_offset":
        source = WithOffset(source, config.example.length, config.example.longest)
    training = TrainingSet(source, list(range(members)), [0] * members, device)
    weights = [model.initial(0)] * members
    return Engine(model, [config] * members, training, weights, [None] * members, device, engine)


def _noise(config: RunConfig) -> StoredRows:
    """As many random examples as a batch has."""
    stream, rows, shape = Stream(0, "speed"), config.train.batch, config.example
    if shape.reals:
        inputs = stream.normal(rows * shape.length * shape.reals).reshape(rows, shape.length, shape.reals)
    else:
        sizes = np.array(shape.fields)
        inputs = (stream.uniform(rows * shape.length * len(sizes)).reshape(rows, shape.length, -1) * sizes).astype(int)
        inputs = inputs[..., 0] if len(sizes) == 1 else inputs
    at = np.tile(np.arange(shape.length - shape.answers, shape.length), (rows, 1))
    wanted = (rows, shape.answers) if shape.classes else (rows, shape.answers, shape.outputs)
    target = np.zeros(wanted, np.int64 if shape.classes else np.float32)
    return StoredRows(inputs, at, target)
