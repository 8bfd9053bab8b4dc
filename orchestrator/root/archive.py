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
from pathlib import Path, PurePosixPath

from grokstudy.orchestrator.root.verify import study_runs
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage.store import Store

_SUM = r"[0-9a-f]{16}"
_ID = r"([0-9a-f]{16}|ext-[0-9a-f]{12})"
_STUDY = r"[a-z0-9][a-z0-9_.]*"
_NAMES = re.compile(
    rf"studies/{_STUDY}/(study\.yaml|study\.json|extensions\.json|trials\.parquet)"
    rf"|runs/{_ID}/(run|lease|DONE|FAILED)\.json|runs/{_ID}/checkpoints/(?:step|event)-\d{{9}}-{_SUM}\.pt"
    rf"|metrics/({'|'.join(TABLES)})/run_id={_ID}/part-\d{{9}}\.parquet"
)
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
    run_ids = study_runs(store, study)
    folders = [f"studies/{study}"]
    folders += [f"metrics/{table}/run_id={run_id}" for run_id in run_ids for table in TABLES]
    folders += [f"runs/{run_id}" for run_id in run_ids]
    names = [path for folder in folders for path in store.list(folder, recursive=True) if _NAMES.fullmatch(path)]
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
        if not _NAMES.fullmatch(entry.name):
            raise ValueError(f"{path}: {entry.name!r} is not a file of a study; nothing was imported")
        if entry.size > MAX_FILE:
            raise ValueError(f"{path}: {entry.name!r} is {entry.size:,} bytes large; nothing was imported")


def _put(store: Store, tar: tarfile.TarFile, entries: list[tarfile.TarInfo]) -> Received:
    studies = sorted({_parts(entry)[1] for entry in entries if _parts(entry)[0] == "studies"})
    for study in studies:
        if store.exists(f"studies/{study}/study.yaml"):
            raise ValueError(f"{store.uri}: there is a study {study!r} already; import into another --root")
    runs = {_run_of(entry) for entry in entries} - {None}
    kept = {run_id for run_id in runs if store.exists(f"runs/{run_id}/run.json")}
    for entry in entries:
        if _run_of(entry) not in kept:
            source = tar.extractfile(entry)
            assert source is not None
            store.write(entry.name, source.read())
    return Received(studies, len(runs - kept), len(kept))


def _parts(entry: tarfile.TarInfo) -> tuple[str, ...]:
    return PurePosixPath(entry.name).parts


def _run_of(entry: tarfile.TarInfo) -> str | None:
    parts = _parts(entry)
    return {"runs": parts[1], "metrics": parts[2].removeprefix("run_id=")}.get(parts[0])


def _order(name: str) -> tuple[int, str]:
    """Rows, then checkpoints, then run.json, then the markers, then the study: each stands for what came before."""
    ranks = ("metrics/", "runs/.*/checkpoints/", "runs/.*/(run|lease).json", "runs/", "studies/")
    return next(rank for rank, pattern in enumerate(ranks) if re.match(pattern, name)), name
