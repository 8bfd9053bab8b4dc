"""Which checkpoints of a run stay, beside those that every run keeps. Says how to run, and changes no number.

Where a streak of hits of an event begins, a checkpoint of that step is kept, so that training can start from there
without repeating anything. A streak that ends before it counts is forgotten and its checkpoint dropped; the first that
counts is the event's, and it looks no further.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from grokstudy.trainables.events import Event, Site
from grokstudy.trainables.schema import METRICS
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import RunDir


@dataclass(frozen=True)
class Keep:
    """What to keep of a run."""

    events: tuple[Event, ...] = ()
    budget: int | None = None
    """Bytes of all checkpoints of a run; the newest two stay in any case."""
    every: bool = False
    """Whether older ones stay, too, that are not log-spaced."""


KEEP = Keep()
"""No more than what every run keeps."""


class Watch:
    """How far the streaks of hits of one run have come."""

    def __init__(self, events: Iterable[Event]) -> None:
        """Start before the first evaluation."""
        self._start_of: dict[Event, int] = {}
        self._hits = dict.fromkeys(events, 0)

    @classmethod
    def of(cls, events: Iterable[Event], run: RunDir) -> Watch:
        """Resume where the tables of a run end."""
        watch = cls(events)
        for step, values in sorted(_read(watch._hits, run).items()):
            watch.look(step, values)
        return watch

    def look(self, step: int, values: Mapping[Site, float | None]) -> tuple[bool, set[int]]:
        """Take in an evaluation: whether a streak starts here, and where streaks started that are broken now."""
        starts_before = set(self._start_of.values())
        for event, hits in self._hits.items():
            hit = event.hit(values) if hits < event.for_ else None
            if hit:
                self._hits[event] += 1
                self._start_of.setdefault(event, step)
            elif hit is False:
                self._hits[event] = 0
                self._start_of.pop(event, None)
        starts = set(self._start_of.values())
        return step in starts - starts_before, starts_before - starts


def values_by_step(tables: Mapping[str, Mapping[str, Any]]) -> dict[int, dict[Site, float | None]]:
    """What was measured at each step, from the columns of `evals` and `probes`."""
    values: dict[int, dict[Site, float | None]] = {}
    if evals := tables.get("evals"):
        for metric in METRICS:
            for step, split, value in zip(evals["step"], evals["split"], evals[metric], strict=True):
                values.setdefault(int(step), {})[metric, split, None, None] = value
    if probes := tables.get("probes"):
        columns = (probes[name] for name in ("step", "probe", "split", "layer", "position", "value"))
        for step, probe, split, layer, position, value in zip(*columns, strict=True):
            values.setdefault(int(step), {})[probe, split, layer, position] = value
    return values


def _read(events: Iterable[Event], run: RunDir) -> dict[int, dict[Site, float | None]]:
    metrics = {event.metric for event in events}
    tables = {}
    if metrics & set(METRICS):
        tables["evals"] = records.read(run, "evals").to_pydict()
    if probes := sorted(metrics - set(METRICS)):
        rows = records.read(run, "probes")
        tables["probes"] = rows.filter(pc.is_in(rows["probe"], pa.array(probes))).to_pydict()
    return values_by_step(tables)
