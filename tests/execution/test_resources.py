"""How many workers a cluster may have when all its nodes have come."""

from __future__ import annotations

from pathlib import Path

import pytest

from grokstudy.orchestrator.execution.resources import gpus_in_reach, node_types, workers_in_reach

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def on_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")


def test_shipped_cluster_has_room_for_32_quarters_of_a_gpu(on_a_head: None) -> None:
    types = node_types(ROOT / "cluster.yaml")
    assert sum(kind.most for kind in types) == 8
    assert workers_in_reach(types, {"cpu": 1.0, "gpu": 0.25}) == 32
    assert workers_in_reach(types, {"cpu": 1.0, "gpu": 0.0}) == 64
    assert workers_in_reach(types, {"cpu": 16.0, "gpu": 1.0}) == 0
    assert gpus_in_reach(types)


def test_own_machines_count_as_one_worker_each_until_they_have_come(on_a_head: None, tmp_path: Path) -> None:
    path = tmp_path / "launched.yaml"
    path.write_text(
        "{provider: {type: local}, max_workers: 2, head_node_type: n,"
        " available_node_types: {n: {resources: {}, max_workers: 2}}}"
    )
    assert workers_in_reach(node_types(path), {"cpu": 1.0}) == 3
    assert not gpus_in_reach(node_types(path))


def test_a_laptop_grows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert node_types(ROOT / "cluster.yaml") == []
