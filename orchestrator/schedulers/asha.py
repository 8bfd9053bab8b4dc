"""Trials that lag behind are stopped. Late generalisers look like laggards: no study asks for it by default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from grokstudy.trainables.options import option


@dataclass(frozen=True, kw_only=True)
class Asha:
    """Asynchronous successive halving (arXiv 1810.05934): trials that lag behind at a rung are stopped."""

    stops: ClassVar[bool] = True

    metric: str = option("accuracy", "accuracy, loss or margin, or the name of a probe's measurement")
    split: str = option("test_oo", "evaluation split")
    mode: Literal["max", "min"] = option("max", "whether more is better")
    grace_steps: int = option(1000, "steps that every trial gets", ge=1)
    reduction_factor: int = option(3, "of that many trials, one goes on past a rung", ge=2)
