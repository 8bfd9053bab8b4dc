"""Which checkpoints of a run stay, beside those that every run keeps. Says how to run, and changes no number.

A rule names a threshold on a metric (an event of a study). Where a streak of hits begins, a checkpoint of that step is
kept, so that training can start from there without repeating anything. A streak that ends before it counts is forgotten
and its checkpoint dropped; the first that counts is the rule's, and it looks no further. Hits are those of
`analysis/events.py`: compared as float32, the worst split decides, a value that is missing is no evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import RunDir

Site = tuple[str, str, int | None, str | None]
"""Metric or probe, split, layer, position."""
METRICS = ("accuracy", "loss", "margin")


@dataclass(frozen=True)
class Rule:
    """A threshold crossing to keep a checkpoint of."""

    metric: str
    splits: tuple[str, ...]
    threshold: float
    rising: bool = True
    consecutive: int = 1
    layer: int | None = None
    position: str | None = None

    def hit(self, values: Mapping[Site, float | None]) -> bool | None:
        """Whether an evaluation is at or beyond the threshold; None when it did not measure that."""
        found = [values.get((self.metric, split, self.layer, self.position)) for split in self.splits]
        measured = [value for value in found if value is not None and not math.isnan(value)]
        if len(measured) < len(found):
            return None
        worst, threshold = np.float32((min if self.rising else max)(measured)), np.float32(self.threshold)
        return bool(worst >= threshold if self.rising else worst <= threshold)


@dataclass(frozen=True)
class Keep:
    """What to keep of a run."""

    rules: tuple[Rule, ...] = ()
    budget: int | None = None
    """Bytes of all checkpoints of a run; the newest two stay in any case."""


KEEP = Keep()
"""No more than what every run keeps."""


class Watch:
    """How far the streaks of hits of one run have come."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        """Begin before the first evaluation."""
        self._begun: dict[Rule, int] = {}
        self._hits = dict.fromkeys(rules, 0)

    @classmethod
    def of(cls, rules: Iterable[Rule], run: RunDir) -> Watch:
        """Go on where the tables of a run end."""
        watch = cls(rules)
        for step, values in sorted(_read(watch._hits, run).items()):
            watch.look(step, values)
        return watch

    def look(self, step: int, values: Mapping[Site, float | None]) -> tuple[bool, set[int]]:
        """Take in an evaluation: whether a streak begins here, and where streaks began that came to nothing."""
        before = set(self._begun.values())
        for rule, hits in self._hits.items():
            hit = rule.hit(values) if hits < rule.consecutive else None
            if hit:
                self._hits[rule] += 1
                self._begun.setdefault(rule, step)
            elif hit is False:
                self._hits[rule] = 0
                self._begun.pop(rule, None)
        now = set(self._begun.values())
        return step in now - before, before - now


def values_by_step(tables: Mapping[str, Mapping[str, Any]]) -> dict[int, dict[Site, float | None]]:
    """What was measured at each step, from the columns of `evals` and `probes`."""
    found: dict[int, dict[Site, float | None]] = {}
    for step, site, value in _cells(tables.get("evals", {}), tables.get("probes", {})):
        found.setdefault(int(step), {})[site] = value
    return found


def _cells(evals: Mapping[str, Any], probes: Mapping[str, Any]) -> Iterator[tuple[int, Site, float | None]]:
    for metric in METRICS if evals else ():
        for step, split, value in zip(evals["step"], evals["split"], evals[metric], strict=True):
            yield step, (metric, split, None, None), value
    if probes:
        names = ("step", "probe", "split", "layer", "position", "value")
        for step, probe, split, layer, position, value in zip(*(probes[name] for name in names), strict=True):
            yield step, (probe, split, layer, position), value


def _read(rules: Iterable[Rule], run: RunDir) -> dict[int, dict[Site, float | None]]:
    wanted = {rule.metric for rule in rules}
    tables = {}
    if wanted & set(METRICS):
        tables["evals"] = records.read(run, "evals").to_pydict()
    if probes := sorted(wanted - set(METRICS)):
        rows = records.read(run, "probes")
        tables["probes"] = rows.filter(pc.is_in(rows["probe"], pa.array(probes))).to_pydict()
    return values_by_step(tables)
