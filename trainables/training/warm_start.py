"""The state of another run at an exact step, for a run that does not start from scratch.

Read from the newest checkpoint that is not beyond the step; where that is earlier, the source's updates from there on
are repeated in memory. Nothing is recorded, and nothing is written into the source's directory. On a CPU the result is
bit for bit what the source had there, if the source trained alone (in a pack: within float tolerance) and with one
engine throughout, by which its steps are repeated. The worker is silent meanwhile: a repetition that takes longer than
GROKSTUDY_SILENCE_S (10 minutes) needs that to be raised.

With `state: weights` only the weights are taken. The moments of the optimiser, its warm-up, the step count and the
average of the weights (`train.ema`) begin anew, with the options of the run that starts: fine-tuning as in arXiv
2601.09049, whose own learning rate is half that of pretraining (docs/science.md#transfer).

With `state: all` the run is a fork: moments and average are taken, too, and updates are counted on, so that learning
rate, bias corrections and the words of the batches go on. A fork that changes nothing is the source's own continuation
(docs/science.md#forks).
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from grokstudy.trainables.config import NUMERICS, RunConfig, Start
from grokstudy.trainables.models import build
from grokstudy.trainables.models.network import Network
from grokstudy.trainables.storage import checkpoint
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.tasks import TASKS
from grokstudy.trainables.training.batches import TrainingSet
from grokstudy.trainables.training.engine import CHUNK, Engine
from grokstudy.trainables.training.stepper import Mode, engine_again


def check_start(config: RunConfig, store: Store) -> None:
    """Raise ValueError, naming what to do, when the run cannot start where it is told to. None starts from scratch."""
    if config.start is not None:
        _source(config, config.start, store)


def beginning(
    config: RunConfig, model: Network, restored: checkpoint.Checkpoint | None, store: Store, device: torch.device
) -> tuple[Tensor, checkpoint.Checkpoint | None]:
    """What a run's updates begin with: flat parameters (P,), and the state whose moments it takes, None for fresh ones.

    Of its own checkpoint, of another run, or of its seed. Raises ValueError as `check_start`.
    """
    if restored is not None:
        return restored.flat_P, restored
    if config.start is not None:
        state = starting_state(config, config.start, store, device)
        return state.flat_P, state if config.start.state == "all" else None
    return model.initial(config.starting_seed), None


def starting_state(config: RunConfig, start: Start, store: Store, device: torch.device) -> checkpoint.Checkpoint:
    """The source's state after `start.step` updates, repeated from its newest checkpoint before.

    Raises ValueError as `check_start`.
    """
    source, mode = _source(config, start, store)
    saved, _ = checkpoint.newest(RunDir(store, start.run_id), start.step)
    if saved is not None and saved.step == start.step:
        return saved
    data = TASKS[source.task].build(source.data, source.seed, source.eval.max_examples)
    model = build(source.model, source.example)
    training = TrainingSet.of([source], [data], device)
    flat_P, moments = beginning(source, model, saved, store, device)
    engine = Engine(model, [source], training, [flat_P], [moments], device, mode)
    for step in range(0 if saved is None else saved.step, start.step, CHUNK):
        engine.train(step, min(step + CHUNK, start.step))
    return engine.checkpoint(0, start.step)


def _source(config: RunConfig, start: Start, store: Store) -> tuple[RunConfig, Mode]:
    """The source, and how its steps were carried out the last time: compiled ones round differently."""
    run = RunDir(store, start.run_id)
    described = run.read("run.json")
    if described is None:
        raise ValueError(f"start.run_id: {store.uri} has no run {start.run_id}; train it there first")
    source = run.config()
    assert source is not None, "described"
    origin = f"in run {start.run_id}, where this one starts"
    for key, value in dataclasses.asdict(source.model).items():
        if getattr(config.model, key) != value:
            raise ValueError(f"model.{key}: is {getattr(config.model, key)!r}, but {value!r} {origin}")
    if start.state == "all" and source.optim.name != config.optim.name:
        raise ValueError(
            f"optim.name: is {config.optim.name}, but {source.optim.name} {origin}; a fork keeps its moments"
        )
    if start.state == "all" and source.start is not None and source.offset:
        raise ValueError(f"start.state: run {start.run_id} is a fork itself; fork run {source.start.run_id} instead")
    for what in ("fields", "reals", "classes", "outputs", "longest"):
        own, other = getattr(config.example, what), getattr(source.example, what)
        if own != other:
            raise ValueError(f"data: an example has {what} {own}, but {other} {origin}")
    reached = max([int((run.read("DONE.json") or {}).get("step", 0)), *checkpoint.steps(run)])
    if reached < start.step:
        raise ValueError(f"start.step: run {start.run_id} has only {reached} of {start.step} steps; train it further")
    if (described.get("numerics"), source.numerics) != (NUMERICS, NUMERICS) and start.step not in checkpoint.steps(run):
        old = f"was trained by numerics {described.get('numerics')}, these are {NUMERICS}"
        raise ValueError(f"start.run_id: run {start.run_id} {old}, so it cannot be repeated; train it anew")
    return source, engine_again(described)
