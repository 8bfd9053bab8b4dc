"""What in a root nobody needs: half-written files of killed processes, damaged checkpoints, runs of no study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.verify import asked_runs, files_of, group_by_run
from orchestrator.verify_run import damaged_checkpoints
from trainables.rundir import RunDir
from trainables.store import Store


@dataclass(frozen=True)
class Garbage:
    """A file that can be removed, and why."""

    path: str
    why: str


def garbage(store: Store, orphans: bool = False) -> list[Garbage]:
    """What can be removed. With `orphans`, the runs that no study asks for, too. Only while nobody drives the root."""
    files = files_of(store)
    runs, _ = group_by_run(files)
    found = [Garbage(path, "half-written") for path in _temporary(store)]
    asked, _ = asked_runs(store, files)
    for run_id, own in sorted(runs.items()):
        if orphans and run_id not in asked:
            found += [Garbage(path, "of a run that no study asks for") for path in own]
            continue
        faults = damaged_checkpoints(RunDir(store, run_id), own)
        found += [Garbage(fault.path, "damaged checkpoint") for fault in faults]
    return found


def remove(store: Store, found: list[Garbage]) -> None:
    """Remove it, markers and run.json last, so that a removal that is cut short can be seen."""
    for item in sorted(found, key=lambda item: (item.path.endswith(".json"), item.path)):
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
