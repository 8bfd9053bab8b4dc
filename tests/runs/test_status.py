"""What `status`, `watch` and `run` call the parts of a study."""

from __future__ import annotations

from typing import Any

import pytest

from grokstudy.analysis.labels import label
from grokstudy.orchestrator.runs.status import regimes

PHI, DECAY, DEPTH = {"data.phi": 3.6}, {"optim.weight_decay": 0.0965489384605629}, {"depth": "shared"}


@pytest.mark.parametrize(
    ("point", "name"),
    [
        ({**PHI, **DECAY, **DEPTH}, "phi=3.6, weight_decay=0.0965, shared"),
        ({**PHI, **DECAY, **DEPTH, "train.steps": 1000}, "phi=3.6, weight_decay=0.0965, shared"),
        (PHI, "phi=3.6"),
        (DEPTH, "shared"),
        ({"train.steps": 1000}, "all"),
        ({}, "all"),
    ],
)
def test_a_regime_is_called_as_in_reports_and_lengths_are_none(point: dict[str, Any], name: str) -> None:
    assert regimes([point]) == [name]
    if len(point) > 2:
        assert name == label({**PHI, **DECAY, **DEPTH})


def test_regimes_that_are_near_stay_apart() -> None:
    points = [{"optim.weight_decay": value, "depth": "shared"} for value in (0.1, 0.1000001, 0.1)]
    assert regimes(points) == ["weight_decay=0.1, shared", "weight_decay=0.1000001, shared", "weight_decay=0.1, shared"]
