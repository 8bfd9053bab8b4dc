"""The loop: golden curve, exact resume, packs, divergence, exactly-once rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from small_runs import finish, train_to

from grokstudy.trainables.config import RunConfig, eval_steps
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage import checkpoint, records
from grokstudy.trainables.storage.run_dir import Lease, LeaseLostError, RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.engine import Engine
from grokstudy.trainables.training.pack import Pack, failures_recorded

Small = Callable[..., RunConfig]


def stop_at(config: RunConfig, store: Store, step: int) -> None:
    """Train until a step and vanish without a word, as a killed process does."""
    pack = Pack([config], store)
    train_to(pack, step)
    pack.writer.flush()


def table(run: RunDir, name: str) -> pa.Table:
    return records.read(run, name).drop_columns(["attempt"])


def assert_same_run(first: RunDir, second: RunDir) -> None:
    for name in TABLES:
        assert table(first, name).equals(table(second, name)), name
    states = [checkpoint.newest(run)[0] for run in (first, second)]
    assert states[0] is not None
    assert states[1] is not None
    assert states[0].step == states[1].step
    for field in ("flat_P", "mean_P", "square_P"):
        assert torch.equal(getattr(states[0], field), getattr(states[1], field)), field


def test_every_step_and_every_evaluation_is_there_once(small: Small, store: Store) -> None:
    config = small()
    run = finish(config, store)
    assert table(run, "steps")["step"].to_pylist() == list(range(60))
    evals = table(run, "evals")
    expected = [(step, split) for step in eval_steps(config.eval, 60) for split in _splits()]
    assert list(zip(evals["step"].to_pylist(), evals["split"].to_pylist(), strict=True)) == expected
    assert run.read("DONE.json") is not None
    assert (run.read("DONE.json") or {})["reason"] == "finished"


def _splits() -> list[str]:
    from grokstudy.trainables.tasks import TASKS

    return list(TASKS["two_hop"].splits)


def test_golden_curve(small: Small, store: Store) -> None:
    steps = table(finish(small(), store), "steps")
    found = [steps["loss"][i].as_py() for i in (0, 20, 59)] + [steps["weight_norm"][59].as_py()]
    golden = [3.360445, 3.292937, 3.162833, 9.104656]
    np.testing.assert_allclose(
        found,
        golden,
        rtol=1e-4,
        err_msg="The numbers of an unchanged configuration have changed. If that is the purpose of the change, raise "
        "config.NUMERICS and put the new values here; a refactoring must leave them as they are.",
    )


def test_training_learns(small: Small, store: Store) -> None:
    loss = np.asarray(table(finish(small(train={"steps": 200}, optim={"lr": 1e-2}), store), "steps")["loss"])
    assert loss[-20:].mean() < 0.7 * loss[:5].mean()


@pytest.mark.parametrize("killed_at", [1, 20, 33, 60])
def test_killed_and_resumed_is_bit_identical(small: Small, tmp_path: Path, killed_at: int) -> None:
    config = small()
    whole = finish(config, Store(tmp_path / "whole"))
    broken = Store(tmp_path / "broken")
    stop_at(config, broken, killed_at)
    assert_same_run(whole, finish(config, broken))


def test_preemption_checkpoint_loses_nothing_and_changes_nothing(small: Small, tmp_path: Path) -> None:
    config = small(eval={"every": 7})
    whole = finish(config, Store(tmp_path / "whole"))
    store = Store(tmp_path / "broken")
    for step in (13, 14, 35):
        pack = Pack([config], store)
        assert pack.step in (0, 14, 14)
        train_to(pack, step)
        pack.checkpoint_now()
        assert checkpoint.steps(RunDir(store, config.run_id))[-1] == pack.step
    assert_same_run(whole, finish(config, store))


def test_extension_continues_the_same_curve(small: Small, tmp_path: Path) -> None:
    long = finish(small(train={"steps": 60}), Store(tmp_path / "long"))
    store = Store(tmp_path / "grown")
    finish(small(train={"steps": 40}), store)
    assert_same_run(long, finish(small(train={"steps": 60}), store))


def test_torn_checkpoint_is_named_and_the_one_before_is_used(small: Small, tmp_path: Path) -> None:
    config = small()
    whole = finish(config, Store(tmp_path / "whole"))
    store = Store(tmp_path / "broken")
    stop_at(config, store, 40)
    run = RunDir(store, config.run_id)
    (newest,) = (name for name in store.list(run.checkpoints) if "step-000000040" in name)
    store.write(newest, store.read(newest)[:100])
    with pytest.warns(UserWarning, match="step-000000040.*torn"):
        resumed = finish(config, store)
    assert (resumed.read("DONE.json") or {})["torn_checkpoints"] == [newest]
    assert_same_run(whole, resumed)


def test_packed_members_equal_their_solo_runs(small: Small, tmp_path: Path) -> None:
    length = {"train": {"steps": 200, "checkpoint_every": 100}, "eval": {"every": 50, "probes": []}}
    short = {"train": {"steps": 145, "checkpoint_every": 100}}
    configs = [
        small(**length),
        small(**length, seed=1, optim={"lr": 1e-2, "weight_decay": 0.0}),
        small(**{**length, **short}, seed=2, data={"exposure": "both_hops", "phi": 1.0}),
    ]
    pack = Pack(configs, packed := Store(tmp_path / "packed"))
    while not pack.finished:
        pack.advance(60.0)
    for config in configs:
        alone = finish(config, Store(tmp_path / "solo"))
        together = RunDir(packed, config.run_id)
        for name in TABLES:
            assert sorted(packed.list(together.parts(name))) == sorted(alone.store.list(alone.parts(name)))
        for column in ("loss", "grad_norm", "weight_norm"):
            np.testing.assert_allclose(
                table(together, "steps")[column], table(alone, "steps")[column], rtol=2e-3, err_msg=column
            )


def test_a_member_that_diverges_is_frozen_and_the_others_go_on(small: Small, tmp_path: Path) -> None:
    calm, wild = small(), small(seed=1, optim={"lr": 1e18, "warmup": 0})
    store = Store(tmp_path / "pack")
    pack = Pack([calm, wild], store)
    while not pack.finished:
        pack.advance(60.0)
    done = RunDir(store, wild.run_id).read("DONE.json") or {}
    assert done["reason"] == "diverged"
    steps = table(RunDir(store, wild.run_id), "steps")
    assert steps["step"].to_pylist() == list(range(done["step"]))
    assert np.isfinite(np.asarray(steps["loss"])).all()
    alone = finish(calm, Store(tmp_path / "solo"))
    np.testing.assert_allclose(
        table(RunDir(store, calm.run_id), "steps")["loss"], table(alone, "steps")["loss"], rtol=2e-3
    )


def test_an_attempt_that_lost_its_lease_commits_nothing(small: Small, store: Store) -> None:
    config = small()
    pack = Pack([config], store)
    train_to(pack, 30)
    pack.writer.flush()
    before = {name: store.list(RunDir(store, config.run_id).parts(name)) for name in TABLES}
    Lease.take(RunDir(store, config.run_id))
    with pytest.raises(LeaseLostError, match="attempt 1 lost its lease to attempt 2"), failures_recorded(pack):
        pack.advance(60.0)
    assert {name: store.list(RunDir(store, config.run_id).parts(name)) for name in TABLES} == before
    assert RunDir(store, config.run_id).read("FAILED.json") is None


def test_a_crash_leaves_its_traceback_and_the_next_attempt_clears_it(
    small: Small, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small()
    with monkeypatch.context() as broken:
        broken.setattr(Engine, "train", _explode)
        pack = Pack([config], store)
        with pytest.raises(RuntimeError, match="out of luck"), failures_recorded(pack):
            pack.advance(60.0)
    failed = RunDir(store, config.run_id).read("FAILED.json") or {}
    assert failed["error"] == "RuntimeError: out of luck"
    assert "_explode" in failed["traceback"]
    finish(config, store)
    assert RunDir(store, config.run_id).read("FAILED.json") is None


def _explode(engine: Engine, start: int, stop: int) -> None:
    raise RuntimeError("out of luck")


def test_runs_of_different_shape_do_not_train_together(small: Small, store: Store) -> None:
    with pytest.raises(ValueError, match="different shape"):
        Pack([small(), small(model={"width": 32})], store)


def test_steps_cost_at_most_30_bytes_a_row(small: Small, store: Store) -> None:
    run = finish(small(train={"steps": 2000, "checkpoint_every": 1000}, eval={"every": 1000}), store)
    sizes = [len(store.read(run.part("steps", start))) for start in records.part_starts(run, "steps")]
    assert sum(sizes) / 2000 <= 30


def test_kept_checkpoints_thin_out_with_age() -> None:
    available = list(range(1000, 101_000, 1000))
    kept = checkpoint.kept(available)
    assert {99_000, 100_000} <= kept
    assert 1000 in kept
    assert len(kept) <= 12


def test_warnings_are_silent_on_a_clean_run(small: Small, store: Store) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        finish(small(train={"steps": 20}), store)


@pytest.mark.parametrize("name", ["evals", "probes"])
def test_a_pack_goes_on_from_before_what_one_member_lacks(small: Small, tmp_path: Path, name: str) -> None:
    configs = [small(), small(seed=1)]
    store = Store(tmp_path / "pack")
    pack = Pack(configs, store)
    train_to(pack, 40)
    pack.writer.flush()
    lost = RunDir(store, configs[1].run_id)
    before = table(lost, name)
    store.delete(lost.part(name, 20))
    with pytest.warns(UserWarning, match=f"{name}.*training again from 20"):
        again = Pack(configs, store)
    assert again.step == 20
    train_to(again, 40)
    again.writer.flush()
    assert table(lost, name)["step"].equals(before["step"])


def test_a_pack_goes_on_from_the_newest_step_that_all_members_have(small: Small, tmp_path: Path) -> None:
    configs = [small(), small(seed=1)]
    store = Store(tmp_path / "pack")
    pack = Pack(configs, store)
    train_to(pack, 40)
    pack.writer.flush()
    for name in store.list(RunDir(store, configs[1].run_id).checkpoints):
        if "step-000000040" in name:
            store.delete(name)
    again = Pack(configs, store)
    assert again.step == 20
    while not again.finished:
        again.advance(60.0)
    for config in configs:
        assert table(RunDir(store, config.run_id), "steps")["step"].to_pylist() == list(range(60))
