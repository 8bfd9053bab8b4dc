"""One registry for everything that can be added: a name leads to `module:thing`, imported when it is asked for.

A registry lists its names without importing what they lead to, so that a study file, the JSON Schema and a command
line can be checked before torch is there. The Mapping protocol is the interface: `TASKS["two_hop"]` imports and
returns the thing, `"two_hop" in TASKS`, `list(TASKS)` and `len(TASKS)` import nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar, cast

Thing = TypeVar("Thing")


class Registry(Mapping[str, Thing], Generic[Thing]):
    """Names of one kind of thing, each with its place `module:thing`, in the order in which they are shown."""

    def __init__(self, kind: str, places: Mapping[str, str]) -> None:
        """A `kind` is a word for messages (`task`); modules of `places` are named below `grokstudy`."""
        self.kind = kind
        self.places = dict(places)
        self._things: dict[str, Thing] = {}

    def __getitem__(self, name: str) -> Thing:
        """Import what a name leads to. Raises KeyError with the names that there are."""
        if name not in self._things:
            if name not in self.places:
                raise KeyError(f"there is no {self.kind} {name!r}; known: {', '.join(self.places)}")
            module, _, thing = self.places[name].partition(":")
            self._things[name] = cast("Thing", getattr(importlib.import_module(f"grokstudy.{module}"), thing))
        return self._things[name]

    def __contains__(self, name: Any) -> bool:
        return name in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)
