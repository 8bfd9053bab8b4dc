"""What a launched cluster may grow to. `ray up` leaves its file on the head, where the driver runs; it says so.

Packs are cut for the workers that may come, not for those that are there: a cluster that has shrunk to its head
would otherwise get one pack with everything in it, and never grow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LAUNCHED = Path("~/ray_bootstrap_config.yaml")


@dataclass(frozen=True)
class NodeType:
    """A kind of worker node, and how many of it there may be."""

    most: int
    resources: Mapping[str, float]
    """Empty when the file does not say: machines that are found as they are."""

    def fits(self, asked: Mapping[str, float]) -> int:
        """Workers that one such node has room for."""
        if not self.resources:
            return 1
        return min(int(self.resources.get(name.upper(), 0) / share) for name, share in asked.items() if share)


def node_types(path: Path = LAUNCHED) -> list[NodeType]:
    """The nodes that may train, or come to; none when this is not the head of a launched cluster."""
    if "RAY_ADDRESS" not in os.environ or not path.expanduser().is_file():
        return []
    config: dict[str, Any] = yaml.safe_load(path.expanduser().read_text())
    local = config["provider"]["type"] == "local"
    left = config.get("max_workers", 0)
    found = []
    for name, kind in config.get("available_node_types", {}).items():
        if name != config["head_node_type"] or local:
            most = min(left, kind.get("max_workers", left))
            left -= most
            found.append(NodeType(most + local, kind.get("resources", {})))
    return found


def workers_in_reach(types: list[NodeType], asked: Mapping[str, float]) -> int:
    """Workers that fit when every node has come."""
    return sum(kind.most * kind.fits(asked) for kind in types)


def gpus_in_reach(types: list[NodeType]) -> bool:
    """Whether a node with a GPU may come."""
    return any(kind.most and kind.resources.get("GPU") for kind in types)
