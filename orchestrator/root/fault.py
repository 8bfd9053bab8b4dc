"""One thing that is wrong with a root, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Fault:
    """Something that `verify` found."""

    path: str
    kind: str
    """torn, foreign, gap, duplicate, order, checksum, orphan, marker, config, unfinished."""
    detail: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}: {self.detail}; {self.remedy}"
