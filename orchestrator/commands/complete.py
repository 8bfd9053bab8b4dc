"""What the shell offers for a word: study files, studies and runs. Looks at folders only, so it answers at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import typer

from grokstudy.orchestrator.shipped import CLUSTER_FILES, shipped_studies

ROOT = "results"


def study_files(incomplete: str) -> list[str]:
    """Study files below the folder that has been typed; before a folder is, those below studies/, and shipped names."""
    folder = Path(incomplete.rpartition("/")[0] or "/") if "/" in incomplete else Path("studies")
    return _beginning(incomplete, (str(path) for path in folder.glob("*.yaml"))) + shipped(incomplete)


def shipped(incomplete: str) -> list[str]:
    """Names of shipped studies."""
    return _beginning(incomplete, iter(shipped_studies()))


def cluster_files(incomplete: str) -> list[str]:
    """Names of cluster files."""
    return _beginning(incomplete, iter(CLUSTER_FILES))


def studies(context: typer.Context, incomplete: str) -> list[str]:
    """Studies of the root, and study files."""
    return list(dict.fromkeys(_beginning(incomplete, _entries(context, "studies")) + study_files(incomplete)))


def runs(context: typer.Context, incomplete: str) -> list[str]:
    """Runs of the root."""
    return _beginning(incomplete, _entries(context, "runs"))


def _entries(context: typer.Context, folder: str) -> Iterator[str]:
    """Names in a folder of the root; nothing for a root that is not a folder of this machine."""
    root = context.params.get("root") or os.environ.get("GROKSTUDY_ROOT") or ROOT
    path = Path(root) / folder
    yield from (entry.name for entry in path.iterdir()) if "://" not in root and path.is_dir() else ()


def _beginning(incomplete: str, words: Iterator[str]) -> list[str]:
    return sorted(word for word in words if word.startswith(incomplete))
