"""Runs of a root that belong to an older version of the code's numbers: never taken for a study without being asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import PurePosixPath

from grokstudy.orchestrator.runs.trials import Run
from grokstudy.trainables.config import NUMERICS
from grokstudy.trainables.storage.store import Store


def older_runs(store: Store, runs: Iterable[Run], current: int = NUMERICS) -> dict[int, int]:
    """How many of these runs the root has under each older version."""
    there = {PurePosixPath(folder).name for folder in store.list("runs")} if current > 1 else set()
    if not there:
        return {}
    configs = [run.config for run in runs]
    found = {
        version: sum(dataclasses.replace(config, numerics=version).run_id in there for config in configs)
        for version in range(1, current)
    }
    return {version: count for version, count in found.items() if count}


def older_text(found: dict[int, int]) -> str:
    """What to say about them; empty without any."""
    return "\n".join(
        f"{count} of them are in the root with numerics {version}, from before the numbers changed, and are not "
        f"re-used; to take them as they are, write base: {{numerics: {version}}} in the study file"
        for version, count in found.items()
    )
