"""Longer training for some runs of a study, asked for after the fact. Owns `studies/<name>/extensions.json`.

{run_id: steps}: the longest trial of that run gets this length instead of the study file's. What was trained stays; the
run goes on from its last checkpoint.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from grokstudy.orchestrator.runs.trials import Trial
from grokstudy.trainables.storage.run_dir import MOST_STEPS
from grokstudy.trainables.storage.store import DamagedError, Store


def extensions(store: Store, study: str) -> dict[str, int]:
    """The lengths that were asked for, by run."""
    name = f"studies/{study}/extensions.json"
    found = store.read_json(name) or {}
    if not all(type(steps) is int and 0 < steps < MOST_STEPS for steps in found.values()):
        raise DamagedError(f"{store.path(name)}: holds a length that is none; delete it and extend the study again")
    return found


def extend(store: Store, study: str, run_ids: Iterable[str], steps: int) -> None:
    """Ask for at least so many steps of these runs."""
    asked = extensions(store, study)
    asked.update({run_id: max(steps, asked.get(run_id, 0)) for run_id in run_ids})
    store.write_json(f"studies/{study}/extensions.json", asked)


def extended(trials: list[Trial], asked: Mapping[str, int]) -> list[Trial]:
    """The trials with the lengths that were asked for; of trials that share a run, the longest is extended."""
    if not asked:
        return trials
    longest: dict[str, int] = {}
    for trial in trials:
        longest[trial.config.run_id] = max(trial.horizon, longest.get(trial.config.run_id, 0))
    return [
        with_length(trial, asked[trial.config.run_id])
        if trial.horizon == longest[trial.config.run_id] < asked.get(trial.config.run_id, 0)
        else trial
        for trial in trials
    ]


def with_length(trial: Trial, steps: int) -> Trial:
    """The same trial, trained for another number of steps."""
    train = dataclasses.replace(trial.config.train, steps=steps)
    return dataclasses.replace(trial, config=dataclasses.replace(trial.config, train=train))
