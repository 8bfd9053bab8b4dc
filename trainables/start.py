"""The weights of another run at an exact step, for a run that does not start from scratch.

Read from the newest checkpoint that is not beyond the step; where that is earlier, the source's updates from there on
are repeated in memory. Nothing is recorded, and nothing is written into the source's directory. On a CPU the result is
bit for bit what the source had there, if the source trained alone (in a pack: within float tolerance).

Only the weights are taken. The moments of the optimiser, its warm-up, the step count and the average of the weights
(`train.ema`) begin anew, with the options of the run that starts: fine-tuning as in arXiv 2601.09049, whose own
learning rate is half that of pretraining (SCIENCE 1.8).
"""

from __future__ import annotations

import contextlib
import dataclasses

import torch
from torch import Tensor

from trainables import checkpoint
from trainables.batches import TrainingSet
from trainables.config import RunConfig, Start
from trainables.families import build
from trainables.losses import LOSSES
from trainables.optimizer import AdamW, learning_rates
from trainables.rundir import RunDir
from trainables.store import Store
from trainables.tasks import TASKS

CHUNK = 100
"""Steps whose batches are drawn at once."""


def check_start(config: RunConfig, store: Store) -> None:
    """Raise ValueError, naming what to do, when the run cannot start where it is told to. None starts from scratch."""
    if config.start is not None:
        _source(config, config.start, store)


def starting_weights(config: RunConfig, start: Start, store: Store, device: torch.device) -> Tensor:
    """Flat parameters (P,) of the source after `start.step` updates. Raises ValueError as `check_start`."""
    source = _source(config, start, store)
    saved, _ = checkpoint.newest(RunDir(store, start.run_id), start.step)
    if saved is not None and saved.step == start.step:
        return saved.flat_P
    return _replayed(source, saved, start.step, device)


def _source(config: RunConfig, start: Start, store: Store) -> RunConfig:
    run = RunDir(store, start.run_id)
    described = run.read("run.json")
    if described is None:
        raise ValueError(f"start.run_id: {store.uri} has no run {start.run_id}; train it there first")
    source = RunConfig.from_dict(described["config"])
    for key, there in dataclasses.asdict(source.model).items():
        if (here := getattr(config.model, key)) != there:
            raise ValueError(f"model.{key}: is {here!r}, but {there!r} in run {start.run_id}, where this one starts")
    if source.data.vocabulary != config.data.vocabulary:
        there = f"{source.data.vocabulary} in run {start.run_id}, where this one starts"
        raise ValueError(f"data: the vocabulary has {config.data.vocabulary} tokens, but {there}")
    reached = max([int((run.read("DONE.json") or {}).get("step", 0)), *checkpoint.steps(run)])
    if reached < start.step:
        raise ValueError(f"start.step: run {start.run_id} has only {reached} of {start.step} steps; train it further")
    return source


def _replayed(
    source: RunConfig, saved: checkpoint.Checkpoint | None, last: int, device: torch.device
) -> Tensor:
    """Repeat the source's updates up to step `last`, from a checkpoint or from its initial weights."""
    data = TASKS[source.task].build(source.data, source.seed, source.eval.max_examples)
    model = build(source.model, data.vocabulary)
    flat_P = model.initial(source.seed) if saved is None else saved.flat_P
    flat_MP = flat_P[None].to(device).clone()
    optimizer = AdamW([source], model.matrix_mask(), device)
    optimizer.begin(flat_MP, [saved])
    flat_MP.requires_grad_()
    training = TrainingSet([data.train], [source.seed], device)
    bf16 = source.train.precision == "bf16"
    for begin in range(0 if saved is None else saved.step, last, CHUNK):
        end = min(begin + CHUNK, last)
        index_KMB = training.indices(begin, end, source.train.batch)
        lr_KM = learning_rates([source], begin, end).to(device)
        for k, step in enumerate(range(begin, end)):
            with torch.autocast(device.type, dtype=torch.bfloat16) if bf16 else contextlib.nullcontext():
                batch = training.batch(index_KMB[k])
                loss_M = LOSSES[source.train.loss](model, model.unpack(flat_MP), batch)
            (grad_MP,) = torch.autograd.grad(loss_M.sum(), flat_MP)
            with torch.no_grad():
                optimizer.step(flat_MP, grad_MP, lr_KM[k], step)
    return flat_MP.detach()[0]
