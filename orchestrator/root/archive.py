"""A study as one tar file, to be carried to another root: its description, its runs and their rows.

Owns the format: plain files under the names that they have in a root, times and owners zero, so that equal studies give
equal files. Reading trusts nothing: only regular files with names of ours are taken, all of them looked at before the
first is written. A run that the root already has is left as it is.
"""

from __future__ import annotations

import io
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from grokstudy.orchestrator.root.verify import study_runs
from grokstudy.trainables.storage import run_dir, study_dir
from grokstudy.trainables.storage.run_dir import RunDir, run_of
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import StudyDir

MAX_FILE = 1 << 32
"""Bytes of the largest file that is taken."""


@dataclass(frozen=True)
class Received:
    """What an import did."""

    studies: list[str]
    runs: int
    kept: int
    """Runs that were there already."""


def export(store: Store, study: str, out: Path) -> int:
    """Write the study to a tar file, complete or not at all; returns the number of runs."""
    own = StudyDir(store, study)
    run_ids = study_runs(own)
    folders = [own.folder, *(folder for run_id in run_ids for folder in RunDir(store, run_id).folders)]
    names = [path for folder in folders for path in store.list(folder, recursive=True) if _is_ours(path)]
    partial = out.with_name(f".tmp-{out.name}")
    try:
        with tarfile.open(partial, "w") as tar:
            for name in sorted(names, key=_order):
                content = store.read(name)
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return len(run_ids)


def receive(store: Store, path: Path) -> Received:
    """Put a study of a tar file into a root. Raises ValueError, before anything is written, for one not of ours."""
    try:
        with tarfile.open(path) as tar:
            entries = list(tar)
            _check(path, entries)
            return _put(store, tar, sorted(entries, key=lambda entry: _order(entry.name)))
    except tarfile.TarError as error:
        raise ValueError(f"{path}: not a tar file, or torn ({error})") from None


def _check(path: Path, entries: list[tarfile.TarInfo]) -> None:
    for entry in entries:
        if not entry.isreg():
            raise ValueError(f"{path}: {entry.name!r} is not a regular file; nothing was imported")
        if not _is_ours(entry.name):
            raise ValueError(f"{path}: {entry.name!r} is not a file of a study; nothing was imported")
        if entry.size > MAX_FILE:
            raise ValueError(f"{path}: {entry.name!r} is {entry.size:,} bytes large; nothing was imported")


def _put(store: Store, tar: tarfile.TarFile, entries: list[tarfile.TarInfo]) -> Received:
    studies = sorted({match["study"] for entry in entries if (match := study_dir.OURS.fullmatch(entry.name))})
    for study in studies:
        if store.exists(StudyDir(store, study).text):
            raise ValueError(f"{store.uri}: there is a study {study!r} already; import into another --root")
    runs = {run_of(entry.name) for entry in entries} - {None}
    kept = {run_id for run_id in runs if store.exists(f"{RunDir(store, str(run_id)).folder}/run.json")}
    for entry in entries:
        if run_of(entry.name) not in kept:
            source = tar.extractfile(entry)
            assert source is not None
            store.write(entry.name, source.read())
    return Received(studies, len(runs - kept), len(kept))


def _is_ours(path: str) -> bool:
    return bool(run_dir.OURS.fullmatch(path) or study_dir.OURS.fullmatch(path))


def _order(name: str) -> tuple[int, str]:
    """Rows, then checkpoints, then run.json, then the markers, then the study: each stands for what came before."""
    ranks = ("metrics/", "runs/.*/checkpoints/", "runs/.*/(run|lease).json", "runs/", "studies/")
    return next(rank for rank, pattern in enumerate(ranks) if re.match(pattern, name)), name
