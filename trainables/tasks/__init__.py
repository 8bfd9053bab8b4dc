"""Registry of tasks. A task is one file and one line here; contract tests run over every entry.

What a task is says `tasks/base.py`.
"""

from __future__ import annotations

from typing import Any

from grokstudy.trainables.registry import Registry

TASKS: Registry[Any] = Registry(
    "task",
    {
        "two_hop": "trainables.tasks.two_hop:TwoHop",
        "two_hop_transfer": "trainables.tasks.two_hop_transfer:TwoHopTransfer",
    },
)
DEFAULT = "two_hop"
"""The task of a study that names none."""


def known_splits() -> dict[str, str]:
    """The evaluation splits of all tasks, with their meaning."""
    return {split: meaning for name in reversed(list(TASKS)) for split, meaning in TASKS[name].splits.items()}
