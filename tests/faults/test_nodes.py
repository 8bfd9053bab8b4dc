"""A machine is lost: SIGKILL of a raylet in a cluster of several nodes, under a driver that goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from injury import Patient, costly, patient, processes, train, unharmed, until

from trainables.store import Store

pytestmark = [pytest.mark.faults, pytest.mark.slow, costly]

QUICK_DEATH = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that trains nothing, and two nodes with a core each."""
    from orchestrator.tuner import set_environment

    set_environment()
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80_000_000, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": QUICK_DEATH, **small})
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=80_000_000)
    yield made
    made.shutdown()


def test_a_node_is_lost(tmp_path: Path, cluster: Any) -> None:
    with patient(tmp_path) as hurt:
        whole = train(hurt.configs[0], Store(tmp_path / "whole"))
        driver = hurt.drive(RAY_ADDRESS=cluster.address)
        hurt.until_reached(300)
        raylet, worker = _where_it_trains(cluster, hurt)
        os.kill(raylet, signal.SIGKILL)
        begun = time.monotonic()
        until(lambda: (hurt.run.read("lease.json") or {})["attempt"] >= 2, "a worker on the other node")
        seconds = time.monotonic() - begun
        hurt.finish(driver)
        assert (hurt.run.read("DONE.json") or {})["attempt"] >= 2
        unharmed("SIGKILL of a raylet (3 nodes)", hurt.run, whole, seconds)
        if worker in processes():  # it outlives its node; without the lease it writes nothing
            os.kill(worker, signal.SIGKILL)


def _where_it_trains(cluster: Any, hurt: Patient) -> tuple[int, int]:
    """The raylet above the worker, and the worker."""
    seen = processes()
    raylets = [node.all_processes["raylet"][0].process.pid for node in cluster.worker_nodes]
    for pid, (parent, command, _) in seen.items():
        if parent in raylets and "Trainable" in command[:40]:
            return parent, pid
    raise AssertionError(f"no worker below {raylets}: {hurt.said()}")
