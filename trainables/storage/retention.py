"""Which checkpoints of a run stay, beside those that every run keeps. Says how to run, and changes no number.

Where a streak of hits of an event begins, a checkpoint of that step is kept, so that training can start from there
without repeating anything. A streak that ends before it counts is forgotten and its checkpoint dropped; the first that
counts is the event's, and it looks no further.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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


KEEP = Keep()
"""No more than what every run keeps."""


class Watch:
    """How far the streaks of hits of one run have come."""

    def __init__(self, events: Iterable[Event]) -> None:
        """Begin before the first evaluation."""
        self._began: dict[Event, int] = {}
        self._hits = dict.fromkeys(events, 0)

    @classmethod
    def of(cls, events: Iterable[Event], run: RunDir) -> Watch:
        """Go on where the tables of a run end."""
        watch = cls(events)
        for step, values in sorted(_read(watch._hits, run).items()):
            watch.look(step, values)
        return watch

    def look(self, step: int, values: Mapping[Site, float | None]) -> tuple[bool, set[int]]:
        """Take in an evaluation: whether a streak begins here, and where streaks began that came to nothing."""
        before = set(self._began.values())
        for event, hits in self._hits.items():
            hit = event.hit(values) if hits < event.for_ else None
            if hit:
                self._hits[event] += 1
                self._began.setdefault(event, step)
            elif hit is False:
                self._hits[event] = 0
                self._began.pop(event, None)
        now = set(self._began.values())
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


def _read(events: Iterable[Event], run: RunDir) -> dict[int, dict[Site, float | None]]:
    wanted = {event.metric for event in events}
    tables = {}
    if wanted & set(METRICS):
        tables["evals"] = records.read(run, "evals").to_pydict()
    if probes := sorted(wanted - set(METRICS)):
        rows = records.read(run, "probes")
        tables["probes"] = rows.filter(pc.is_in(rows["probe"], pa.array(probes))).to_pydict()
    return values_by_step(tables)
