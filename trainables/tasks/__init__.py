"""Registry of tasks. A task is one file and one line here; contract tests run over every entry.

A task has `Options` (frozen dataclass with `vocabulary` and `problems()`), and `build(options, seed, max_examples)`
returning a `TaskData`.
"""

from __future__ import annotations

from trainables.tasks.two_hop import TwoHop

TASKS = {"two_hop": TwoHop}
