"""Values and errors as they stand in a message to a person: one line, of a readable length."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""C0 and C1 control characters but newline and tab, and what is no character: no terminal and no SVG may have them."""


def printable(text: str) -> str:
    r"""Foreign text as it may go to a terminal: a control character stands as `\x1b`, and moves no cursor."""
    return _UNSAFE.sub(lambda match: _visible(match[0]), text)


def one_line(text: str) -> str:
    r"""The same for a cell of a table, in which newline and tab stand as `\n` and `\t`."""
    return printable(text).replace("\n", r"\n").replace("\t", r"\t")


def _visible(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def first_line(error: BaseException, limit: int = 200) -> str:
    """The first line of what an error says, cut to a length; its type when it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:limit]


def warn_in_words() -> None:
    """From now on this process prints a warning of ours as a line for a person, not as a place in the code.

    Warnings of libraries stay as they are.
    """
    warnings.formatwarning = _in_words


_OURS = str(Path(__file__).parents[1])
_of_python = warnings.formatwarning


def _in_words(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    if category is UserWarning and filename.startswith(_OURS):
        return f"warning: {printable(str(message))}\n"
    return _of_python(message, category, filename, lineno, line)


def shown(value: Any) -> str:
    """Spell a value as it would stand in a file, cut to a readable length."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}..."
