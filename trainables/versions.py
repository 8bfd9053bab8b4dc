"""Versions that a result depends on, for `run.json` and the report."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path


def installed(*packages: str) -> dict[str, str]:
    """Version of Python and of each installed package; a package that is not there is left out."""
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


POINTING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_PREFIX")


@functools.cache
def git_commit() -> str | None:
    """Commit of our own checkout, with `+changes` when it is not clean; outside of one GROKSTUDY_COMMIT, or None.

    A repository around an installed copy is the user's, and its commit says nothing about this code.
    """
    return commit_of(Path(__file__).resolve().parent.parent) or os.environ.get("GROKSTUDY_COMMIT") or None


def commit_of(folder: Path) -> str | None:
    """Commit of a folder that is the top of a checkout of grokstudy; None for any other folder."""
    try:
        with (folder / "pyproject.toml").open("rb") as file:
            ours = tomllib.load(file).get("project", {}).get("name") == "grokstudy"
        if not ours or Path(_git(folder, "rev-parse", "--show-toplevel")).resolve() != folder.resolve():
            return None
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return f"{commit}+changes" if changed else commit


def _git(folder: Path, *words: str) -> str:
    """What git says of a folder, whatever repository the environment points to, as within a hook of the user's."""
    environment = {name: value for name, value in os.environ.items() if name not in POINTING}
    words = ("git", "-C", str(folder), *words)
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=10, env=environment)
    return done.stdout.strip()
