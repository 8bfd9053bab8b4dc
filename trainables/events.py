"""Events: named threshold crossings, as a study declares them. One home for declaration, JSON, words and the hit rule.

A worker keeps a checkpoint where one begins (`storage/retention.py`), the analysis finds when it happened
(`analysis/events.py`, with hysteresis and censoring), and imported curves bring their own (`Event.parse`).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import Any

import numpy as np

from grokstudy.trainables.options import option

Site = tuple[str, str, int | None, str | None]
"""Metric or probe, split, layer, position: what one value was measured of."""
_TEXT = re.compile(
    r"(?P<name>\w+)=(?P<metric>[\w.]+)/(?P<split>\w+)(?P<sign>>=|<=)(?P<value>[\d.]+)(?::(?P<for>\d+))?(?P<stable>:stable)?"
)


@dataclass(frozen=True, kw_only=True)
class Event:
    """A named threshold crossing; censored in a run that does not reach it."""

    metric: str = option(
        MISSING, "accuracy, loss or margin of an evaluation split, or the name of a probe's measurement"
    )
    split: tuple[str, ...] = option(MISSING, "evaluation split, or a list: the worst of them decides")
    layer: int | None = option(None, "effective depth of the probe's site, null for its summary over sites", ge=0)
    position: str | None = option(None, "token position of the probe's site, null for its summary over sites")
    at_least: float | None = option(None, "reached when the metric is at least this")
    at_most: float | None = option(None, "reached when the metric is at most this")
    for_: int = option(3, "consecutive evaluations that must hold", ge=1)
    stable: bool = option(
        False, "also require that it is never lost again: not short twice in a row, nor at the last evaluation"
    )

    @classmethod
    def from_json(cls, name: str, raw: Mapping[str, Any]) -> Event:
        """As `to_json` wrote it, and as published files leave things out. ValueError names the event and the key."""
        known = [field.name.rstrip("_") for field in dataclasses.fields(cls)]
        unknown = sorted(set(raw) - set(known))
        if unknown:
            raise ValueError(f"events.{name}.{unknown[0]} is unknown; known: {', '.join(known)}")
        if (raw.get("at_least") is None) == (raw.get("at_most") is None):
            raise ValueError(f"events.{name}: give exactly one of at_least and at_most")
        split = raw.get("split") or ()
        if not split or not raw.get("metric"):
            raise ValueError(f"events.{name}: metric and split are required")
        given = {key: value for key, value in raw.items() if value is not None and key != "for"}
        splits = (split,) if isinstance(split, str) else tuple(split)
        return cls(**{**given, "split": splits}, for_=max(1, int(raw.get("for") or 1)))

    @classmethod
    def parse(cls, text: str) -> tuple[str, Event]:
        """Read `name=metric/split>=value[:for][:stable]`. Raises ValueError saying what is allowed."""
        match = _TEXT.fullmatch(text)
        if match is None:
            form = "NAME=METRIC/SPLIT>=VALUE[:FOR][:stable], e.g. circuit=cqsp/test_oo>=0.5:3"
            raise ValueError(f"--event {text!r} is not {form}")
        value, rising = float(match["value"]), match["sign"] == ">="
        return match["name"], cls(
            metric=match["metric"], split=(match["split"],), at_least=value if rising else None,
            at_most=None if rising else value, for_=int(match["for"] or 1), stable=match["stable"] is not None,
        )  # fmt: skip

    @property
    def rising(self) -> bool:
        """Whether it is reached from below."""
        return self.at_least is not None

    @property
    def threshold(self) -> float:
        """The bound that it crosses."""
        bound = self.at_least if self.at_most is None else self.at_most
        assert bound is not None, "checked where it was read"
        return bound

    @property
    def sited(self) -> bool:
        """Whether it looks at one site rather than at the summary over all."""
        return self.layer is not None

    def beyond(self, value: Any) -> Any:
        """The hit rule: whether a float32 value (or each of a column) is at or beyond the threshold as float32."""
        threshold = np.float32(self.threshold)
        return value >= threshold if self.rising else value <= threshold

    def hit(self, values: Mapping[Site, float | None]) -> bool | None:
        """Whether one evaluation is a hit, by the worst of its splits; None when it did not measure that."""
        cells = [values.get((self.metric, split, self.layer, self.position)) for split in self.split]
        measured = [value for value in cells if value is not None and not math.isnan(value)]
        if len(measured) < len(cells):
            return None
        return bool(self.beyond(np.float32(min(measured) if self.rising else max(measured))))

    @property
    def bound(self) -> str:
        """What the metric has to do: `>= 0.5 for 3, stable`."""
        return f"{self._sign} {self.threshold:g} for {self.for_}" + (", stable" if self.stable else "")

    def __str__(self) -> str:
        """The event in words, as a table's footnote says it."""
        layer = "" if self.layer is None else f" at layer {self.layer}"
        site = layer if self.position is None else f"{layer} position {self.position}"
        held = f" for {self.for_} evaluations" if self.for_ > 1 else ""
        kept = ", and kept" if self.stable else ""
        return f"{self.metric}{site} on {', '.join(self.split)} {self._sign} {self.threshold:g}{held}{kept}"

    @property
    def _sign(self) -> str:
        return ">=" if self.rising else "<="

    def to_json(self) -> dict[str, Any]:
        """Plain values, under the names of the study file."""
        plain = {name.rstrip("_"): value for name, value in dataclasses.asdict(self).items()}
        return {**plain, "split": list(self.split)}


def events_of(spec: Mapping[str, Any]) -> dict[str, Event]:
    """The events of a `study.json`, by name. Raises ValueError naming the event and the key."""
    return {name: Event.from_json(name, raw) for name, raw in (spec.get("events") or {}).items()}
