"""What is wrong with a study file, said so that a person can put it right: file, line, column, key, remedy.

Every check of a study adds to one `Findings`, so that all mistakes are shown at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from grokstudy.trainables.messages import shown

MAX_LINES = 100
"""Mistakes that an error spells; it holds them all."""
KeyPath = tuple[str | int, ...]
"""The way from the top of the file to a value: keys, and numbers of list items."""


@dataclass(frozen=True)
class Place:
    """Where a key and its value stand, counted from 1. An item of a list has its own place for both."""

    key_line: int
    key_column: int
    line: int
    column: int


@dataclass(frozen=True, order=True)
class Mistake:
    """One mistake. Line 0 means the file as a whole."""

    line: int
    column: int
    key: str
    message: str


class StudyError(ValueError):
    """A study file that cannot be used, with every mistake that was found in it."""

    def __init__(self, path: str | Path, mistakes: list[Mistake]) -> None:
        """Sort the mistakes by place."""
        self.path = str(path)
        self.mistakes = sorted(set(mistakes))
        lines = [self._line(mistake) for mistake in self.mistakes[:MAX_LINES]]
        more = len(self.mistakes) - len(lines)
        super().__init__("\n".join([*lines, f"{path}: and {more:,} more mistakes"] if more else lines))

    def _line(self, mistake: Mistake) -> str:
        place = f"{self.path}:{mistake.line}:{mistake.column}" if mistake.line else self.path
        return f"{place}: {mistake.key}: {mistake.message}" if mistake.key else f"{place}: {mistake.message}"


class Broken:
    """Stands for a value that was already reported, so that no later check reports it again."""

    def __repr__(self) -> str:
        return "BROKEN"


BROKEN = Broken()


@dataclass
class Findings:
    """The mistakes of one file so far, and the places that they can be pinned to."""

    path: str
    places: dict[KeyPath, Place] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def add(self, line: int, column: int, key: str, message: str) -> None:
        """Report something at a place that is known."""
        self.mistakes.append(Mistake(line, column, key, message))

    def at_value(self, key_path: KeyPath, message: str, key: str | None = None) -> None:
        """Report a value, at its own place or else at the nearest enclosing one."""
        place = self._nearest(key_path)
        self.add(place.line, place.column, dotted(key_path) if key is None else key, message)

    def at_key(self, key_path: KeyPath, message: str, key: str | None = None) -> None:
        """Report a key, at its own place or else at the nearest enclosing one."""
        place = self._nearest(key_path)
        self.add(place.key_line, place.key_column, dotted(key_path) if key is None else key, message)

    def line_of(self, key_path: KeyPath) -> int:
        """Line of a key."""
        return self._nearest(key_path).key_line

    def stop_if_any(self) -> None:
        """Raise StudyError if there is a mistake."""
        if self.mistakes:
            raise StudyError(self.path, self.mistakes)

    def _nearest(self, key_path: KeyPath) -> Place:
        while key_path and key_path not in self.places:
            key_path = key_path[:-1]
        return self.places.get(key_path, Place(1, 1, 1, 1))


def dotted(key_path: KeyPath) -> str:
    """Spell a way as a person would: `space.data.phi[2]`."""
    text = ""
    for step in key_path:
        text += f"[{step}]" if isinstance(step, int) else f".{_word(step)}" if text else _word(step)
    return text


def _word(step: str) -> str:
    return step if re.fullmatch(r"[\w.+-]{1,60}", step) else shown(step)
