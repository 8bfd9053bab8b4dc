"""The loop, the analysis and the orchestrator ask a task for its names: none of them spells one."""

from __future__ import annotations

import ast
from pathlib import Path

from grokstudy.trainables.tasks import DEFAULT, TASKS

HOUSE = Path(__file__).parents[2]
OWNERS = ("trainables/tasks/", "trainables/probes/")
"""Rooms that may: what a task is, and what looks into models of one kind of task."""
SPELT = {
    "trainables/tasks/__init__.py": set(TASKS),  # the registry
    "analysis/tables/families.py": set(TASKS),  # studies that have their task's name
    "trainables/measurements.py": {"r2"},  # in names of what probes measure
}
WORDS = {"h", "answer", "comparison", "inner", "new"}
"""Names that are ordinary words, too, and mean something else where they stand."""


def spelt(path: Path) -> set[str]:
    """Texts in the code of a file, without its docstrings."""
    tree = ast.parse(path.read_text())
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    told = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    return {str(node.value) for node in texts if node not in told}


def test_no_name_of_a_task_split_or_position_is_spelt_outside_its_room() -> None:
    names = set(TASKS) | {name for task in TASKS.values() for name in (*task.splits, *task.positions)}
    assert {DEFAULT, TASKS[DEFAULT].headline, "x1", "r1"} <= names
    files = [path for room in ("orchestrator", "analysis", "trainables") for path in (HOUSE / room).rglob("*.py")]
    assert len(files) > 200
    found = {
        place: wrong
        for path in files
        if not (place := path.relative_to(HOUSE).as_posix()).startswith(OWNERS)
        and (wrong := spelt(path) & (names - WORDS - SPELT.get(place, set())))
    }
    assert not found, "ask the task (trainables/tasks/base.py) instead of spelling its names"
