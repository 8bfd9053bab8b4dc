"""Values and errors as they stand in a message to a person: one line, of a readable length."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def first_line(error: BaseException, limit: int = 200) -> str:
    """The first line of what an error says, cut to a length; its type when it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:limit]


def shown(value: Any) -> str:
    """Spell a value as it would stand in a file, cut to a readable length."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}..."
