"""A study: one question, and what it comes to at each point of its space.

Owns the format of `study.json`. `load.py` reads one from its file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from grokstudy.orchestrator.search.expressions import Expression
from grokstudy.orchestrator.search.space import Axis, Setting, Value, plain
from grokstudy.orchestrator.study.resolve import Resolver
from grokstudy.orchestrator.study.sections import CrossedSeeds, Resources
from grokstudy.trainables.config import RunConfig, canonical_json, default_probes
from grokstudy.trainables.events import Event
from grokstudy.trainables.functions import Trainable
from grokstudy.trainables.measurements import measured_by
from grokstudy.trainables.options import nested
from grokstudy.trainables.schema import METRICS
from grokstudy.trainables.tasks import TASKS


@dataclass(frozen=True)
class Study:
    """A study that was read and checked. Its options are told by dotted names, nested only in files."""

    name: str
    path: Path
    text: str
    hypothesis: str
    task: str
    function: str | None
    """Full name of the training function from outside; None for the built-in loop."""
    settings: Mapping[str, Setting]
    """What `base` sets, by dotted name."""
    axes: tuple[Axis, ...]
    derived: Mapping[str, Expression]
    seeds: tuple[int, ...]
    """What every point is run with; where they are crossed, a number for each combination."""
    search_kind: str
    search: Any
    scheduler_kind: str
    scheduler: Any
    events: Mapping[str, Event]
    resources: Resources
    crossed: CrossedSeeds | None = None
    """The seeds of graph, init and order, where each has its own."""
    figures: tuple[str, ...] = ()
    """Figures from outside that the report shows, by full name."""
    code: Mapping[str, str] = field(default_factory=dict)
    """Full names of all code from outside, by the word in the file."""

    @cached_property
    def resolver(self) -> Resolver:
        """Gives the configuration of a run at a point."""
        return Resolver(
            self.task, self.function, {**self.settings, **self.derived}, self.axes, self.crossed is not None
        )

    @property
    def columns(self) -> list[str]:
        """Names of the axes, which are the columns that tell the trials apart."""
        return [axis.name for axis in self.axes]

    @property
    def probes(self) -> set[str]:
        """The probes that any trial measures with."""
        lists: list[Any] = [self.settings.get("eval.probes", default_probes(self.task, self.function))]
        for axis in self.axes:
            lists += [axis.settings(value).get("eval.probes", ()) for value in axis.corners()]
        return {name for names in lists for name in names}

    def measures(self, metric: str, sited: bool = False) -> bool:
        """Whether any trial has this metric: otherwise it would look like 'never'."""
        task, who = TASKS[self.task], {*self.probes, *filter(None, [self.function])}
        sources = who & measured_by(metric, sited, task, who)
        return metric in METRICS or metric in task.metrics or bool(sources)

    @property
    def spec_hash(self) -> str:
        """16 hex digits over what the study asks for: not its comments, its path or its resources."""
        spec = {
            **self.to_json_without_hash(),
            "space": [[axis.name, axis.to_json()] for axis in self.axes],
            "derived": plain(self.derived),
            "search": [self.search_kind, asdict(self.search)],
            "scheduler": [self.scheduler_kind, asdict(self.scheduler)],
        }
        return hashlib.sha256(canonical_json(spec).encode()).hexdigest()[:16]

    def config_at(self, point: Mapping[str, Value], seed: int) -> RunConfig:
        """The configuration of the run at a point. Raises ValueError for a point that is not in the space."""
        return self.resolver.config_at(point, seed)

    def to_json_without_hash(self) -> dict[str, Any]:
        """The content of study.json that the hash covers too."""
        return {
            "name": self.name,
            "hypothesis": self.hypothesis,
            "events": {name: event.to_json() for name, event in self.events.items()},
            "axes": self.columns,
            "seeds": list(self.seeds) if self.crossed is None else self.crossed.to_json(),
            "base": {"task": self.task, **self._trainable, **nested(plain(self.settings))},
            **({"figures": list(self.figures)} if self.figures else {}),
            **({"code": dict(self.code)} if self.code else {}),
        }

    @property
    def _trainable(self) -> dict[str, Any]:
        return {} if self.function is None else {"trainable": Trainable.of(self.function).to_json()}

    def to_json(self) -> dict[str, Any]:
        """The content of study.json."""
        return {**self.to_json_without_hash(), "spec_hash": self.spec_hash}
