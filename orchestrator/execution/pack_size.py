"""How many members of a pack pay and fit on each kind of GPU of the cluster. One of the few files that know Ray.

Packs are cut for the kind that carries most. A worker on another kind cuts its pack again, into pieces that it trains
one after the other (pack_queue.py), so no pack waits for one kind and none is too large for where it lands. A kind that
comes later is measured by its workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ray

from grokstudy.trainables.bench.speed import remembered_pack_size
from grokstudy.trainables.config import RunConfig

KIND = "ray.io/accelerator-type"
"""The label by which Ray names the kind of GPU of a node, such as L4 or H100."""
UNMEASURED = "unmeasured"
"""In the place of a kind: no node is of it, so that every worker measures."""
MeasureSize = Callable[[RunConfig, int, str, int, float], int]
"""(configuration, most members, device, threads, share of the GPU) -> members that pay and fit."""


class Sizer:
    """Measures on the GPUs of the cluster; remembers what it found per shape of a model."""

    def __init__(self, resources: Mapping[str, float], probe: MeasureSize = remembered_pack_size) -> None:
        """For workers with these `cpu` and `gpu`."""
        self._resources, self._probe = resources, probe
        self._found: dict[Any, dict[str, int]] = {}

    def __call__(self, config: RunConfig, most: int) -> int:
        """Members that pay where most of them do."""
        self._found[config.shape()] = sizes = self._measured(config, most)
        return max(sizes.values())

    def meanwhile(self, config: RunConfig, most: int) -> int:
        """The same while workers train: nothing waits for the GPUs that they have, and nothing is measured twice.

        Of a new shape, packs are as large as they can be, and each worker measures by itself what it makes of them.
        """
        found = self._found.setdefault(config.shape(), {})
        if not found and not self._resources["gpu"]:
            return self(config, most)
        if found.keys() <= {UNMEASURED}:
            found[UNMEASURED] = most
        return max(found.values())

    def sizes(self, config: RunConfig) -> dict[str, int]:
        """What was found for runs of this shape; empty when nothing was measured."""
        return self._found.get(config.shape(), {})

    def _measured(self, config: RunConfig, most: int) -> dict[str, int]:
        cpu, gpu = self._resources["cpu"], self._resources["gpu"]
        threads = max(1, int(cpu))
        if not gpu:
            return {"": self._probe(config, most, "cpu", threads, 0.0)}
        remote = ray.remote(num_cpus=cpu, num_gpus=gpu)(_with_kind)
        places = [{KIND: kind} for kind in kinds()] or [{}]  # no GPU yet: the first that comes
        calls = [
            remote.options(label_selector=place).remote(self._probe, config, most, "cuda", threads, min(gpu, 1.0))
            for place in places
        ]
        return dict(ray.get(calls))


def _with_kind(probe: MeasureSize, *arguments: Any) -> tuple[str, int]:
    return kind_here(), probe(*arguments)


def kinds() -> list[str]:
    """The kinds of GPUs that are in the cluster now."""
    living = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
    return sorted({node["Labels"][KIND] for node in living if KIND in node["Labels"]})


def kind_here() -> str:
    """The kind of GPU of the node that this is called on; empty when Ray does not name it."""
    return str(ray.get_runtime_context().get_node_labels().get(KIND, ""))
