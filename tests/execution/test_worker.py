"""What a worker makes of what Ray grants: threads, device, and how many runs it trains together."""

from __future__ import annotations

import itertools
import math
import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from grokstudy.orchestrator.execution.bundle import Bundle
from grokstudy.orchestrator.execution.pack_queue import PackQueue
from grokstudy.orchestrator.execution.tuner import set_environment
from grokstudy.trainables.bench import speed
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.retention import KEEP
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.pack import Pack

Small = Callable[..., RunConfig]
CARRIES = {"BIG": 8, "TINY": 2}


def bundle(store: Store, configs: list[RunConfig], cpu: float = 1.0, gpu: float = 0.0, **sizes: int) -> dict[str, Any]:
    how: dict[str, Any] = {"max_failures": 2, "keep": KEEP, "engine": "auto"}
    return {"bundle": Bundle(root=store.uri, cpu=cpu, gpu=gpu, packs=[configs], sizes=[sizes], **how)}


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module, for use in this process, without Ray; the number of threads is put back."""
    set_environment()  # Ray reads it when it is imported
    from grokstudy.orchestrator.execution import worker as module

    monkeypatch.setattr(module, "PreemptionNotice", lambda _: SimpleNamespace())
    before = torch.get_num_threads()
    yield module
    torch.set_num_threads(before)


def test_a_worker_that_is_used_again_takes_the_threads_of_its_new_grant(
    small: Small, store: Store, worker: Any
) -> None:
    seen = []
    trainable = worker.PackTrainable(bundle(store, [small(seed=0)], cpu=2.0))
    for number, cpu in enumerate((1.0, 3.5, 0.5), start=1):
        trainable.pack_queue.advance(0.01)
        seen.append(torch.get_num_threads())
        assert trainable.reset_config(bundle(store, [small(seed=number)], cpu=cpu))
    trainable.pack_queue.advance(0.01)
    assert [*seen, torch.get_num_threads()] == [2, 1, 3, 1]


@pytest.mark.parametrize("visible", ["-1", "0", "NoDevFiles", "", "3"])
def test_the_device_follows_the_grant_and_not_what_is_visible(
    small: Small, store: Store, monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert bundle(store, [small()])["bundle"].device == "cpu"
    with pytest.warns(UserWarning, match="torch can use none here"):
        assert bundle(store, [small()], gpu=0.25)["bundle"].device == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert bundle(store, [small()], gpu=0.25)["bundle"].device == "cuda"


@pytest.mark.parametrize(("drains", "told", "goes"), [(["here"], 0, 1), (["there"], 0, 0), ([], 1, 1), ([], 0, 0)])
def test_a_worker_saves_and_goes_after_a_notice(
    worker: Any, monkeypatch: pytest.MonkeyPatch, drains: list[str], told: int, goes: int
) -> None:
    from grokstudy.orchestrator.execution import preemption as notice

    state = SimpleNamespace(get_draining_nodes=lambda: dict.fromkeys(drains, 0))
    here = SimpleNamespace(get_node_id=lambda: "here")
    private = SimpleNamespace(state=SimpleNamespace(state=state))
    monkeypatch.setattr(notice, "ray", SimpleNamespace(get_runtime_context=lambda: here, _private=private))
    done: list[object] = []
    monkeypatch.setattr("os._exit", done.append)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with notice.PreemptionNotice(lambda: done.append("saved")).watched():
            if told:
                signal.raise_signal(signal.SIGTERM)
            assert not done, "not within a stretch of training"
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done == ["saved", 1] * goes


def test_memory_decides_where_speed_would_go_on(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    gigabytes = {"members": 0}

    def run(config: RunConfig, at: torch.device, members: int = 1) -> float:
        gigabytes["members"] = members
        return 1.0  # a pack of any size takes a second

    monkeypatch.setattr(speed, "_seconds_per_step", run)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: gigabytes["members"] * 10**9)

    def fit(total: float, share: float = 1.0) -> int:
        monkeypatch.setattr(
            torch.cuda, "mem_get_info", lambda _: ((total - gigabytes["members"]) * 10**9, total * 10**9)
        )
        return speed.pack_size(small(), 1000, "cuda", share=share)

    before = torch.get_num_threads()
    assert [fit(24), fit(80), fit(80, share=0.25)] == [16, 32, 8]
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("disturbed", "gain", "members"),
    [([1], 1.0, 1), ([], 1.0, 1), ([2], 1.0, 1), ([], 1.5, 8), ([1], 1.5, 8), ([4], 1.5, 8)],
)
def test_a_disturbed_measurement_makes_no_pack_on_a_cpu(
    disturbed: list[int], gain: float, members: int, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`disturbed`: which measurements, counted from 1, come out a third too slow. A gain ends at 8 members."""
    taken = itertools.count(1)

    def run(config: RunConfig, at: torch.device, members: int = 1) -> float:
        speed_of_pack = float(gain ** math.log2(min(members, 8)))
        return members / speed_of_pack * (1.5 if next(taken) in disturbed else 1.0)

    monkeypatch.setattr(speed, "_seconds_per_step", run)
    before = torch.get_num_threads()
    assert speed.pack_size(small(), 1000) == members
    torch.set_num_threads(before)


