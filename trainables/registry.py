"""One registry for everything that can be added: a name leads to `module:thing`, imported when it is asked for.

A registry lists its names without importing what they lead to, so that a study file, the JSON Schema and a command
line can be checked before torch is there. The Mapping protocol is the interface: `TASKS["two_hop"]` imports and
returns the thing, `"two_hop" in TASKS`, `list(TASKS)` and `len(TASKS)` import nothing.

A kind that may come from outside has a `group` of entry points. `full_name` turns what a person wrote, an entry point
of an installed package or `./file.py:Thing`, into a name that the registry takes like its own (`plugins.py`), in every
process that knows its code.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from grokstudy.trainables import plugins
from grokstudy.trainables.plugins import PluginError

Thing = TypeVar("Thing")


class Registry(Mapping[str, Thing], Generic[Thing]):
    """Names of one kind of thing, each with its place `module:thing`, in the order in which they are shown."""

    def __init__(self, kind: str, places: Mapping[str, str], group: str | None = None, fault: str = "") -> None:
        """A `kind` is a word for messages (`task`); modules of `places` are named below `grokstudy`.

        Things of a `group` of entry points may come from outside: `fault` is the place of a function that says what is
        wrong with one, or None.
        """
        self.kind, self.group = kind, group
        self.places = dict(places)
        self._things: dict[str, Thing] = {}
        self._fault = fault

    def __getitem__(self, name: str) -> Thing:
        """Import what a name leads to. Raises KeyError with the names that there are."""
        if name not in self._things:
            if name in self.places:
                self._things[name] = cast("Thing", _at(self.places[name]))
            elif self.group is not None and plugins.is_known(name):
                self._things[name] = self._from_outside(name)
            else:
                raise KeyError(f"there is no {self.kind} {name!r}; known: {', '.join(self.places)}")
        return self._things[name]

    def __contains__(self, name: Any) -> bool:
        return name in self.places or (self.group is not None and plugins.is_known(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    @property
    def loaded(self) -> list[Thing]:
        """What was imported already, things from outside among them."""
        return list(self._things.values())

    @property
    def offered(self) -> list[str]:
        """Names that installed packages add."""
        return sorted({entry.name for entry in _entry_points(self.group)}) if self.group else []

    def full_name(self, word: str, folder: Path) -> str | None:
        """The name that a word in a file of this folder means; None when it means nothing.

        Raises PluginError where two things have this name, or where the one from outside cannot be used.
        """
        entries = [entry for entry in _entry_points(self.group) if entry.name == word] if self.group else []
        owners = [f"{entry.dist.name} {entry.dist.version}" if entry.dist else "a package" for entry in entries]
        if len(entries) > 1 or (entries and word in self.places):
            where = [*(["grokstudy"] if word in self.places else []), *sorted(owners)]
            remedy = f"uninstall one, or rename its entry point in {self.group}"
            raise PluginError(f"{word} is a {self.kind} of {' and of '.join(where)}; {remedy}")
        if word in self.places:
            return word
        if self.group is None or not (entries or is_file(word)):
            return None
        try:
            name = plugins.from_module(entries[0].value) if entries else plugins.from_file(word, folder)
            self[name]
        except PluginError as error:
            raise PluginError(f"{word}, of {owners[0]}, {error}" if entries else str(error)) from error
        return name

    def _from_outside(self, name: str) -> Thing:
        thing = plugins.load(name)
        try:
            fault = _at(self._fault)(thing)
        except Exception as error:
            if not plugins.at_fault(error):
                raise
            fault = f"cannot be looked at:\n{plugins.told(error)}"
        if fault is not None:
            raise PluginError(f"{plugins.word_of(name)} is no {self.kind}: {fault}")
        return cast("Thing", thing)


def is_file(word: str) -> bool:
    """Whether a word names something in a file, rather than by a name of ours or of a package."""
    return ".py:" in word or word.endswith(".py")


def _at(place: str) -> Any:
    module, _, thing = place.partition(":")
    return getattr(importlib.import_module(f"grokstudy.{module}"), thing)


@cache
def _entry_points(group: str) -> tuple[importlib.metadata.EntryPoint, ...]:
    return tuple(importlib.metadata.entry_points(group=group))
