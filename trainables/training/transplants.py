"""Transplants between two checkpoints of one run: read, set side by side, measured (`probes/cross_checkpoint.py`).

The weights are those that were evaluated: their average with `train.ema`. Both checkpoints must be there at their exact
steps; nothing is trained, and nothing is written.
"""

from __future__ import annotations

from typing import Any

import torch

from grokstudy.trainables.models import build
from grokstudy.trainables.probes.base import Scene
from grokstudy.trainables.probes.cross_checkpoint import cross_checkpoint
from grokstudy.trainables.probes.queries import Queries
from grokstudy.trainables.storage import checkpoint
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.tasks import TASKS
from grokstudy.trainables.tasks.graph import GraphData
from grokstudy.trainables.training.engine import precision


def transplants(run: RunDir, early: int, late: int, device: torch.device) -> list[dict[str, Any]]:
    """Rows {early, late, donor, receiver, split, layer, value, n}. Raises ValueError where a checkpoint is missing."""
    config = run.config()
    if config is None:
        raise ValueError(f"run {run.run_id} has not begun")
    data = TASKS[config.task].build(config.data, config.seed, config.eval.max_examples)
    if not isinstance(data, GraphData):
        raise ValueError(f"run {run.run_id} is of task {config.task}, which has no graph of facts and chains")
    model = build(config.model, config.example)
    queries = Queries.build([data], [config.seed], config.eval.probe_examples, device, ())
    untrained = model.initial(config.starting_seed)
    flat = {"early": _weights(run, early), "late": _weights(run, late), "untrained": untrained}
    scenes = {
        name: Scene(model, model.unpack(flat_P[None].to(device)), queries, config.example.range[1])
        for name, flat_P in flat.items()
    }
    with torch.no_grad(), precision(config, device):
        measured = list(cross_checkpoint(scenes))
    return [
        {
            "early": early, "late": late, "donor": donor, "receiver": receiver, "split": m.split, "layer": m.layer,
            "value": None if torch.isnan(m.value_M[0]) else float(m.value_M[0]), "n": int(m.n_M[0]),
        }
        for m in measured for donor, _, receiver in [m.probe.partition("_into_")]
    ]  # fmt: skip


def _weights(run: RunDir, step: int) -> torch.Tensor:
    saved, _ = checkpoint.newest(run, step)
    if saved is None or saved.step != step:
        kept_steps = ", ".join(map(str, checkpoint.steps(run))) or "none"
        raise ValueError(f"run {run.run_id} has no checkpoint of step {step}; it has: {kept_steps}")
    return saved.flat_P if saved.average_P is None else saved.average_P
