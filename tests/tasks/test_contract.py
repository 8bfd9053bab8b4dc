"""What every task keeps, stored or drawn: equal data for equal seeds, the shapes that it declares, exact resume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from grokstudy.trainables.bench.speed import evaluation_seconds, timed_engine
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.measurements import DECLARED, measurements
from grokstudy.trainables.models import build
from grokstudy.trainables.probes.splits import SplitBatch, stack_splits
from grokstudy.trainables.randomness import Stream
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.tasks import TASKS, known_splits, of_splits
from grokstudy.trainables.tasks.base import Fresh
from grokstudy.trainables.training.batches import Drawn, TrainingSet, WithOffset
from grokstudy.trainables.training.evaluate import evaluate
from grokstudy.trainables.training.pack import Pack

CPU = torch.device("cpu")
GRAPH = {"entities": 20, "relations": 8, "out_degree": 5, "ood_fraction": 0.2, "phi": 2.0}
DECODER = {"layers": 2, "loops": 1, "width": 16, "heads": 2}
SMALL: dict[str, dict[str, Any]] = {
    "two_hop": {"data": GRAPH, "model": DECODER},
    "two_hop_transfer": {"data": {**GRAPH, "new_facts": 10, "retained": 60}, "model": DECODER},
    "k_hop": {
        "data": {"hops": 3, "entities": 20, "relations": 8, "out_degree": 5, "ood_fraction": 0.2, "phi": 2.0},
        "model": DECODER,
    },
    "comparison": {
        "data": {"entities": 20, "attributes": 3, "values": 4, "ood_fraction": 0.4, "phi": 3.0}, "model": DECODER,
    },
    "complex_reasoning": {
        "data": {"entities": 20, "attributes": 3, "values": 4, "ood_fraction": 0.4}, "model": DECODER,
    },
    "synthetic_facts": {
        "data": {"real_entities": 20, "synthetic_entities": 20, "relations": 2, "values": 4, "ood_fraction": 0.4,
                 "phi_real": 1.0, "phi": 3.0}, "model": DECODER,
    },
    "icl_regression": {
        "data": {"context": 12}, "model": {"family": "attention", "heads": 1, "values": "fixed"},
        "optim": {"name": "sgd", "lr": 5.0, "weight_decay": 0.0},
    },
    "tree_path": {
        "data": {"depth": 2, "labels": 8}, "model": {"family": "attention", "heads": 2, "attention_std": 0.01},
    },
    "affine_icl": {"data": {"length": 6}, "model": DECODER},
    "cot_icl": {
        "data": {"patterns": 4, "examples": 6, "most_examples": 20},
        "model": {"family": "attention", "heads": 1, "attention_std": 0.05},
        "optim": {"name": "sgd", "lr": 1.0, "weight_decay": 0.0},
    },
    "graph_navigation": {"data": {"nodes": 24, "layers": 4, "edge": 0.3, "max_train_distance": 2}, "model": DECODER},
    "motif_chains": {
        "data": {"motifs": 6, "nodes": 4, "trained": 2, "tested": 3, "held_out": 1, "shuffled": True},
        "model": {**DECODER, "positions": "rope"},
    },
    "copy_retrieve": {"data": {"kind": "UR", "shortest": 3, "longest": 5}, "model": {**DECODER, "positions": "rope"}},
}  # fmt: skip
"""A run of each task that trains in a moment. A new task needs a line here."""


def config_of(task: str, seed: int = 0, **train: Any) -> RunConfig:
    small = SMALL[task]
    raw = {
        "task": task, "seed": seed, **small, "train": {"steps": 24, "batch": 16, "checkpoint_every": 8, **train},
        "eval": {"every": 12, "max_examples": 20, "probe_examples": 10},
    }  # fmt: skip
    config = RunConfig.from_dict(raw)
    assert config.problems() == []
    return config


def rows_of(store: Store, config: RunConfig) -> dict[str, list[dict[str, Any]]]:
    run = RunDir(store, config.run_id)
    found = {table: records.read(run, table).to_pylist() for table in ("steps", "evals", "probes")}
    return {t: [{k: v for k, v in row.items() if k != "attempt"} for row in rows] for t, rows in found.items()}


def trained(store: Store, *configs: RunConfig, **options: Any) -> None:
    pack = Pack(list(configs), store, "cpu", **options)
    while not pack.finished:
        pack.advance(60.0)


@pytest.fixture(params=list(TASKS))
def task(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    assert name in SMALL, f"add a small run of {name} to SMALL"
    return name


def test_the_same_seed_gives_the_same_data_and_another_seed_gives_others(task: str) -> None:
    options = config_of(task).data
    data, again, other = (TASKS[task].build(options, seed, 20) for seed in (0, 0, 1))
    assert data.hash == again.hash != other.hash
    assert set(data.splits) == set(TASKS[task].splits_of(options)) <= set(TASKS[task].splits) <= set(known_splits())
    assert all(0 < len(rows) <= 20 for rows in data.splits.values())
    headline, shown = of_splits(list(data.splits))
    assert {TASKS[task].headline, headline, *shown} <= set(data.splits)


def test_examples_have_the_shape_that_the_task_declares(task: str) -> None:
    config = config_of(task)
    shape, data = config.example, TASKS[task].build(config.data, 0, 20)
    training = TrainingSet.of([config], [data], CPU)
    batch = training.batch(training.words(0, 1, 16)[0])
    own = (shape.length, *((shape.reals,) if shape.reals else ()), *((len(shape.fields),) if shape.fields[1:] else ()))
    assert batch.inputs_MBx.shape == (1, 16, *own)
    assert batch.at_MBA.shape == (1, 16, shape.answers)
    assert batch.target_MBAx.shape == (1, 16, shape.answers, *((shape.outputs,) if shape.outputs else ()))
    for rows in data.splits.values():
        assert rows.inputs.shape[1] <= shape.longest
        assert 0 <= rows.at.min() <= rows.at.max() < rows.inputs.shape[1]
        if shape.classes:
            low, high = shape.range
            there = rows.target if rows.weight is None else rows.target[rows.weight > 0]
            assert low <= there.min() <= there.max() < high
        for place, size in enumerate(shape.fields):
            tokens = rows.inputs if len(shape.fields) == 1 else rows.inputs[..., place]
            assert 0 <= tokens.min() <= tokens.max() < size


def test_a_batch_is_the_same_in_a_pack_alone_and_in_a_chunk(task: str) -> None:
    configs = [config_of(task, seed) for seed in (3, 4)]
    data = [TASKS[task].build(c.data, c.seed, 20) for c in configs]
    together, alone = TrainingSet.of(configs, data, CPU), TrainingSet.of(configs[1:], data[1:], CPU)
    chunk = together.words(5, 9, 16)
    assert torch.equal(chunk[2], together.words(7, 8, 16)[0])
    assert torch.equal(chunk[:, 1:], alone.words(5, 9, 16))
    packed, solo = together.batch(chunk[2]), alone.batch(chunk[2][1:])
    assert torch.equal(packed.inputs_MBx[1:], solo.inputs_MBx)
    assert torch.equal(packed.target_MBAx[1:], solo.target_MBAx)
    together.keep(torch.tensor([1]))
    assert torch.equal(together.batch(chunk[2][1:]).inputs_MBx, solo.inputs_MBx)


def test_no_word_of_training_is_one_of_a_test(task: str) -> None:
    config = config_of(task)
    data = TASKS[task].build(config.data, 0, 200)
    if data.train is not None:
        pytest.skip("a stored task says in tests of its own which splits are trained on")
    trained_on = set(TrainingSet.of([config], [data], CPU).words(0, 100, 16).flatten().tolist())
    for split in data.splits:
        assert not trained_on & set(Stream(0, f"eval/{split}").raw(200).view(np.int64).tolist())


def test_what_is_measured_is_what_the_task_declares(task: str) -> None:
    config, kind = config_of(task), TASKS[task]
    data = kind.build(config.data, 0, 20)
    model = build(config.model, config.example)
    weights = model.unpack(model.initial(0)[None])
    with torch.no_grad():
        behaviours = evaluate(model, weights, stack_splits([data], CPU), kind, 5)
    assert [b.split for b in behaviours] == list(data.splits)
    for behaviour in behaviours:
        assert set(behaviour.scores) == set(kind.metrics)
        for value_M in (behaviour.accuracy_M, behaviour.loss_M, *behaviour.scores.values()):
            assert torch.isfinite(value_M).all()
    for probe, (attribute, _) in DECLARED.items():
        kind_of = {"looks": "look", "latents": "latent", "truths": "truth", "swaps": "swap"}[attribute]
        found = {name for rows in data.splits.values() for name in getattr(rows.mechanism, kind_of)}
        assert found == set(getattr(kind, attribute)), probe


def test_its_speed_and_its_evaluation_can_be_measured_without_its_data(task: str) -> None:
    config = config_of(task)
    engine = timed_engine(config, CPU, 2)
    source = engine.training.source
    source = source.source if isinstance(source, WithOffset) else source
    assert isinstance(source, Drawn) == issubclass(TASKS[task], Fresh)  # drawing can take longer than the update
    assert np.isfinite(engine.train(0, 2)).all()
    assert min(evaluation_seconds(config)) > 0


def test_events_look_at_what_is_measured_by_default(task: str) -> None:
    kind = TASKS[task]
    names = measurements([kind])
    for event in (*kind.events.values(), *kind.earlier_events.values()):
        assert event.metric in {"accuracy", "loss", "margin", *kind.metrics, *names}
        assert set(event.split) <= set(kind.splits)


def test_training_repeats_alone_in_a_pack_and_after_an_interruption(task: str, tmp_path: Path) -> None:
    first, second = config_of(task, 0), config_of(task, 1)
    stores = {name: Store(tmp_path / name) for name in ("solo", "pack", "interrupted")}
    trained(stores["solo"], first)
    trained(stores["solo"], second)
    trained(stores["pack"], first, second)
    stopped = Pack([second], stores["interrupted"], "cpu")
    stopped._segment()
    stopped.checkpoint_now()
    trained(stores["interrupted"], second)
    solo = rows_of(stores["solo"], second)
    assert len(solo["steps"]) == 24
    assert rows_of(stores["interrupted"], second) == solo
    packed = rows_of(stores["pack"], second)
    for table in solo:
        assert [row.keys() for row in packed[table]] == [row.keys() for row in solo[table]]
    loss = [np.array([row["loss"] for row in rows["steps"]]) for rows in (solo, packed)]
    np.testing.assert_allclose(loss[0], loss[1], rtol=2e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it compiles
def test_compiled_steps_are_the_eager_ones_within_tolerance(task: str, tmp_path: Path) -> None:
    config = config_of(task)
    for mode in ("eager", "compile"):
        trained(Store(tmp_path / mode), config, engine=mode)
    eager, compiled = (rows_of(Store(tmp_path / mode), config)["steps"] for mode in ("eager", "compile"))
    np.testing.assert_allclose([r["loss"] for r in eager], [r["loss"] for r in compiled], rtol=1e-3, atol=1e-5)


def test_a_drawn_task_draws_on_the_words_alone(task: str) -> None:
    kind = TASKS[task]
    if not issubclass(kind, Fresh):
        pytest.skip("stored")
    options = config_of(task).data
    values = {name: torch.from_numpy(x) for name, x in kind.values([options], [0]).items()}
    word_MB = torch.arange(8)[None] * 7919
    draw: Callable[[], Any] = lambda: kind.draw(options, values, None, word_MB)  # noqa: E731
    once, reversed_ = draw(), kind.draw(options, values, None, word_MB.flip(1))
    assert torch.equal(once.inputs_MBx, draw().inputs_MBx)
    assert torch.equal(once.inputs_MBx, reversed_.inputs_MBx.flip(1))
    assert isinstance(SplitBatch.stack([kind.build(options, 0, 5).splits[kind.headline]], CPU), SplitBatch)


class HostWork(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What a CUDA graph cannot hold: values that the host reads, shapes that depend on them, constants sent along."""

    found: tuple[str, ...] = ()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        masks = [x for x in args[1] if x is not None and x.dtype == torch.bool] if func in INDEXED else []
        sized = torch.Tag.dynamic_output_shape in func.tags and (func not in INDEXED or masks)
        if sized or torch.Tag.data_dependent_output in func.tags or func is torch.ops.aten.lift_fresh.default:
            self.found = (*self.found, str(func))
        return func(*args, **(kwargs or {}))


INDEXED = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default)
"""Of a shape that is known, where no index is a mask."""


def test_a_step_could_be_captured_as_a_cuda_graph(task: str, tmp_path: Path) -> None:
    pack = Pack([config_of(task, seed) for seed in (0, 1)], Store(tmp_path), "cpu", engine="eager")
    pack.engine.train(0, 2)
    with HostWork() as host:  # type: ignore[no-untyped-call]
        pack.engine.update()
    assert host.found == ()


@pytest.mark.parametrize("work", [lambda x: x.max().item(), lambda x: x[x > 0], lambda x: x + torch.tensor([1.0, 2.0])])
def test_what_cannot_be_captured_is_seen(work: Callable[[torch.Tensor], Any]) -> None:
    x = torch.tensor([1.0, -1.0])
    with HostWork() as host:  # type: ignore[no-untyped-call]
        work(x)
    assert len(host.found) == 1
