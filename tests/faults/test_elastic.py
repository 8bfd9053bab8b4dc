"""Packs wait for GPUs, nodes come, the study ends, nodes go: 0 -> 2 -> 0, by Ray's own autoscaler.

Nodes are made by Ray's provider for tests: raylets on this machine that claim a GPU each. It is named as an external
provider, because the wheel lacks the file that its short name needs, and started by hand, because Ray's
`AutoscalingCluster` ends every Ray on the machine. The second autoscaler is the one that `ray up` starts in a cloud.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import injury
import polars as pl
import pytest
from injury import patient, processes, until

pytestmark = pytest.mark.slow

HEAD = "f" * 51 + "00000"
NODES = 2
EMPTY = ("auth", "docker", "file_mounts")
LISTS = (
    "cluster_synced_files", "initialization_commands", "setup_commands", "head_setup_commands",
    "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands",
)  # fmt: skip
CONFIG: dict[str, Any] = {
    **{key: {} for key in EMPTY},
    **{key: [] for key in LISTS},
    "cluster_name": "elastic",
    "max_workers": NODES,
    "upscaling_speed": 100.0,
    "idle_timeout_minutes": 0.05,
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "gpu": {
            "resources": {"CPU": 1, "GPU": 1, "object_store_memory": 80_000_000},
            "node_config": {},
            "min_workers": 0,
            "max_workers": NODES,
        },
    },
    "provider": {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "head_node_id": HEAD,
        "launch_multiple": True,
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "foreground_node_launch": True,
        "worker_liveness_check": False,
    },
}
ENVIRONMENT = {
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": HEAD,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
    "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1",  # the GPUs are claimed, not there: workers train on the CPU
}


@dataclass(frozen=True)
class Cloud:
    """A head that trains nothing, with an autoscaler; `home` is what the driver has as its home there."""

    address: str
    home: Path
    head: Any
    """Who knows the nodes: asked many times a second, so not a new one each time."""

    def workers(self) -> int:
        """Nodes beside the head that are alive."""
        return [node.state for node in self.head.get_all_node_info().values()].count(0) - 1


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """A cluster of its own: its port, folder and token. Its processes carry a mark by which they are ended.

    The folder's name is short: a node's sockets lie deep in it, and a path of more than 107 bytes is no address.
    """
    from grokstudy.orchestrator.execution.tuner import set_environment

    set_environment()
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.util import get_node_ip_address

    folder, mark = Path(tempfile.mkdtemp(prefix="el-", dir="/tmp")), uuid.uuid4().hex
    address = f"{get_node_ip_address()}:{_free_port()}"
    launched = folder / "ray_bootstrap_config.yaml"
    launched.write_text(json.dumps({**CONFIG, "provider": {**CONFIG["provider"], "gcs_address": address}}))
    words = [str(Path(sys.executable).parent / "ray"), "start", "--head", f"--port={address.split(':')[1]}"]
    words += ["--num-cpus=0", "--num-gpus=0", "--object-store-memory=80000000", "--include-dashboard=false"]
    words += [f"--temp-dir={folder}", f"--autoscaling-config={launched}"]
    try:
        subprocess.run(words, env={**os.environ, **ENVIRONMENT, "FAULTS_TOKEN": mark}, check=True, capture_output=True)
        yield Cloud(address, folder, GcsClient(address=address))
    finally:
        _end(mark)
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _end(mark: str) -> None:
    """Kill what carries the mark, until nothing does."""

    def ended() -> bool:
        left = [pid for pid, (_, _, token) in processes().items() if token == mark]
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    until(ended, "the end of the cluster", 20)


def test_nodes_come_for_waiting_packs_and_go_when_idle(
    tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = injury.STUDY.replace("seeds: [0]", "seeds: [0, 1, 2, 3]")
    monkeypatch.setattr(injury, "STUDY", asked.replace("cpu: 1, pack: 1", "cpu: 0.5, gpu: 0.5, pack: 1"))
    monkeypatch.setattr(injury, "STEPS", 200)
    assert cloud.workers() == 0
    with patient(tmp_path) as hurt:
        driver = hurt.drive(RAY_ADDRESS=cloud.address, HOME=str(cloud.home))
        seen = [0]

        def back_to_none() -> bool:
            if (now := cloud.workers()) != seen[-1]:
                seen.append(now)
            return now == 0 and driver.poll() is not None

        try:
            until(back_to_none, "nodes that come and go", 200)
        except AssertionError as error:
            pytest.fail(f"{error}; nodes so far {seen}, driver {driver.poll()}: {hurt.said()}")
        assert driver.wait(0) == 0, hurt.said()
        assert max(seen) == NODES, seen
        steps = pl.scan_parquet(f"{hurt.store.uri}/metrics/steps/**/*.parquet", hive_partitioning=True)
        each = steps.group_by("run_id").agg(n=pl.len(), different=pl.col("step").n_unique())
        assert each.select("n", "different").collect().rows() == [(200, 200)] * 4
