"""Registry of stopping rules. A rule is one file and one line here; what Ray Tune needs for it is in `execution`.

An entry is the dataclass of the rule's options; `stops` says whether it ends trials before their length.
"""

from __future__ import annotations

from typing import Any

from grokstudy.trainables.registry import Registry

SCHEDULERS: Registry[Any] = Registry(
    "scheduler", {"fifo": "orchestrator.schedulers.fifo:Fifo", "asha": "orchestrator.schedulers.asha:Asha"}
)
