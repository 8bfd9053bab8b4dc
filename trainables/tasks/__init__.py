"""Registry of tasks. A task is one file and one line here; contract tests run over every entry.

What a task is says `tasks/base.py`.
"""

from __future__ import annotations

from collections.abc import Collection

from grokstudy.trainables.registry import Registry
from grokstudy.trainables.tasks.base import Task

TASKS: Registry[type[Task]] = Registry(
    "task",
    {
        "two_hop": "trainables.tasks.two_hop:TwoHop",
        "two_hop_transfer": "trainables.tasks.two_hop_transfer:TwoHopTransfer",
        "k_hop": "trainables.tasks.k_hop:KHop",
        "comparison": "trainables.tasks.comparison:Comparison",
        "complex_reasoning": "trainables.tasks.complex_reasoning:ComplexReasoning",
        "icl_regression": "trainables.tasks.icl_regression:ICLRegression",
        "copy_retrieve": "trainables.tasks.copy_retrieve:CopyRetrieve",
        "tree_path": "trainables.tasks.tree_path:TreePath",
        "affine_icl": "trainables.tasks.affine_icl:AffineICL",
        "cot_icl": "trainables.tasks.cot_icl:CoTICL",
        "graph_navigation": "trainables.tasks.graph_navigation:GraphNavigation",
        "motif_chains": "trainables.tasks.motif_chains:MotifChains",
        "synthetic_facts": "trainables.tasks.synthetic_facts:SyntheticFacts",
    },
    group="grokstudy.tasks",
    fault="trainables.tasks.outside:fault",
)
DEFAULT = "two_hop"
"""The task of a study that names none."""


def of_splits(recorded: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """The headline split and the shown ones of the task that has these splits; of an unknown task, the first ones."""
    for task in (*TASKS.values(), *TASKS.loaded):
        if recorded and set(recorded) <= set(task.splits):
            return task.headline, task.shown or tuple(task.splits)
    names = tuple(recorded)
    return (names[-1] if names else ""), names[:3]


def known_splits() -> dict[str, str]:
    """The evaluation splits of all tasks, with their meaning."""
    meanings: dict[str, str] = {}
    for task in TASKS.values():
        for split, meaning in task.splits.items():
            meanings.setdefault(split, meaning)
    return meanings
