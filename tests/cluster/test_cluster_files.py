"""The cluster files that are shipped: valid for Ray, and safe: no open dashboard, a token, no telemetry."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RAY_UP = [ROOT / "cluster.yaml", ROOT / "docs/clusters/local.yaml", ROOT / "docs/clusters/gcp.yaml"]
CLOUDS = [RAY_UP[0], RAY_UP[2]]
POD = {
    "type": "object",
    "required": ["spec"],
    "properties": {"spec": {"type": "object", "required": ["containers"]}},
    "additionalProperties": False,
}
COUNT = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
RAY_JOB = {
    "type": "object",
    "required": ["entrypoint", "rayClusterSpec"],
    "additionalProperties": False,
    "properties": {
        "entrypoint": {"type": "string"},
        "runtimeEnvYAML": {"type": "string"},
        "shutdownAfterJobFinishes": {"type": "boolean"},
        "ttlSecondsAfterFinished": COUNT,
        "backoffLimit": COUNT,
        "rayClusterSpec": {
            "type": "object",
            "required": ["headGroupSpec"],
            "additionalProperties": False,
            "properties": {
                "rayVersion": {"type": "string"},
                "enableInTreeAutoscaling": {"type": "boolean"},
                "autoscalerOptions": {"properties": {"idleTimeoutSeconds": COUNT}, "additionalProperties": False},
                "authOptions": {"properties": {"mode": {"enum": ["disabled", "token"]}}, "additionalProperties": False},
                "headGroupSpec": {
                    "required": ["template"],
                    "properties": {"serviceType": {"type": "string"}, "rayStartParams": TEXTS, "template": POD},
                    "additionalProperties": False,
                },
                "workerGroupSpecs": {
                    "type": "array",
                    "items": {
                        "required": ["groupName", "template"],
                        "properties": {
                            "groupName": {"type": "string"}, "replicas": COUNT, "minReplicas": COUNT,
                            "maxReplicas": COUNT, "rayStartParams": TEXTS, "template": POD,
                        },
                        "additionalProperties": False,
                    },
                },
            },
        },
    },
}  # fmt: skip
"""The part of KubeRay's RayJob (ray.io/v1) that our file may use."""


def read(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    return config


def prepared(path: Path) -> dict[str, Any]:
    from ray.autoscaler._private.util import prepare_config

    config: dict[str, Any] = prepare_config(read(path))
    return config


@pytest.mark.parametrize("path", RAY_UP, ids=lambda p: p.name)
def test_ray_accepts_the_file(path: Path) -> None:
    from ray.autoscaler._private.util import validate_config

    validate_config(prepared(path))


@pytest.mark.parametrize("path", RAY_UP, ids=lambda p: p.name)
def test_ray_starts_with_a_token_without_telemetry_and_with_a_dashboard_for_the_head_alone(path: Path) -> None:
    config = read(path)
    (head,) = (line for line in config["head_start_ray_commands"] if "ray start" in line)
    (worker,) = (line for line in config["worker_start_ray_commands"] if "ray start" in line)
    assert "--dashboard-host=127.0.0.1" in head
    for line in (head, worker):
        assert "RAY_AUTH_MODE=token" in line
        assert "RAY_USAGE_STATS_ENABLED=0" in line
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"]
    assert any("--constraint constraints.txt" in line for line in config["setup_commands"])


@pytest.mark.parametrize("path", CLOUDS, ids=lambda p: p.name)
def test_clouds_bring_gpu_nodes_only_when_packs_wait_and_the_head_trains_nothing(path: Path) -> None:
    config = read(path)
    types = config["available_node_types"]
    head = types.pop(config["head_node_type"])
    assert head["resources"] == {"CPU": 0}
    assert {name: kind["min_workers"] for name, kind in types.items()} == {"gpu_spot": 0, "gpu_on_demand": 0}
    assert all(kind["resources"]["GPU"] == 1 for kind in types.values())
    assert types["gpu_spot"]["priority"] > types["gpu_on_demand"]["priority"]
    assert config["idle_timeout_minutes"] == 5
    assert "GROKSTUDY_ROOT=" in config["worker_start_ray_commands"][-1]


@pytest.mark.parametrize("path", RAY_UP, ids=lambda p: p.name)
def test_shell_commands_of_a_file_are_valid_shell(path: Path) -> None:
    config = read(path)
    keys = [key for key in config if key.endswith("_commands")]
    for line in (line for key in keys for line in config[key]):
        subprocess.run(["bash", "-n", "-c", line], check=True)


def test_rayjob_has_only_fields_that_kuberay_knows() -> None:
    job = read(ROOT / "docs/clusters/kuberay-rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    jsonschema.validate(job["spec"], RAY_JOB)
    pinned = (ROOT / "constraints.txt").read_text()
    assert f"ray=={job['spec']['rayClusterSpec']['rayVersion']}\n" in pinned
    study = job["spec"]["entrypoint"].split(" run ")[1].split()[0]
    assert (ROOT / study).is_file()


def test_slurm_script_is_valid_shell_and_says_how_it_is_used() -> None:
    script = ROOT / "docs/clusters/slurm.sh"
    subprocess.run(["bash", "-n", script], check=True)
    without_arguments = subprocess.run(["bash", script], capture_output=True, text=True, check=False)
    assert without_arguments.returncode != 0
    assert "usage: sbatch slurm.sh STUDY ROOT" in without_arguments.stderr
