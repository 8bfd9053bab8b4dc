"""The contract of a training function from outside, which `grokstudy check` tries, and one to start from.

The one place that says what a training function looks like to somebody who writes one.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.functions import Trainable, declared_by
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.function import FunctionPack

DATA = {"entities": 20, "relations": 8, "out_degree": 5, "ood_fraction": 0.2, "phi": 2.0}
STEPS = 12
TOLERANCE = 1e-4
"""Between losses that should be equal: an interruption may change how a library sums up, not what."""

SKELETON = '''\
"""A training function: a perceptron that looks up the answer. Any library, any model, any loop.

In a study beside this file: base: {{trainable: ./{file}:train, own: {{hidden: 32}}}}. `grokstudy check ./{file}:train`
tries it. Change it to what you want to train.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from grokstudy.trainables.functions import trainable
from grokstudy.trainables.options import option


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the perceptron."""

    hidden: int = option(32, "hidden units", ge=1)


@trainable(Options, uses=("optim.lr", "train.batch"), measures=("embedding_norm",), prefix_stable=True)
def train(config, run):
    torch.manual_seed(config.seed)
    shape = config.example
    model = torch.nn.Sequential(
        torch.nn.Embedding(shape.fields[0], config.own.hidden), torch.nn.Flatten(),
        torch.nn.Linear(shape.length * config.own.hidden, config.own.hidden), torch.nn.GELU(),
        torch.nn.Linear(config.own.hidden, shape.classes),
    ).to(run.device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.optim.lr)
    if run.restored is not None:
        model.load_state_dict(run.restored["model"])
        optimiser.load_state_dict(run.restored["optimiser"])

    def save():
        return {{"model": model.state_dict(), "optimiser": optimiser.state_dict()}}

    @torch.no_grad()
    def evaluate(step):
        for name, split in run.data.splits.items():
            inputs, target = (torch.as_tensor(x, device=run.device) for x in (split.inputs, split.target[:, 0]))
            logits = model(inputs)
            right = (logits.argmax(dim=1) == target).float().mean().item()
            run.evaluate(step, name, accuracy=right, loss=F.cross_entropy(logits, target).item())
            run.measure(step, "embedding_norm", model[0].weight.norm().item(), split=name)

    for step in run.steps(save, evaluate):
        batch = run.batch(step)
        loss = F.cross_entropy(model(batch.inputs_MBx[0]), batch.target_MBAx[0, :, 0])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        run.log(step, loss=loss.item())
'''


def skeleton(file: str) -> str:
    """The text of a training function to start from."""
    return SKELETON.format(file=file)


def contract(name: str) -> Iterator[tuple[str, str | None]]:
    """What a training function promises, each with what is wrong about it, if anything; on a small two-hop task."""
    config = _config(name, STEPS)
    problems = config.problems()
    yield "its default options are possible", f"{problems[0].key}: {problems[0].message}" if problems else None
    with tempfile.TemporaryDirectory() as folder:
        whole = _trained(config, Path(folder) / "whole")
        yield f"it logs {STEPS} updates and evaluates when that is due", None
        yield "the same seed gives the same run", _differ(whole, _trained(config, Path(folder) / "again"))
        interrupted = _trained(config, Path(folder) / "interrupted", stop=STEPS // 2)
        yield "interrupted, it goes on as if it had not been", _differ(whole, interrupted)
        if config.prefix_stable:
            shorter = _trained(_config(name, STEPS // 2), Path(folder) / "shorter")
            fault = _differ({step: loss for step, loss in whole.items() if step < STEPS // 2}, shorter)
            yield "a shorter run is the beginning of a longer one (prefix_stable)", fault


def _config(name: str, steps: int) -> RunConfig:
    uses = declared_by(name).uses
    raw: dict[str, Any] = {
        "data": DATA, "trainable": Trainable.of(name).to_json(),
        "train": {"steps": steps, "checkpoint_every": 3, **({"batch": 16} if "train.batch" in uses else {})},
        "eval": {"every": 4, "max_examples": 20},
    }  # fmt: skip
    return RunConfig.from_dict(raw)


def _trained(config: RunConfig, folder: Path, stop: int | None = None) -> Mapping[int, float]:
    """Loss by step of a run that is given up once at `stop`, and taken up again by another worker."""
    store = Store(folder)
    pack = FunctionPack(config, store, "cpu")
    while not pack.finished and (stop is None or pack.step < stop):
        pack.advance(math.inf if stop is None else 0.0)
    if not pack.finished:
        pack.checkpoint_now()
        FunctionPack(config, store, "cpu").advance(math.inf)
    rows = records.read(RunDir(store, config.run_id), "steps")
    return dict(zip(rows["step"].to_pylist(), rows["loss"].to_pylist(), strict=True))


def _differ(whole: Mapping[int, float], other: Mapping[int, float]) -> str | None:
    for step, loss in whole.items():
        if step not in other or not math.isclose(loss, other[step], rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            return f"the loss of update {step} is {loss:.6g} in one and {other.get(step, math.nan):.6g} in the other"
    return None
