"""Nobody is stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class Fifo:
    """Every trial runs to its end."""

    stops: ClassVar[bool] = False
