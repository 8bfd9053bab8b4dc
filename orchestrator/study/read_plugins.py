"""Finds the names of code and of data files from outside in a study file's data, and puts full names in their places.

A name is one of ours, an entry point of an installed package, or `./file.py:Thing` below the folder of the study file;
of data, which options of the task take, a path below that folder.
Behind this, a full name is read like one of ours. A name that is nothing is left for those who read its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from grokstudy.analysis.figures import FIGURES
from grokstudy.orchestrator.search import SEARCHERS
from grokstudy.orchestrator.study.errors import BROKEN, Findings, KeyPath
from grokstudy.orchestrator.study.fields import config_fields
from grokstudy.trainables.functions import TRAINABLES
from grokstudy.trainables.measurements import PROBES, measured
from grokstudy.trainables.messages import shown
from grokstudy.trainables.options import DataFile, did_you_mean
from grokstudy.trainables.plugins import PluginError, culprit, from_data, is_full, told, word_of
from grokstudy.trainables.registry import Registry, is_file
from grokstudy.trainables.tasks import DEFAULT, TASKS


@dataclass
class Plugins:
    """The names of code from outside in one study file."""

    findings: Findings
    before: Mapping[str, str] | None = None
    """With code as before: full names by word, of the study's last run."""
    names: dict[str, str] = field(default_factory=dict)
    """Full names by the word in the file."""
    places: dict[str, KeyPath] = field(default_factory=dict)
    """Where each full name stands first."""
    probes: list[str] = field(default_factory=list)
    """Those among them that measure something: probes, and a training function."""

    def named(self, data: dict[str, Any]) -> dict[str, Any]:
        """The data with full names in place of words. What is wrong with one is reported."""
        data = {**data, **{key: dict(data[key]) for key in ("base", "space", "search") if _is_map(data.get(key))}}
        if _is_map(base := data.get("base")):
            self._put(base, "task", TASKS, ("base",))
            self._put(base, "trainable", TRAINABLES, ("base",))
            if "eval" in base:
                base["eval"] = self._probes(base["eval"], "probes", ("base", "eval"))
        if _is_map(space := data.get("space")):
            for axis, arms in space.items():
                if _is_map(arms) and "." not in axis:
                    at = ("space", axis)
                    space[axis] = {arm: self._probes(raw, "eval.probes", (*at, arm)) for arm, raw in arms.items()}
        self._put_files(data)
        if _is_map(search := data.get("search")):
            self._put(search, "kind", SEARCHERS, ("search",))
        if "figures" in data:
            data["figures"] = self._figures(data["figures"])
        self._check_measurements()
        return data

    def report(self, error: Exception) -> None:
        """Report an error where the code that it came from is named. Raises it again when it came from none."""
        name = culprit(error, self.places)
        if name is None:
            raise error
        self.findings.at_value(self.places[name], f"{word_of(name)} failed:\n{told(error)}")

    def _put(self, section: dict[str, Any], key: str, registry: Registry[Any], key_path: KeyPath) -> None:
        if key in section:
            section[key] = self._full(section[key], registry, (*key_path, key))

    def _put_files(self, data: dict[str, Any]) -> None:
        """Full names of the data files that options of the task name, under base and in the space."""
        base, space = data.get("base", {}), data.get("space", {})
        task = base.get("task", DEFAULT) if _is_map(base) else DEFAULT
        if not isinstance(task, str) or task not in TASKS:
            return
        for option, field_ in config_fields(task).items():
            if field_.file is None:
                continue
            if _is_map(base) and "data" in base:
                base["data"] = self._with_file(base["data"], field_.key, field_.file, ("base", "data"))
            for axis, values in space.items() if _is_map(space) else ():
                at = ("space", axis)
                if axis == option and isinstance(values, list):
                    space[axis] = [self._file(word, field_.file, (*at, index)) for index, word in enumerate(values)]
                elif _is_map(values) and "." not in axis:
                    arms = {arm: self._with_file(x, option, field_.file, (*at, arm)) for arm, x in values.items()}
                    space[axis] = arms

    def _with_file(self, section: Any, key: str, file: DataFile, key_path: KeyPath) -> Any:
        """A section of options with the full name of the file that it names, if it names one."""
        if not _is_map(section) or key not in section:
            return section
        return {**section, key: self._file(section[key], file, (*key_path, key))}

    def _file(self, word: Any, file: DataFile, key_path: KeyPath) -> Any:
        """The full name of a data file; BROKEN when something was reported."""
        if not isinstance(word, str):
            return word
        try:
            if self.before is not None and word not in self.before:
                raise PluginError(f"{word} was not in the study when it was run last; leave out --code-as-before")
            folder = Path(self.findings.path).absolute().parent
            name = from_data(word, folder, file) if self.before is None else self.before[word]
        except PluginError as error:
            self.findings.at_value(key_path, str(error))
            return BROKEN
        self.names[word] = name
        self.places.setdefault(name, key_path)
        return name

    def _probes(self, section: Any, key: str, key_path: KeyPath) -> Any:
        if not isinstance(section, dict) or not isinstance(section.get(key), list):
            return section
        full = [self._full(word, PROBES, (*key_path, key, index)) for index, word in enumerate(section[key])]
        return {**section, key: BROKEN if BROKEN in full else full}

    def _figures(self, raw: Any) -> Any:
        """The figures that the study adds; those of ours are drawn anyway."""
        if not isinstance(raw, list):
            if raw is not BROKEN:
                self.findings.at_value(("figures",), f"must be a list such as [./fig.py:figure], not {shown(raw)}")
            return []
        full = [self._full(word, FIGURES, ("figures", index)) for index, word in enumerate(raw)]
        for index, name in enumerate(full):
            if name is not BROKEN and not is_full(name):
                known = did_you_mean(str(name), FIGURES.offered) if FIGURES.offered else "write ./file.py:function"
                fault = "is drawn anyway; leave it out" if name in FIGURES else f"is unknown; {known}"
                self.findings.at_value(("figures", index), f"{shown(name)} {fault}")
            elif name is not BROKEN and name in full[:index]:
                self.findings.at_value(("figures", index), f"{raw[index]} is already in the list")
        return full

    def _full(self, word: Any, registry: Registry[Any], key_path: KeyPath) -> Any:
        """The full name that a word means here; BROKEN when that was reported."""
        if not isinstance(word, str):
            return word
        try:
            name = self._before(word, registry) if self.before is not None else None
            name = name or registry.full_name(word, Path(self.findings.path).absolute().parent)
        except PluginError as error:
            self.findings.at_value(key_path, str(error))
            return BROKEN
        if name is None or name == word:
            return word
        self.names[word] = name
        if (registry is PROBES or registry is TRAINABLES) and name not in self.places:
            self.probes.append(name)
        self.places.setdefault(name, key_path)
        return name

    def _before(self, word: str, registry: Registry[Any]) -> str | None:
        """The name of the study's last run, if that had the word."""
        name = (self.before or {}).get(word)
        if name is None and is_file(word):
            raise PluginError(f"{word} was not in the study when it was run last; leave out --code-as-before")
        if name is not None:
            registry[name]
        return name

    def _check_measurements(self) -> None:
        """Two probes of one study that measure something of one name could not be told apart."""
        owners: dict[str, str] = {}
        for probe in self.probes:
            for name in dict.fromkeys((*measured(probe).summaries, *measured(probe).sites)):
                first = owners.setdefault(name, probe)
                if first != probe:
                    fault = f"{word_of(probe)} measures {name}, and so does {word_of(first)}; rename one of the two"
                    self.findings.at_value(self.places[probe], fault)


def _is_map(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)
