"""A worker's packs: halving, retries, halts, and runs that have ended already."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from grokstudy.orchestrator.execution.breaker import Breaker
from grokstudy.orchestrator.execution.pack_queue import DEATHS, PackQueue
from grokstudy.orchestrator.execution.watchdog import Watchdog
from grokstudy.orchestrator.runs.state import cause
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import Lease, RunDir
from grokstudy.trainables.storage.siblings import Siblings
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.pack import Pack

Small = Callable[..., RunConfig]


def work(
    configs: list[RunConfig], store: Store, open_pack: Callable[[list[RunConfig]], Pack] | None = None
) -> PackQueue:
    pack_queue = PackQueue([configs], store, open_pack or (lambda runs: Pack(runs, store)), max_failures=2)
    while not pack_queue.finished:
        pack_queue.advance(60.0)
    return pack_queue


class Memory:
    """A machine on which only so many members fit at a time."""

    def __init__(self, store: Store, fits: int, error: type[Exception]) -> None:
        self.store, self.fits, self.error = store, fits, error
        self.tried: list[int] = []

    def open(self, configs: list[RunConfig]) -> Pack:
        self.tried.append(len(configs))
        if len(configs) > self.fits:
            raise self.error("out of memory")
        return Pack(configs, self.store)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_a_pack_that_does_not_fit_is_halved(small: Small, store: Store, error: type[Exception]) -> None:
    configs = [small(seed=seed) for seed in range(5)]
    machine = Memory(store, 2, error)
    pack_queue = work(configs, store, machine.open)
    assert machine.tried == [5, 2, 2, 1]
    assert {line["outcome"] for line in pack_queue.lines.values()} == {"finished"}
    for config in configs:
        run = RunDir(store, config.run_id)
        assert run.read("FAILED.json") is None
        assert records.read(run, "steps")["step"].to_pylist() == list(range(60))


@pytest.mark.parametrize("only_measure", [False, True])
def test_training_that_cannot_be_replayed_is_done_from_its_beginning_or_not_at_all(
    small: Small, store: Store, only_measure: bool
) -> None:
    first = [small(seed=seed, eval={"every": 20, "probes": []}) for seed in range(2)]
    work(first, store)
    for config in first:
        run = RunDir(store, config.run_id)
        rows = records.read_part(run, "steps", 20)
        doubled = pc.cast(pc.multiply(rows["loss"], 2.0), pa.float32())
        store.write(run.part("steps", 20), records.encode(rows.set_column(2, rows.schema.field("loss"), doubled)))
    second = [small(seed=seed, eval={"every": 10, "probes": []}) for seed in range(2)]
    siblings = {one.run_id: Siblings((of.run_id,), only_measure) for one, of in zip(second, first, strict=True)}
    pack_queue = work(second, store, lambda runs: Pack(runs, store, siblings=siblings))
    outcomes = {line["outcome"] for line in pack_queue.lines.values()}
    errors = [(RunDir(store, config.run_id).read("FAILED.json") or {}).get("error") for config in second]
    if only_measure:
        assert outcomes == {"failed"}
        assert all("step 20, replayed, has other numbers than in" in str(error) for error in errors)
        return
    assert outcomes == {"finished"}
    assert errors == [None, None]
    for config in second:
        rows = records.read(RunDir(store, config.run_id), "steps")
        assert (set(rows["attempt"].to_pylist()), len(rows)) == ({2}, 60)


def test_the_member_at_fault_is_found_and_the_others_finish(small: Small, store: Store) -> None:
    configs = [small(seed=seed) for seed in range(4)]

    def open_pack(runs: list[RunConfig]) -> Pack:
        if any(run.seed == 2 for run in runs):
            raise RuntimeError("seed 2 is cursed")
        return Pack(runs, store)

    pack_queue = work(configs, store, open_pack)
    assert [pack_queue.lines[config.run_id]["outcome"] for config in configs] == [
        "finished", "finished", "failed", "finished",
    ]  # fmt: skip
    failed = RunDir(store, configs[2].run_id).read("FAILED.json") or {}
    assert failed["error"] == "RuntimeError: seed 2 is cursed"
    assert pack_queue.lines[configs[2].run_id]["error"]["traceback"] == failed["traceback"]


def test_a_run_alone_is_retried_as_often_as_allowed(small: Small, store: Store) -> None:
    tries: list[int] = []

    def open_pack(runs: list[RunConfig]) -> Pack:
        tries.append(1)
        if len(tries) <= 2:
            raise OSError("a passing fault")
        return Pack(runs, store)

    assert work([small()], store, open_pack).lines[small().run_id]["outcome"] == "finished"
    assert len(tries) == 3


def test_storage_that_stays_away_halts_and_blames_no_run(
    small: Small, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_queue = PackQueue([[small()]], store, lambda runs: Pack(runs, store), max_failures=2)
    pack_queue.advance(0.01)
    with monkeypatch.context() as full:
        full.setattr(Store, "_put", _full)
        store.patience_s = 0.2
        while not pack_queue.finished:
            pack_queue.advance(60.0)
    assert pack_queue.halt is not None
    assert "No space left on device" in pack_queue.halt
    run = RunDir(store, small().run_id)
    assert (run.read("FAILED.json"), run.read("DONE.json")) == (None, None)
    assert work([small()], store).lines[run.run_id]["outcome"] == "finished"
    assert records.read(run, "steps")["step"].to_pylist() == list(range(60))


def _full(store: Store, full: str, data: bytes) -> None:
    raise OSError(28, "No space left on device")


def test_a_broken_gpu_context_ends_the_process_but_not_the_study(small: Small, store: Store) -> None:
    def open_pack(runs: list[RunConfig]) -> Pack:
        raise RuntimeError("CUDA error: device-side assert triggered")

    pack_queue = work([small()], store, open_pack)
    assert pack_queue.unusable
    assert pack_queue.lines[small().run_id]["outcome"] == "failed"


def test_runs_that_have_ended_are_only_reported(small: Small, store: Store) -> None:
    done, left = small(seed=0), small(seed=1)
    work([done], store)
    before = RunDir(store, done.run_id).read("lease.json")
    pack_queue = work([done, left], store)
    assert [line["outcome"] for line in pack_queue.lines.values()] == ["finished", "finished"]
    assert RunDir(store, done.run_id).read("lease.json") == before


def test_a_process_that_dies_again_and_again_gets_less_to_do_and_then_fails(small: Small, store: Store) -> None:
    configs = [small(seed=seed) for seed in range(4)]
    sizes = []
    for _ in range(DEATHS):
        pack_queue = PackQueue([configs], store, lambda runs: Pack(runs, store), max_failures=2)
        sizes.append(len(pack_queue._queue[0]))
        pack_queue._open(pack_queue._queue[0])  # and dies
    assert sizes[:7] == [4, 4, 4, 4, 2, 2, 2]
    assert sizes[-1] == 1
    pack_queue = work([configs[0]], store)
    assert pack_queue.lines[configs[0].run_id]["outcome"] == "failed"
    assert "died" in pack_queue.lines[configs[0].run_id]["error"]["error"]
    assert work([configs[0]], store).lines[configs[0].run_id]["outcome"] == "finished", "a retry starts a new count"


def test_a_run_taken_over_by_another_worker_is_left_to_it(small: Small, store: Store) -> None:
    pack_queue = PackQueue([[small()]], store, lambda runs: Pack(runs, store), max_failures=2)
    pack_queue.advance(0.01)
    Lease.take(RunDir(store, small().run_id))
    while not pack_queue.finished:
        pack_queue.advance(60.0)
    assert pack_queue.lines[small().run_id]["outcome"] is None
    assert RunDir(store, small().run_id).read("FAILED.json") is None


def ended(run_id: str, traceback: str | None = None) -> dict[str, object]:
    error = None if traceback is None else {"error": "E", "traceback": traceback}
    return {"run_id": run_id, "outcome": "finished" if error is None else "failed", "error": error}


def test_equal_failures_halt_the_study_with_their_traceback() -> None:
    breaker = Breaker(same=3, first=5)
    for number in range(2):
        breaker.hear(ended(f"run{number}", f"line 7: step {number}"))
        breaker.hear(ended(f"run{number}", f"line 7: step {number}"))
    breaker.hear(ended("good"))
    assert breaker.reason is None
    breaker.hear(ended("run3", "line 7: step 99"))
    assert breaker.reason is not None
    assert "3 of the first 4 runs failed in the same way" in breaker.reason
    assert "step 99" in breaker.reason


def test_different_or_late_failures_do_not_halt() -> None:
    breaker = Breaker(same=2, first=3)
    for run_id, text in (("a", "x"), ("b", "y"), ("c", None), ("d", "x"), ("e", "y")):
        breaker.hear(ended(run_id, text))
    assert breaker.reason is None
    assert cause("E", "at 0x7f01 line 12") == cause("F", "at 0x88aa line 13")


def test_the_watchdog_bites_the_silent_once() -> None:
    bitten: list[str] = []
    dog = Watchdog(0.0, bitten.append)
    dog.beat("a")
    dog.beat("b")
    dog.forget("b")
    assert (dog.silent(), dog.silent()) == (["a"], [])
