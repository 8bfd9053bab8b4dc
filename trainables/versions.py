"""Versions that a result depends on, for `run.json` and the report."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path


def installed(*packages: str) -> dict[str, str]:
    """Version of Python and of each installed package; a package that is not there is left out."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def git_commit() -> str | None:
    """Commit of the source tree, with `+changes` when it is not clean; outside a checkout GROKSTUDY_COMMIT, or None."""
    here = Path(__file__).resolve().parent.parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("GROKSTUDY_COMMIT")
    return f"{commit}+changes" if changed else commit


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True, timeout=10)
    return done.stdout.strip()
