"""Registry of tasks. A task is one file and one line here; contract tests run over every entry.

A task has `Options` (frozen dataclass with `vocabulary`, `chains` and `problems()`), `positions`, `splits` (names of
its evaluation sets), `events` (of a study that names none), `earlier_events` (what stands in for one of them where only
that is measured), `check(options, seed)` and `build(options, seed, max_examples)` returning a `TaskData`.
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
    group="grokstudy.tasks",
    fault="trainables.tasks.outside:fault",
)
