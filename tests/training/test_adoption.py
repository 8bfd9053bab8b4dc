"""A run that measures anew what siblings have trained leaves what it would have left in an empty root."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deaths import DeadlyStore, live

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage import checkpoint, records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.siblings import Siblings
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.adoption import ReplayError, Sibling
from grokstudy.trainables.training.engine import Engine
from grokstudy.trainables.training.pack import Pack, failures_recorded

Small = Callable[..., RunConfig]
STEPS = 200


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every step that is carried out, in any process of the test's own."""
    done: list[int] = []
    train = Engine.train

    def noted(engine: Engine, start: int, stop: int) -> object:
        done.extend(range(start, stop))
        return train(engine, start, stop)

    monkeypatch.setattr(Engine, "train", noted)
    return done


def trained(small: Small, members: int, to: int = STEPS, **measured: object) -> list[RunConfig]:
    train = {"steps": to, "checkpoint_every": 50}
    return [small(seed=seed, train=train, eval={"probes": ["logit_lens"], **measured}) for seed in range(members)]


def coarse(small: Small, members: int) -> list[RunConfig]:
    return trained(small, members, every=50)


def dense(small: Small, members: int, to: int = STEPS) -> list[RunConfig]:
    return trained(small, members, to, every=20, probes=["cqsp"])


def train(
    configs: list[RunConfig], store: Store, of: list[RunConfig] | None = None, only_measure: bool = False
) -> None:
    """To the end; with `of`, each run has one of these as its sibling."""
    pairs = zip(configs, of or [], strict=False)
    siblings = {one.run_id: Siblings((other.run_id,), only_measure) for one, other in pairs}
    pack = Pack(configs, store, siblings=siblings)
    with failures_recorded(pack):
        while not pack.finished:
            pack.advance(60.0)


def assert_same_rows(configs: list[RunConfig], store: Store, alone: Store) -> None:
    for config in configs:
        for table in TABLES:
            here, there = (records.read(RunDir(root, config.run_id), table) for root in (store, alone))
            assert here.drop_columns(["attempt"]).equals(there.drop_columns(["attempt"])), table


@pytest.mark.parametrize("members", [1, 3])
def test_rows_are_those_of_a_run_that_trained_by_itself(
    small: Small, tmp_path: Path, steps: list[int], members: int
) -> None:
    first, second = coarse(small, members), dense(small, members)
    sparse = trained(small, members, grid="log", per_decade=3)
    store, alone = Store(tmp_path / "root"), Store(tmp_path / "alone")
    train(first, store)
    assert checkpoint.steps(RunDir(store, first[0].run_id)) == [50, 100, 150, 200]
    for configs, replayed in (
        (second, [*range(40), *range(50, 80), *range(100, 140), *range(150, 180)]),
        (sparse, [*range(46)]),  # the last evaluation before 200 is at 100
    ):
        steps.clear()
        train(configs, store, first)
        assert steps == replayed
        train(configs, alone)
        assert_same_rows(configs, store, alone)


@pytest.mark.parametrize("members", [1, 2])
def test_a_longer_run_goes_on_where_its_sibling_ended(
    small: Small, tmp_path: Path, steps: list[int], members: int
) -> None:
    first, longer = coarse(small, members), dense(small, members, 2 * STEPS)
    store, alone = Store(tmp_path / "root"), Store(tmp_path / "alone")
    train(first, store)
    steps.clear()
    train(longer, store, first)
    assert set(range(STEPS, 2 * STEPS)) < set(steps)
    assert len(steps) < 2 * STEPS
    train(longer, alone)
    assert_same_rows(longer, store, alone)


@pytest.mark.slow
def test_killed_anywhere_and_resumed(small: Small, tmp_path: Path) -> None:
    first, second = coarse(small, 1), dense(small, 1)
    before, alone = Store(tmp_path / "before"), Store(tmp_path / "alone")
    train(first, before)
    train(second, alone)
    for change in range(1, 1000, 6):
        root = tmp_path / f"killed-{change}"
        shutil.copytree(before.base, root)
        survived = live(partial(train, second, DeadlyStore(root, change, "after"), first))
        train(second, Store(root), first)
        assert_same_rows(second, Store(root), alone)
        if survived:
            return
    raise AssertionError("never survived")


