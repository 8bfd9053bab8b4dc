"""Starting from another run: the exact state, an untouched source, identity, resume, and what is impossible."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_runs import finish, train_to

from grokstudy.trainables.__main__ import main
from grokstudy.trainables.config import RunConfig, Start
from grokstudy.trainables.storage import checkpoint
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.pack import Pack
from grokstudy.trainables.training.warm_start import starting_state

Small = Callable[..., RunConfig]
CPU = torch.device("cpu")
NEW = {"new_facts": 10, "retained": 60}


def from_step(config: RunConfig, step: int, source: RunConfig) -> RunConfig:
    return dataclasses.replace(config, start=Start(run_id=source.run_id, step=step))


def transfer_of(small: Small, source: RunConfig, step: int, **changes: object) -> RunConfig:
    config = small(task="two_hop_transfer", data=NEW, train={"steps": 30}, **changes)
    return from_step(config, step, source)


def files(store: Store, run_id: str) -> dict[str, tuple[bytes, int]]:
    """Content and time of every file of a run."""
    found = [Path(store.path(path)) for path in store.list("", recursive=True) if run_id in path]
    return {str(path): (path.read_bytes(), os.stat(path).st_mtime_ns) for path in found if path.is_file()}


@pytest.mark.parametrize("step", [0, 30, 40, 50, 60])
def test_the_state_is_bit_for_bit_what_the_source_had(small: Small, tmp_path: Path, step: int) -> None:
    source, store = small(train={"checkpoint_every": 40}), Store(tmp_path / "root")
    finish(source, store)
    assert checkpoint.steps(RunDir(store, source.run_id)) == [40, 60]
    before = files(store, source.run_id)
    found = starting_state(source, Start(run_id=source.run_id, step=step), store, CPU).flat_P
    assert files(store, source.run_id) == before

    exact = Store(tmp_path / "exact")
    if step:
        finish(small(train={"steps": step, "checkpoint_every": 40}), exact)
        known = checkpoint.newest(RunDir(exact, source.run_id))[0]
        assert known is not None
        assert known.step == step
        assert torch.equal(found, known.flat_P)
    else:
        assert torch.equal(found, Pack([source], exact).model.initial(source.seed))


@pytest.mark.parametrize(
    "options", [{"train": {"ema": 0.9}}, {"train": {"precision": "bf16"}}, {"optim": {"clip": 0.1}}]
)
def test_replay_knows_every_option_of_the_loop(
    small: Small, tmp_path: Path, options: dict[str, dict[str, object]]
) -> None:
    def config(steps: int) -> RunConfig:
        train = {"checkpoint_every": 20, "steps": steps, **options.get("train", {})}
        return small(**{**options, "train": train})

    store, exact = Store(tmp_path / "root"), Store(tmp_path / "exact")
    source = finish(config(40), store)
    known = checkpoint.newest(finish(config(30), exact))[0]
    assert known is not None
    assert torch.equal(
        starting_state(config(40), Start(run_id=source.run_id, step=30), store, CPU).flat_P, known.flat_P
    )


def test_a_run_starts_there_with_a_fresh_optimiser_and_leaves_the_source_alone(small: Small, store: Store) -> None:
    source = small()
    finish(source, store)
    before = files(store, source.run_id)
    config = transfer_of(small, source, 50)
    pack = Pack([config], store)
    expected = starting_state(config, Start(run_id=source.run_id, step=50), store, CPU).flat_P
    assert pack.step == 0
    assert torch.equal(pack.engine.flat_MP[0], expected)
    assert not pack.engine.optimizer.mean_MP.any()
    assert not pack.engine.optimizer.square_MP.any()
    while not pack.finished:
        pack.advance(60.0)
    assert files(store, source.run_id) == before
    run = RunDir(store, config.run_id)
    assert (run.read("run.json") or {})["config"]["start"] == {"run_id": source.run_id, "step": 50}


def test_a_killed_transfer_goes_on_like_any_run_even_without_its_source(small: Small, tmp_path: Path) -> None:
    source, root = small(), Store(tmp_path / "root")
    finish(source, root)
    config = transfer_of(small, source, 40)
    pack = Pack([config], root)
    train_to(pack, 25)
    pack.writer.flush()
    for path in [path for path in root.list("", recursive=True) if source.run_id in path and "." in path]:
        root.delete(path)
    broken = checkpoint.newest(finish(config, root))[0]

    whole = Store(tmp_path / "whole")
    finish(source, whole)
    unbroken = checkpoint.newest(finish(config, whole))[0]
    assert broken is not None
    assert unbroken is not None
    assert torch.equal(broken.flat_P, unbroken.flat_P)


def test_the_start_is_part_of_what_a_run_is(small: Small) -> None:
    plain = small()
    here, later = from_step(plain, 20, small(seed=1)), from_step(plain, 40, small(seed=1))
    assert len({plain.run_id, here.run_id, later.run_id, from_step(plain, 20, small(seed=2)).run_id}) == 4
    assert RunConfig.from_dict(here.to_dict()) == here
    assert "start" not in plain.to_dict()


def test_runs_from_different_starts_train_as_one_pack(small: Small, store: Store) -> None:
    source = small()
    finish(source, store)
    configs = [transfer_of(small, source, 20), transfer_of(small, source, 50), small(task="two_hop_transfer", data=NEW)]
    assert len({config.shape() for config in configs}) == 1
    pack = Pack(configs, store)
    assert torch.equal(pack.engine.flat_MP[1], Pack([configs[1]], store).engine.flat_MP[0])
    assert torch.equal(pack.engine.flat_MP[2], pack.model.initial(0))


@pytest.mark.parametrize(
    ("raw", "fragment"),
    [
        ({"run_id": "x"}, "names a run and a step"),
        ({"run_id": "x", "step": "9"}, "names a run and a step"),
        ({"run_id": "x", "step": -1}, "at least 0"),
        ("x", "names a run and a step"),
    ],
)
def test_a_start_that_makes_no_sense(raw: object, fragment: str) -> None:
    with pytest.raises(ValueError, match=fragment):
        RunConfig.from_dict({"start": raw})


def test_what_cannot_be_started_from_is_said_before_anything_is_written(small: Small, store: Store) -> None:
    source = small()
    for config, fragment in (
        (transfer_of(small, source, 20), f"has no run {source.run_id}; train it there first"),
        (transfer_of(small, source, 61), "has only 60 of 61 steps"),
        (transfer_of(small, source, 20, model={"width": 32}), "model.width: is 32, but 16 in run"),
    ):
        with pytest.raises(ValueError, match=fragment):
            Pack([config], store)
        assert not store.exists(f"runs/{config.run_id}")
        finish(source, store)


def test_the_bare_command_starts_from_a_run_of_its_root(small: Small, tmp_path: Path) -> None:
    source, path = small(), tmp_path / "run.json"
    arguments = ["train", "--config", str(path), "--out", str(tmp_path / "root"), "--device", "cpu"]
    config = transfer_of(small, source, 50)
    path.write_text(json.dumps({"config": config.to_dict()}))
    assert main(arguments) == 2
    finish(source, Store(tmp_path / "root"))
    assert main(arguments) == 0
    assert (RunDir(Store(tmp_path / "root"), config.run_id).read("DONE.json") or {})["step"] == 30


def test_a_start_from_a_run_that_started_elsewhere_itself(small: Small, tmp_path: Path) -> None:
    root, exact = Store(tmp_path / "root"), Store(tmp_path / "exact")
    first = small()
    middle = transfer_of(small, first, 30)
    for store, steps in ((root, 30), (exact, 10)):
        finish(first, store)
        train = dataclasses.replace(middle.train, steps=steps, checkpoint_every=30)
        finish(dataclasses.replace(middle, train=train), store)
    known = checkpoint.newest(RunDir(exact, middle.run_id))[0]
    assert known is not None
    assert known.step == 10
    assert torch.equal(starting_state(middle, Start(run_id=middle.run_id, step=10), root, CPU).flat_P, known.flat_P)


def test_a_source_of_other_numerics_gives_its_checkpoints_and_nothing_between(small: Small, store: Store) -> None:
    source = small()
    run = finish(source, store)
    run.write("run.json", {**(run.read("run.json") or {}), "numerics": 0})
    assert starting_state(source, Start(run_id=source.run_id, step=40), store, CPU).flat_P.any()
    with pytest.raises(ValueError, match=r"was trained by numerics 0, these are .*train it anew"):
        starting_state(source, Start(run_id=source.run_id, step=41), store, CPU)
