"""What in a root nobody needs: half-written files of killed processes, damaged checkpoints and those beyond a budget,
runs of no study.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from grokstudy.orchestrator.root.verify import asked_runs, files_of, group_by_run, studies_of, study_runs
from grokstudy.orchestrator.root.verify_run import damaged_checkpoints
from grokstudy.orchestrator.runs.trials import all_trials
from grokstudy.orchestrator.study.load import load_study
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.retention import KEEP, Keep
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import DamagedError, Store
from grokstudy.trainables.storage.study_dir import StudyDir


@dataclass(frozen=True)
class Garbage:
    """A file that can be removed, and why."""

    path: str
    why: str


def garbage(store: Store, orphans: bool = False) -> list[Garbage]:
    """What can be removed. With `orphans`, the runs that no study asks for, too, unless one yet takes their training.

    Only while nobody drives the root.
    """
    from grokstudy.trainables.storage.checkpoint import surplus

    files = files_of(store)
    runs, _ = group_by_run(files)
    items = [Garbage(path, "half-written") for path in _temporary(store)]
    requested, torn = asked_runs(store, files)
    needed = _needed(store, files) if orphans else set()
    granted = {} if torn else _granted(store, files)  # of a study that cannot be read nothing is known
    for run_id, own in sorted(runs.items()):
        if orphans and run_id not in requested and _training(store, run_id) not in needed:
            items += [Garbage(path, "of a run that no study asks for") for path in own]
            continue
        run = RunDir(store, run_id)
        damaged = [fault.path for fault in damaged_checkpoints(run, own)]
        items += [Garbage(path, "damaged checkpoint") for path in damaged]
        keep = granted.get(run_id, KEEP)
        if keep.budget is not None:
            whole = {path: size for path, size in store.sizes(run.checkpoints).items() if path not in damaged}
            items += [Garbage(path, "checkpoint beyond the budget") for path in surplus(whole, keep.budget, keep.every)]
    return items


def _granted(store: Store, files: list[str]) -> dict[str, Keep]:
    """What each run may keep of its checkpoints: what the most generous of its studies grants it."""
    granted: dict[str, list[Keep]] = {}
    for study in studies_of(store, files):
        spec = study.find_spec() or {}
        budget, every = spec.get("checkpoint_bytes"), spec.get("keep_checkpoints") == "all"
        for run_id in study_runs(study):
            granted.setdefault(run_id, []).append(Keep(budget=budget if type(budget) is int else None, every=every))
    return {run_id: _most_generous(given) for run_id, given in granted.items()}


def _most_generous(given: list[Keep]) -> Keep:
    budgets = [keep.budget for keep in given]
    return Keep(budget=None if None in budgets else max(filter(None, budgets)), every=any(keep.every for keep in given))


def _needed(store: Store, files: list[str]) -> set[str]:
    """The trainings of runs that studies ask for and that are not done: they may be measured on what an orphan has."""
    needed: set[str | None] = set()
    for study in studies_of(store, files):
        left = {run_id for run_id in study_runs(study) if f"{RunDir(store, run_id).folder}/DONE.json" not in files}
        if left and (study.find_spec() or {}).get("code"):  # whose options nobody can read here: all may be of use
            left |= {PurePosixPath(path).parts[1] for path in files if path.startswith("runs/")}
        needed |= {_training(store, run_id) for run_id in left}
        needed |= {config.training_id for config in _configs(study) if config.run_id in left} if left else set()
    return {training for training in needed if training is not None}


def _training(store: Store, run_id: str) -> str | None:
    """The training of a run that has begun."""
    try:
        config = RunDir(store, run_id).config()
    except DamagedError:
        return None
    return None if config is None else config.training_id


def _configs(study: StudyDir) -> list[RunConfig]:
    """What a study asks for before anything has run, by its file as it was run last."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{study.name}.yaml")
        path.write_text(study.read_text())
        try:
            return [trial.config for trial in all_trials(load_study(path))]
        except ValueError:
            return []


def remove(store: Store, items: list[Garbage]) -> None:
    """Remove it, markers and run.json last, so that a removal that is cut short can be seen."""
    for item in sorted(items, key=lambda item: (item.path.endswith(".json"), item.path)):
        store.delete(item.path)
    if store.local:
        _remove_empty_folders(store)


def _temporary(store: Store) -> list[str]:
    if not store.local:
        return []
    base = Path(store.base)
    return sorted(str(path.relative_to(base)) for path in base.rglob(".tmp-*") if path.is_file())


def _remove_empty_folders(store: Store) -> None:
    for top in ("runs", "metrics"):
        folders = sorted(Path(store.path(top)).rglob("*"), key=lambda path: -len(path.parts))
        for folder in folders:
            if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
                folder.rmdir()
