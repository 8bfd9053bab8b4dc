"""What one worker gets, and how many there is room for: on this machine, or in what a launched cluster may grow to.

`ray up` leaves its file on the head, where the driver runs; it says what may come. Packs are cut for the workers that
may come, not for those that are there: a cluster that has shrunk to its head would otherwise get one pack with
everything in it, and never grow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from grokstudy.orchestrator.study.study import Study

LAUNCHED = Path("~/ray_bootstrap_config.yaml")


def cluster_address() -> str | None:
    """The cluster that RAY_ADDRESS names; None where Ray is to be started on this machine: unset, empty or `local`."""
    address = os.environ.get("RAY_ADDRESS", "").strip()
    return None if address in ("", "local") else address


@dataclass(frozen=True)
class NodeType:
    """A kind of worker node, and how many of it there may be."""

    most: int
    resources: Mapping[str, float]
    """Empty when the file does not say: machines that are found as they are."""

    def fits(self, request: Mapping[str, float]) -> int:
        """Workers that one such node has room for."""
        if not self.resources:
            return 1
        return min(int(self.resources.get(name.upper(), 0) / share) for name, share in request.items() if share)


def node_types(path: Path = LAUNCHED) -> list[NodeType]:
    """The nodes that may train, or come to; none when this is not the head of a launched cluster."""
    if cluster_address() is None or not path.expanduser().is_file():
        return []
    config: dict[str, Any] = yaml.safe_load(path.expanduser().read_text())
    local = config["provider"]["type"] == "local"
    left = config.get("max_workers", 0)
    types = []
    for name, kind in config.get("available_node_types", {}).items():
        if name != config["head_node_type"] or local:
            most = min(left, kind.get("max_workers", left))
            left -= most
            types.append(NodeType(most + local, kind.get("resources", {})))
    return types


def workers_in_reach(types: list[NodeType], request: Mapping[str, float]) -> int:
    """Workers that fit when every node has come."""
    return sum(kind.most * kind.fits(request) for kind in types)


def gpus_in_reach(types: list[NodeType]) -> bool:
    """Whether a node with a GPU may come."""
    return any(kind.most and kind.resources.get("GPU") for kind in types)


def granted(study: Study) -> dict[str, float]:
    """CPUs and GPUs of one worker; `auto` is one core, and one whole GPU where the cluster has any or may get some."""
    import ray

    cpu, gpu = study.resources.cpu, study.resources.gpu
    if gpu == "auto":
        gpu = 1.0 if ray.cluster_resources().get("GPU") or gpus_in_reach(node_types()) else 0.0
    return {"cpu": 1.0 if cpu == "auto" else float(cpu), "gpu": float(gpu)}


def workers_at_once(study: Study) -> int:
    """Workers that the cluster has room for, or may grow to have room for; at least one."""
    import ray

    available, resources = ray.cluster_resources(), granted(study)
    fit = [int(available.get(name.upper(), 0.0) / requested) for name, requested in resources.items() if requested]
    room = max(min(fit), workers_in_reach(node_types(), resources))
    requested = study.resources.workers
    if isinstance(requested, int):
        return requested if cluster_address() is not None else max(1, min(room, requested))
    return max(1, room)


class ResourcesError(ValueError):
    """The study asks for more than this machine has."""


def check_resources(study: Study) -> None:
    """Raise ResourcesError where a worker could never be placed. A cluster may still grow, so it is not checked."""
    import ray

    if cluster_address() is not None:
        return
    available = ray.cluster_resources()
    for name, amount in granted(study).items():
        if amount > available.get(name.upper(), 0.0):
            message = f"this machine has {available.get(name.upper(), 0.0):g}"
            raise ResourcesError(
                f"resources.{name}: {amount:g} asked per worker, {message}; use --{name} to ask for less"
            )
