"""What an unquoted word of a study file means: YAML 1.2, without the words that readers disagree about.

`1e-3` is a number here (in YAML 1.1 it is text). What YAML 1.1 reads as truth (`no`), as octal (`010`), as
base 60 (`1:30`), as a date or as a number with gaps (`1_000`) is refused with a remedy instead of guessed.
"""

from __future__ import annotations

import math
import re

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
    (
        re.compile(r"[-+]?0[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?"),
        "has a leading zero, which some readers take for octal",
    ),
    (re.compile(r"[-+]?0[xXoObB][0-9a-fA-F_]+"), "is not decimal"),
    (
        re.compile(r"[-+]?[0-9.][0-9.eE+-]*_[0-9_.eE+-]*"),
        "has an underscore, which makes it text for some readers",
    ),
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
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return _float(text)
    _refuse_disguise(text)
    return text


def _integer(text: str) -> int:
    if len(text) > 18:
        raise ScalarError(f"{text[:20]}... has {len(text)} digits; a whole number here has at most 18")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ScalarError(f"{text[:40]} is too large for a number")
    return value


def _refuse_disguise(text: str) -> None:
    if _NOT_FINITE.fullmatch(text):
        raise ScalarError(f"{text} is not a finite number; leave the option out, or write null where it may be empty")
    for pattern, why in _DISGUISES:
        if pattern.fullmatch(text):
            raise ScalarError(f"`{text[:40]}` {why}; write a plain decimal number, or quote it")