def test_what_pays_is_measured_once_for_a_shape(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Again only where more members may be had than before, and as many as could be had had paid."""
    measured: list[int] = []

    def measure(config: RunConfig, most: int, *_: object) -> int:
        measured.append(most)
        return min(4, 1 << int(math.log2(most)))

    monkeypatch.setattr(speed, "_pack_sizes", {})
    monkeypatch.setattr(speed, "pack_size", measure)

    def pay(most: int, width: int = 16, threads: int = 1) -> int:
        return speed.remembered_pack_size(small(model={"width": width}), most, "cpu", threads, 0.0)

    assert [pay(1), pay(3), pay(2), pay(3), pay(100), pay(200), pay(3)] == [1, 2, 2, 2, 4, 4, 3]
    assert measured == [3, 100]
    assert [pay(100, width=32), pay(100, threads=2)] == [4, 4]
    assert measured == [3, 100, 100, 100]


def test_the_packs_of_a_bundle_are_trained_one_after_the_other(small: Small, store: Store) -> None:
    opened = []

    def open_pack(configs: list[RunConfig]) -> Pack:
        opened.append([config.seed for config in configs])
        return Pack(configs, store)

    wide = [small(seed=seed, model={"width": 32}) for seed in (0, 1)]
    pack_queue = PackQueue([wide, [small(seed=2)], [small(seed=3)]], store, open_pack, 2)
    while not pack_queue.finished:
        pack_queue.advance(60.0)
    assert opened == [[0, 1], [2], [3]]
    assert [line["outcome"] for line in pack_queue.lines.values()] == ["finished"] * 4


def test_a_shape_that_comes_while_workers_train_is_measured_by_them(
    small: Small, store: Store, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver would wait for a GPU that an idle worker may hold, and that worker for the driver."""
    from grokstudy.orchestrator.execution.pack_size import Sizer

    def measured(*_: object) -> int:
        raise AssertionError("a GPU was waited for")

    sizer, configs = Sizer({"cpu": 1.0, "gpu": 1.0}, measured), [small(seed=seed) for seed in range(8)]
    assert [sizer.meanwhile(configs[0], most) for most in (2, 8)] == [2, 8]
    monkeypatch.setattr(worker, "kind_here", lambda: "")
    monkeypatch.setattr(worker, "pack_size", lambda config, most, *_: min(most, 3))
    packs = worker._packs(bundle(store, configs, **sizer.sizes(configs[0]))["bundle"])
    assert [len(pack) for pack in packs] == [3, 3, 2]
    taken = itertools.count(1)
    on_cpu = Sizer({"cpu": 1.0, "gpu": 0.0}, lambda *_: next(taken))
    assert [on_cpu.meanwhile(configs[0], 8) for _ in range(3)] == [1, 1, 1], "measured once"


@pytest.fixture(scope="module")
def two_kinds() -> Iterator[Any]:
    """A head that trains nothing, and two nodes that claim a GPU each, of different kinds."""
    set_environment()
    import ray
    from ray.cluster_utils import Cluster

    from grokstudy.orchestrator.execution.pack_size import KIND

    small_node = {"object_store_memory": 80_000_000}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small_node})
    for kind in CARRIES:
        made.add_node(num_cpus=1, num_gpus=1, labels={KIND: kind}, **small_node)
    ray.init(address=made.address, log_to_driver=False, configure_logging=False)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("two_kinds")
def test_packs_have_the_size_that_fits_the_gpu_where_they_are_placed(small: Small, store: Store) -> None:
    import ray

    from grokstudy.orchestrator.execution.pack_size import KIND, Sizer
    from grokstudy.orchestrator.execution.worker import PackTrainable

    def as_carried(config: RunConfig, most: int, device: str, threads: int, share: float) -> int:
        """In place of the measurement: what a GPU of this node's kind would carry. Sent to the nodes as it is."""
        from grokstudy.orchestrator.execution.pack_size import kind_here

        return min(most, CARRIES[kind_here()])

    configs = [small(seed=seed) for seed in range(8)]
    sizer = Sizer({"cpu": 1.0, "gpu": 1.0}, as_carried)
    assert sizer(configs[0], 8) == 8, "packs are cut for the kind that carries most"
    sizes = sizer.sizes(configs[0])
    assert sizes == CARRIES
    found = {}
    for kind in CARRIES:
        on_it = ray.remote(num_cpus=1, num_gpus=1, label_selector={KIND: kind})(PackTrainable)
        there = on_it.remote(bundle(store, configs, **sizes))
        found[kind] = ray.get(there.__ray_call__.remote(lambda self: [len(piece) for piece in self.pack_queue._queue]))
        ray.kill(there)
    assert found == {"BIG": [8], "TINY": [2, 2, 2, 2]}
