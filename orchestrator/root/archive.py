"""A study as one tar file, to be carried to another root: its description, its runs and their rows.

Owns the format: plain files under the names that they have in a root, times and owners zero, so that equal studies give
equal files. Reading trusts nothing: `archive_gate.py` looks at all of it before the first file is written. Every file
is written before those that stand for it: run.json is the last of a run, study.json the last of a study, so that an
import that was killed is taken up again. A run that the root already has is left as it is.
"""

from __future__ import annotations

import contextlib
import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from grokstudy.orchestrator.root.archive_gate import check_contents, check_entries, content_of, is_ours, studies_in
from grokstudy.orchestrator.root.traces import TELLING, audit_without_traces, without_traces
from grokstudy.orchestrator.root.verify import study_runs
from grokstudy.trainables.storage.run_dir import RunDir, run_of
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import FILES, StudyDir


@dataclass(frozen=True)
class Received:
    """What an import did."""

    studies: list[str]
    runs: int
    kept: int
    """Runs that were there already."""


def export(store: Store, study: str, out: Path, with_hosts: bool = False) -> int:
    """Write the study to a tar file, complete or not at all; returns the number of runs.

    Unless `with_hosts`, markers tell nothing of the machines that trained. Raises DamagedError for a torn one.
    """
    own = StudyDir(store, study)
    run_ids = study_runs(own)
    folders = [own.folder, *(folder for run_id in run_ids for folder in RunDir(store, run_id).folders)]
    names = [path for folder in folders for path in store.list(folder, recursive=True) if is_ours(path)]
    partial = out.with_name(f".tmp-{out.name}")
    try:
        with tarfile.open(partial, "w") as tar:
            for name in sorted(names, key=_order):
                content = store.read(name) if with_hosts else _impersonal(store, name)
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return len(run_ids)


def _impersonal(store: Store, path: str) -> bytes:
    """A file as it may be given away."""
    run_id, name = run_of(path), PurePosixPath(path).name
    if run_id is None:
        study = StudyDir(store, PurePosixPath(path).parts[1])
        return audit_without_traces(study.find_audit() or {}) if path == study.audit else store.read(path)
    return without_traces(RunDir(store, run_id), name) if name in TELLING else store.read(path)


def check(path: Path) -> None:
    """Look at a tar file without a root. Raises ValueError for one not of ours."""
    with _checked(path):
        pass


def receive(store: Store, path: Path) -> Received:
    """Put a study of a tar file into a root. Raises ValueError, before anything is written, for one not of ours."""
    with _checked(path) as (tar, entries):
        return _put(store, tar, sorted(entries, key=lambda entry: _order(entry.name)))


@contextlib.contextmanager
def _checked(path: Path) -> Iterator[tuple[tarfile.TarFile, list[tarfile.TarInfo]]]:
    try:
        with tarfile.open(path, "r:") as tar:
            entries = check_entries(path, tar)
            check_contents(path, tar, entries)
            yield tar, entries
    except tarfile.TarError as error:
        detail = f"not a tar file as grokstudy export writes it, or torn ({error})"
        raise ValueError(f"{path}: {detail}; nothing was imported, export the study again") from None


def _put(store: Store, tar: tarfile.TarFile, entries: list[tarfile.TarInfo]) -> Received:
    studies = studies_in(entries)
    for study in studies:
        _check_absent(store, StudyDir(store, study), tar)
    runs = {run_of(entry.name) for entry in entries} - {None}
    kept = {run_id for run_id in runs if RunDir(store, str(run_id)).has("run.json")}
    for entry in entries:
        if run_of(entry.name) not in kept:
            store.write(entry.name, content_of(tar, entry))
    return Received(studies, len(runs - kept), len(kept))


def _check_absent(store: Store, study: StudyDir, tar: tarfile.TarFile) -> None:
    """The root has nothing of a study of this name, but for what an import of this very file has left there."""
    names = set(tar.getnames())
    for path in (f"{study.folder}/{name}" for name in FILES):
        if store.exists(path) and (path not in names or store.read(path) != content_of(tar, tar.getmember(path))):
            remedy = f"import into another --root, or move {store.path(study.folder)} away first"
            raise ValueError(f"{store.uri}: there is a study {study.name!r} already; {remedy}")


LAST = (
    *("metrics/.*", "runs/.*/checkpoints/.*", "runs/.*/lease.json", "runs/.*/(DONE|FAILED).json", "runs/.*/run.json"),
    *(
        "studies/.*/code/.*",
        "studies/.*/(trials.parquet|extensions.json|launches.json|transplants.parquet|audit.json)",
        "studies/.*/study.yaml",
        "studies/.*/study.json",
    ),
)
"""The order of writing: each stands for what came before."""


def _order(name: str) -> tuple[int, str]:
    return next(rank for rank, pattern in enumerate(LAST) if re.fullmatch(pattern, name)), name
