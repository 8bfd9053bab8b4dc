"""Forks: a run that takes the whole state of another goes on where it was, to the bit, until its first change tells."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from small_runs import finish, train_to

from grokstudy.trainables.config import RunConfig, Start
from grokstudy.trainables.storage import checkpoint, records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.pack import Pack

Small = Callable[..., RunConfig]
METRICS = ("loss", "grad_norm", "weight_norm", "lr")
AVERAGED = {"optim": {"warmup": 40}, "train": {"ema": 0.9}}
"""Still in its warm-up where it forks, with an average of the weights."""
FALLING = {"optim": {"warmup": 5, "schedule": "cosine"}}


def fork(source: RunConfig, step: int, **optim: object) -> RunConfig:
    start = Start(run_id=source.run_id, step=step, state="all")
    rest = source.train.steps - step
    changed = dataclasses.replace(source.optim, **optim)  # type: ignore[arg-type]
    return dataclasses.replace(source.with_steps(rest), start=start, optim=changed)


def steps_of(config: RunConfig, store: Store, first: int = 0) -> np.ndarray:
    """Rows of `steps` from a step on: METRICS (4, K)."""
    table = records.read(RunDir(store, config.run_id), "steps").sort_by("step").slice(first)
    assert table["step"].to_pylist() == list(range(first, first + len(table)))
    return np.array([table[name].to_numpy() for name in METRICS])


def last_state(config: RunConfig, store: Store) -> dict[str, torch.Tensor]:
    state, _ = checkpoint.newest(RunDir(store, config.run_id))
    assert state is not None
    assert state.step == config.train.steps
    return state.tensors


def assert_continues(arm: RunConfig, source: RunConfig, store: Store) -> None:
    np.testing.assert_array_equal(steps_of(arm, store), steps_of(source, store, arm.offset))
    ours, theirs = last_state(arm, store), last_state(source, store)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("options", [{}, AVERAGED, FALLING])
@pytest.mark.parametrize("step", [20, 33])
def test_an_arm_that_changes_nothing_is_its_source_to_the_bit(
    small: Small, store: Store, options: dict[str, object], step: int
) -> None:
    source = small(**options)
    finish(source, store)
    arm = fork(source, step)
    finish(arm, store)
    assert_continues(arm, source, store)


def test_arms_of_several_forks_in_one_pack_go_on_as_each_alone(small: Small, store: Store) -> None:
    sources = [small(seed=0), small(seed=1)]
    for source in sources:
        finish(source, store)
    arms = [fork(sources[0], 20), fork(sources[1], 33), small(seed=2)]
    pack = Pack(arms, store)
    while not pack.finished:
        pack.advance(60.0)
    for arm, source in zip(arms, sources, strict=False):
        np.testing.assert_allclose(steps_of(arm, store), steps_of(source, store, arm.offset), rtol=1e-4)


def test_an_interrupted_arm_resumes_in_the_count_of_its_source(small: Small, store: Store) -> None:
    source = small(**AVERAGED)
    finish(source, store)
    arm = fork(source, 15)
    pack = Pack([arm], store)
    train_to(pack, 30)
    pack.writer.flush()
    finish(arm, store)
    assert (RunDir(store, arm.run_id).read("DONE.json") or {})["from_step"] == 20
    assert_continues(arm, source, store)


def test_another_weight_decay_tells_from_its_first_update_on(small: Small, store: Store) -> None:
    source = small()
    finish(source, store)
    arm = fork(source, 33, weight_decay=0.0)
    finish(arm, store)
    ours, theirs = steps_of(arm, store), steps_of(source, store, 33)
    np.testing.assert_array_equal(ours[:, 0], theirs[:, 0])
    loss, weight_norm = METRICS.index("loss"), METRICS.index("weight_norm")
    assert ours[loss, 1] != theirs[loss, 1]
    assert (ours[weight_norm, 1:] > theirs[weight_norm, 1:]).all()


def test_the_state_is_a_part_of_what_a_run_is_and_weights_alone_are_named_as_ever(small: Small) -> None:
    weights = dataclasses.replace(small(), start=Start(run_id="0" * 16, step=5))
    whole = dataclasses.replace(small(), start=Start(run_id="0" * 16, step=5, state="all"))
    assert weights.to_dict()["start"] == {"run_id": "0" * 16, "step": 5}
    assert whole.run_id != weights.run_id
    assert RunConfig.from_dict(whole.to_dict()) == whole
    assert (weights.offset, whole.offset) == (0, 5)
    with pytest.raises(ValueError, match=r"start.state: 'moments' is not possible; it is weights or all"):
        RunConfig.from_dict({"start": {"run_id": "x", "step": 5, "state": "moments"}})


def test_what_cannot_be_forked_is_said(small: Small, store: Store) -> None:
    source = small()
    finish(source, store)
    arm = fork(source, 20)
    finish(arm, store)
    with pytest.raises(ValueError, match=r"optim.name: is sgd, but adamw in run .*; a fork keeps its moments"):
        Pack([fork(source, 20, name="sgd")], store)
    with pytest.raises(ValueError, match=f"is a fork itself; fork run {source.run_id} instead"):
        Pack([fork(arm, 10)], store)