def damage(run: RunDir, folder: str, name: str) -> None:
    path = Path(run.store.path(folder), name)
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.filterwarnings("ignore:.*passed over", "ignore:.*its steps are trained")
@pytest.mark.parametrize("harm", ["checkpoint", "part", "rows", "merged", "gone"])
def test_what_a_sibling_has_lost_is_trained(small: Small, tmp_path: Path, harm: str) -> None:
    first, second = coarse(small, 1), dense(small, 1)
    store, alone = Store(tmp_path / "root"), Store(tmp_path / "alone")
    train(first, store)
    sibling = RunDir(store, first[0].run_id)
    if harm == "checkpoint":
        damage(sibling, sibling.checkpoints, Path(checkpoint.named(sibling)[100]).name)
    elif harm == "part":
        damage(sibling, sibling.parts("steps"), "part-000000050.parquet")
    elif harm == "rows":
        store.delete(sibling.part("steps", 100))
    pack = Pack(second, store, siblings={second[0].run_id: Siblings((first[0].run_id,))})
    while not pack.finished:
        pack._segment()
        if pack.step >= 120 and harm == "gone":
            shutil.rmtree(store.path(sibling.folder), ignore_errors=True)
            shutil.rmtree(store.path(sibling.parts("steps")), ignore_errors=True)
        elif pack.step >= 120 and harm == "merged" and len(records.part_starts(sibling, "steps")) > 1:
            rows = records.read(sibling, "steps")
            shutil.rmtree(store.path(sibling.parts("steps")))
            store.write(sibling.part("steps", 0), records.encode(rows))
    train(second, alone)
    assert_same_rows(second, store, alone)


def test_a_diverged_sibling_is_followed_to_where_it_diverged(small: Small, tmp_path: Path) -> None:
    wild = {"optim": {"lr": 30.0, "warmup": 80, "weight_decay": 3.0}, "train": {"steps": 200, "checkpoint_every": 10}}
    first, second = small(**wild, eval={"every": 50}), small(**wild, eval={"every": 20, "probes": ["cqsp"]})
    store, alone = Store(tmp_path / "root"), Store(tmp_path / "alone")
    train([first], store)
    done = RunDir(store, first.run_id).read("DONE.json") or {}
    assert done["reason"] == "diverged"
    train([second], store, [first], only_measure=True)
    assert {**(RunDir(store, second.run_id).read("DONE.json") or {}), **dict.fromkeys(("seconds", "ended"))} == {
        **done, **dict.fromkeys(("seconds", "ended"))
    }  # fmt: skip
    train([second], alone)
    assert_same_rows([second], store, alone)


def other_numbers(run: RunDir, start: int) -> None:
    """As if the sibling had been trained by other libraries from a part on."""
    rows = records.read_part(run, "steps", start)
    moved = [value * (1 + 2**-23) for value in rows["loss"].to_pylist()]
    path = run.store.path(run.part("steps", start))
    column = rows.schema.get_field_index("loss")
    pq.write_table(rows.set_column(column, rows.schema.field(column), pa.array(moved, pa.float32())), path)


def test_other_numbers_are_not_mixed_in(small: Small, tmp_path: Path, steps: list[int]) -> None:
    first, second = coarse(small, 2), dense(small, 2)
    store, alone = Store(tmp_path / "root"), Store(tmp_path / "alone")
    train(first, store)
    for config in first:
        other_numbers(RunDir(store, config.run_id), 0)
    with pytest.warns(UserWarning, match="trained without it"):
        train(second, store, first)
    train(second, alone)
    assert_same_rows(second, store, alone)
    third = trained(small, 2, every=30)
    with pytest.raises(ReplayError, match=r"has other numbers than in .*another device") as raised:
        train(third, store, first, only_measure=True)
    assert raised.value.final


def test_what_was_taken_over_is_trained_anew_where_it_cannot_be_gone_on_with(
    small: Small, tmp_path: Path, steps: list[int]
) -> None:
    first, second = coarse(small, 1), dense(small, 1)
    store, alone = Store(tmp_path / "root"), Store(tmp_path / "alone")
    train(first, store)
    other_numbers(RunDir(store, first[0].run_id), 100)
    with pytest.raises(ReplayError, match="step 100"):
        train(second, store, first)
    steps.clear()
    train(second, store, first)
    assert steps == list(range(STEPS))
    train(second, alone)
    assert_same_rows(second, store, alone)


def test_a_run_of_its_own_numbers_takes_nothing_over_when_it_is_resumed(
    small: Small, tmp_path: Path, steps: list[int]
) -> None:
    first, second = coarse(small, 1), dense(small, 1)
    store = Store(tmp_path / "root")
    train(first, store)
    other_numbers(RunDir(store, first[0].run_id), 0)
    other_numbers(RunDir(store, first[0].run_id), 50)
    train([config.with_steps(100) for config in second], store)
    steps.clear()
    train(second, store, first)
    assert steps == list(range(100, STEPS))


def test_rows_of_a_sibling_are_found_across_parts(small: Small, store: Store) -> None:
    first = coarse(small, 1)
    train(first, store)
    sibling = Sibling(RunDir(store, first[0].run_id))
    loss = records.read(RunDir(store, first[0].run_id), "steps")["loss"].to_pylist()
    for start, stop in ((0, 1), (49, 51), (0, STEPS), (120, 180), (STEPS - 1, STEPS)):
        found = sibling.rows(start, stop)
        assert found is not None
        assert found[0].tolist() == loss[start:stop]
    assert sibling.rows(STEPS - 1, STEPS + 1) is None
