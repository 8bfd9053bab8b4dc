"""A study file as plain data, with the line and column of every key and value.

The format is YAML 1.2 cut down to what cannot be misread: one document, one mapping, words as keys, no tags,
no merge keys, no duplicate keys; aliases may repeat a value, but not blow up. Mistakes that leave the rest
readable are collected and the value is replaced by BROKEN; mistakes of syntax end the reading.

`1e-3` is a number here (in YAML 1.1 it is text). What YAML 1.1 reads as truth (`no`), as octal (`010`), as
base 60 (`1:30`), as a date or as a number with gaps (`1_000`) is refused with a remedy instead of guessed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from grokstudy.orchestrator.study.errors import BROKEN, Findings, KeyPath, Mistake, Place, StudyError, dotted
from grokstudy.trainables.messages import shown

MAX_BYTES = 1_000_000
MAX_NODES = 50_000
MAX_DEPTH = 50


@dataclass(frozen=True)
class SourceFile:
    """The text of a file, its plain data, and what was found wrong on the way."""

    text: str
    data: dict[str, Any]
    findings: Findings


def read_source(path: str | Path) -> SourceFile:
    """Read a file. Raises StudyError when it is not YAML at all; other mistakes are in `findings`."""
    text = _text(path)
    findings = Findings(str(path))
    root, tagged = _compose(path, text, findings)
    if not isinstance(root, yaml.MappingNode):
        content = "empty" if root is None or root.value == "" else "one value or a list"
        raise _error(path, 1, 1, f"the file is {content}; a study is a mapping of keys such as base, space and seeds")
    data = _Converter(findings, tagged).mapping(root, ())
    return SourceFile(text, data, findings)


def _error(path: str | Path, line: int, column: int, message: str) -> StudyError:
    return StudyError(path, [Mistake(line, column, "", message)])


def _text(path: str | Path) -> str:
    try:
        if Path(path).exists() and not Path(path).is_file():
            raise ValueError("it is no regular file")
        with Path(path).open("rb") as source:
            raw = source.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise _error(path, 0, 0, f"cannot be read: {reason}") from error
    if len(raw) > MAX_BYTES:
        raise _error(path, 0, 0, f"has more than {MAX_BYTES:,} bytes; that is no study file")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _position(raw[: error.start].decode("utf-8", "replace"))
        message = f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise _error(path, line, column, message) from error


def _position(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _compose(path: str | Path, text: str, findings: Findings) -> tuple[yaml.Node | None, list[yaml.Node]]:
    try:
        composer = _Composer(text, findings)
        return composer.get_single_node(), composer.tagged
    except ReaderError as error:
        line, column = _position(text[: int(error.position)])
        message = f"character {shown(chr(int(error.character)))} cannot stand in YAML"
        raise _error(path, line, column, message) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise _error(path, line, column, _syntax(error)) from error
    except RecursionError as error:
        raise _error(path, 1, 1, "is nested too deeply") from error
    except (ValueError, OverflowError) as error:  # an escape such as "\Uffffffff" inside quotes
        raise _error(path, 1, 1, f"is not valid YAML: {error}") from error


def _syntax(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem or error.context)
    if "'\\t'" in problem:
        return "a tab cannot indent YAML; use spaces"
    if "another document" in problem:
        return "a second document begins here; write one study per file"
    where = f" ({error.context} that began in line {error.context_mark.line + 1})" if error.context_mark else ""
    return f"is not valid YAML: {problem}{where}"


class _Composer(Reader, Scanner, Parser, Composer, BaseResolver):
    """Builds YAML nodes without giving any word a meaning, and reports tags."""

    def __init__(self, text: str, findings: Findings) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self.tagged: list[yaml.Node] = []
        self._findings = findings

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        tag = getattr(event, "tag", None)
        if tag is not None:
            place = (event.start_mark.line + 1, event.start_mark.column + 1)
            self._findings.add(*place, "", f"tag {shown(tag)} is refused; write the plain value")
        node: yaml.Node | None = super().compose_node(parent, index)
        if tag is not None and node is not None:
            self.tagged.append(node)
        return node


class _Converter:
    """Turns nodes into plain data and remembers their places."""

    def __init__(self, findings: Findings, tagged: list[yaml.Node]) -> None:
        self._findings = findings
        self._tagged = {id(node) for node in tagged}
        self._count = 0
        self._open: set[int] = set()

    def mapping(self, node: yaml.MappingNode, key_path: KeyPath) -> dict[str, Any]:
        self._findings.places.setdefault(key_path, _place(node, node))
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, key_path)
            if key is None:
                continue
            entry = (*key_path, key)
            if key in result:
                first, second = self._findings.line_of(entry), key_node.start_mark.line + 1
                self._report(key_node, entry, f"is given twice, in line {first} and in line {second}; keep one")
                continue
            self._findings.places[entry] = _place(key_node, value_node)
            result[key] = self._value(value_node, entry)
        return result

    def _key(self, node: yaml.Node, key_path: KeyPath) -> str | None:
        try:
            return _key(node)
        except ScalarError as error:
            self._report(node, key_path, str(error))
            return None

    def _report(self, node: yaml.Node, key_path: KeyPath, message: str) -> None:
        self._findings.add(node.start_mark.line + 1, node.start_mark.column + 1, dotted(key_path), message)

    def _value(self, node: yaml.Node, key_path: KeyPath) -> Any:
        self._count += 1
        if self._count == MAX_NODES:
            self._findings.at_value((), f"has more than {MAX_NODES:,} values once its aliases are written out")
        if self._count >= MAX_NODES or id(node) in self._tagged:
            return BROKEN
        if isinstance(node, yaml.ScalarNode):
            try:
                return _scalar(node)
            except ScalarError as error:
                self._findings.at_value(key_path, str(error))
                return BROKEN
        if id(node) in self._open or len(self._open) >= MAX_DEPTH:
            self._findings.at_value(key_path, "contains itself" if id(node) in self._open else "is nested too deeply")
            return BROKEN
        self._open.add(id(node))
        value = self.mapping(node, key_path) if isinstance(node, yaml.MappingNode) else self._items(node, key_path)
        self._open.remove(id(node))
        return value

    def _items(self, node: yaml.Node, key_path: KeyPath) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            self._findings.places[(*key_path, index)] = _place(item, item)
            items.append(self._value(item, (*key_path, index)))
        return items


def _key(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise ScalarError("a key is a word, not a list or a mapping")
    key = _scalar(node)
    if not isinstance(key, str):
        raise ScalarError(f"a key is a word, and {shown(key)} is not; quote it if it is meant as a name")
    if key == "<<" and node.style is None:
        raise ScalarError("merge keys (<<) are refused; write the options out, or set them in base")
    return key


def _scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    text = str(node.value)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ScalarError("half a surrogate pair is not a character")
    return text if node.style is not None else read_scalar(text)


def _place(key: yaml.Node, value: yaml.Node) -> Place:
    return Place(
        key.start_mark.line + 1, key.start_mark.column + 1, value.start_mark.line + 1, value.start_mark.column + 1
    )


_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TRUTH = {"y": "true", "yes": "true", "on": "true", "n": "false", "no": "false", "off": "false"}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|nan)", re.IGNORECASE)
_DISGUISES = (
    (re.compile(r"[-+]?0[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?"), "has a leading zero, which some readers take for octal"),
    (re.compile(r"[-+]?0[xXoObB][0-9a-fA-F_]+"), "is not decimal"),
    (re.compile(r"[-+]?[0-9.][0-9.eE+-]*_[0-9_.eE+-]*"), "has an underscore, which makes it text for some readers"),
    (re.compile(r"[-+]?[0-9]+(:[0-9]{1,2})+(\.[0-9]*)?"), "is a number to base 60 for some readers"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?"), "is a date for some readers"),
)


class ScalarError(ValueError):
    """A word that cannot be read in one way only."""


def read_scalar(text: str) -> str | int | float | bool | None:
    """Read an unquoted word. Raises ScalarError with a remedy."""
    if text in _WORDS:
        return _WORDS[text]
    if text.lower() in _TRUTH:
        raise ScalarError(f"`{text}` is read as text or as {_TRUTH[text.lower()]} depending on the reader; "
                          f"write {_TRUTH[text.lower()]}, or quote it")  # fmt: skip
    if _INTEGER.fullmatch(text):
        if len(text) > 18:
            raise ScalarError(f"{text[:20]}... has {len(text)} digits; a whole number here has at most 18")
        return int(text)
    if _FLOAT.fullmatch(text):
        if not math.isfinite(float(text)):
            raise ScalarError(f"{text[:40]} is too large for a number")
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        raise ScalarError(f"{text} is not a finite number; leave the option out, or write null where it may be empty")
    for pattern, why in _DISGUISES:
        if pattern.fullmatch(text):
            raise ScalarError(f"`{text[:40]}` {why}; write a plain decimal number, or quote it")
    return text
