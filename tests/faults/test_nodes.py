"""Machines are lost: one of several under a driver that goes on, the head with its driver, and one that gave notice."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import injury
import pytest
from injury import Patient, costly, patient, processes, train, unharmed, until

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.store import Store

pytestmark = [pytest.mark.faults, pytest.mark.slow, costly]

QUICK_DEATH = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster that ends with the test."""
    made = launched()
    yield made
    made.shutdown()


def launched() -> Any:
    """A head that trains nothing, and two nodes with a core each."""
    from grokstudy.orchestrator.execution.tuner import set_environment

    set_environment()
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80_000_000, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": QUICK_DEATH, **small})
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=80_000_000)
    return made


def test_a_node_is_lost(tmp_path: Path, cluster: Any) -> None:
    with patient(tmp_path) as hurt:
        whole = train(hurt.configs[0], Store(tmp_path / "whole"))
        driver = hurt.drive(RAY_ADDRESS=cluster.address)
        hurt.until_reached(300)
        node, worker = _where_it_trains(cluster, hurt)
        os.kill(_raylet(node), signal.SIGKILL)
        begun = time.monotonic()
        until(lambda: (hurt.run.read("lease.json") or {})["attempt"] >= 2, "a worker on the other node")
        seconds = time.monotonic() - begun
        hurt.finish(driver)
        assert (hurt.run.read("DONE.json") or {})["attempt"] >= 2
        unharmed("SIGKILL of a raylet (3 nodes)", hurt.run, whole, seconds)
        if worker in processes():  # it outlives its node; without the lease it writes nothing
            os.kill(worker, signal.SIGKILL)


@pytest.mark.parametrize("notice", ["its node drains", "SIGTERM of the worker"])
def test_a_notice_costs_no_step(tmp_path: Path, cluster: Any, notice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(injury, "STEPS", 10**6)
    monkeypatch.setattr(injury, "STUDY", injury.STUDY.replace("checkpoint_every: 100", "checkpoint_every: STEPS"))
    with patient(tmp_path) as hurt:
        driver = hurt.drive(RAY_ADDRESS=cluster.address)
        until(lambda: "1 running" in hurt.said(), "the first heartbeat")
        node, worker = _where_it_trains(cluster, hurt)
        begun = time.monotonic()
        if notice == "its node drains":
            _drain(cluster, node)
        else:
            os.kill(worker, signal.SIGTERM)
        until(lambda: worker not in processes(), "the end of the worker", 30)
        safe = hurt.reached()
        assert safe, "a checkpoint that only the notice can have caused"
        until(lambda: (hurt.run.read("lease.json") or {})["attempt"] >= 2, "its successor")
        seconds = time.monotonic() - begun
        assert (hurt.run.read("lease.json") or {})["reached"] == safe
        if notice == "its node drains":
            assert _where_it_trains(cluster, hurt)[0] != node
        driver.terminate()
        assert driver.wait(60) == 3, hurt.said()
        last = hurt.reached()
        whole = train(_with_length(hurt.configs[0], last), Store(tmp_path / "whole"))
        unharmed(f"notice: {notice}", hurt.run, whole, seconds, until=last)


def _with_length(config: RunConfig, steps: int) -> RunConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, steps=steps))


def _drain(cluster: Any, node: Any) -> None:
    """What `ray drain-node` does: the node will be taken away in half a minute."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated.autoscaler_pb2 import DRAIN_NODE_REASON_PREEMPTION

    ends_ms = int(1000 * (time.time() + 30))
    gcs = GcsClient(address=cluster.address)
    accepted, why = gcs.drain_node(node.node_id, DRAIN_NODE_REASON_PREEMPTION, "taken away", ends_ms)
    assert accepted, why


def test_the_head_is_lost_and_a_new_cluster_goes_on(tmp_path: Path) -> None:
    with patient(tmp_path) as hurt:
        whole = train(hurt.configs[0], Store(tmp_path / "whole"))
        first = launched()
        driver = hurt.drive(RAY_ADDRESS=first.address)
        at = hurt.until_reached(300)
        _, worker = _where_it_trains(first, hurt)
        begun = time.monotonic()
        driver.kill()
        driver.wait(10)
        for kind in first.head_node.all_processes.values():
            for started in kind:
                started.process.kill()
        second = launched()
        try:
            again = hurt.drive(RAY_ADDRESS=second.address)
            until(lambda: (hurt.run.read("lease.json") or {})["attempt"] >= 2, "a worker of the new cluster")
            until(lambda: hurt.reached() > at or hurt.run.read("DONE.json"), f"more than step {at}")
            seconds = time.monotonic() - begun
            hurt.finish(again)
            until(lambda: worker not in processes(), "the end of the old cluster's worker")
        finally:
            first.shutdown()
            second.shutdown()
        unharmed("SIGKILL of the head with its driver, new cluster", hurt.run, whole, seconds)


def _raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def _where_it_trains(cluster: Any, hurt: Patient) -> tuple[Any, int]:
    """The node on which the worker is, and the worker."""
    seen = processes()
    nodes = {_raylet(node): node for node in cluster.worker_nodes}
    for pid, (parent, command, _) in seen.items():
        if parent in nodes and "Trainable" in command[:40]:
            return nodes[parent], pid
    raise AssertionError(f"no worker below {list(nodes)}: {hurt.said()}")
