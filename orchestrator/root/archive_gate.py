"""The gate for a tar file that claims to be a study: looked at as a whole before anything of it is written to a root.

What is allowed: regular files under names of ours, each once, within the limits below; the studies that they describe
can be read, and their runs are theirs: every run is asked for, and its configuration gives its id. Whether all rows
are whole is for `grokstudy verify` to say.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NoReturn

from grokstudy.orchestrator.root.verify import study_runs
from grokstudy.trainables.storage import run_dir, study_dir
from grokstudy.trainables.storage.run_dir import MARKERS, RunDir, run_of
from grokstudy.trainables.storage.store import DamagedError, Store
from grokstudy.trainables.storage.study_dir import StudyDir

MAX_FILES, MAX_FILE, MAX_TOTAL = 500_000, 1 << 32, 1 << 38
"""Files, bytes of the largest (4 GiB), and of all of them (256 GiB): some ten times what a study of 1,000 runs has."""
MAX_TEXT = 1 << 26
"""Bytes (64 MiB) of the largest file that is looked into: a marker, a study's files."""


def is_ours(path: str) -> bool:
    """Whether a file of a study can have this path in a root."""
    return bool(run_dir.OURS.fullmatch(path) or study_dir.OURS.fullmatch(path))


def studies_in(entries: Iterable[tarfile.TarInfo]) -> list[str]:
    """The studies that have files among these."""
    return sorted({match["study"] for entry in entries if (match := study_dir.OURS.fullmatch(entry.name))})


def content_of(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    """The bytes of a file that was checked."""
    source = tar.extractfile(entry)
    content = b"" if source is None else source.read()
    if len(content) != entry.size:
        raise tarfile.ReadError(f"{entry.name} has {len(content):,} of {entry.size:,} bytes")
    return content


def check_entries(path: Path, tar: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """The files of the archive; ends at the first that is not allowed, with a ValueError."""
    seen: dict[str, tarfile.TarInfo] = {}
    total = 0
    for entry in tar:
        if not entry.isreg() or entry.issparse():
            _refuse(path, entry.name, "is not a regular file")
        if not is_ours(entry.name):
            _refuse(path, entry.name, "is not a file of a study")
        if entry.name in seen:
            _refuse(path, entry.name, "is there twice")
        total += entry.size
        looked_into = "checkpoints/" not in entry.name and not entry.name.startswith("metrics/")
        limit = MAX_TEXT if looked_into else MAX_FILE
        if entry.size > limit:
            _refuse(path, entry.name, f"is {entry.size:,} bytes large, allowed are {limit:,}")
        if total > MAX_TOTAL or len(seen) == MAX_FILES:
            _refuse(path, entry.name, f"is beyond the allowed {MAX_FILES:,} files and {MAX_TOTAL:,} bytes")
        seen[entry.name] = entry
    return list(seen.values())


def check_contents(path: Path, tar: tarfile.TarFile, entries: list[tarfile.TarInfo]) -> None:
    """The studies can be read and the runs are theirs: told by the readers of a root, from a folder aside."""
    with tempfile.TemporaryDirectory() as aside:
        store = Store(aside)
        for entry in entries:
            if PurePosixPath(entry.name).name in (*MARKERS, *study_dir.FILES):
                store.write(entry.name, content_of(tar, entry))
        try:
            requested_ids = {run_id for name in studies_in(entries) for run_id in _runs_of(path, StudyDir(store, name))}
            for run_id in sorted({run_of(entry.name) for entry in entries} - {None}, key=str):
                if run_id not in requested_ids:
                    _refuse(path, str(run_id), "is a run that no study of the file asks for")
                _check_run(path, RunDir(store, str(run_id)))
        except DamagedError as error:
            detail = str(error).replace(f"{store.base}/", "").partition("; ")[0]
            raise ValueError(f"{path}: {detail}; nothing was imported") from None


def _runs_of(path: Path, study: StudyDir) -> list[str]:
    """The runs that a study asks for; its two files are there, and what can be looked into can be read."""
    for needed in (study.spec, study.trials):
        if not study.store.exists(needed):
            _refuse(path, needed, "is missing")
    study.find_spec()
    study.trial_rows()
    study.find_audit()
    study.find_transplants()
    return study_runs(study)


def _check_run(path: Path, run: RunDir) -> None:
    """Its markers can be read, and run.json is its own. One without run.json is for `verify` to name."""
    about, *_ = [run.read(marker) for marker in MARKERS]
    if about is None:
        return
    own = about.get("run_id")
    if not run.is_imported:
        config = run.config()
        own = None if config is None else config.run_id
    if own != run.run_id:
        _refuse(path, f"{run.folder}/run.json", f"belongs to run {own}")


def _refuse(path: Path, name: str, detail: str) -> NoReturn:
    raise ValueError(f"{path}: {name!r} {detail}; nothing was imported")
