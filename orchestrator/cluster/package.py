"""What of this project travels with a job: the package and the study file, well below 5 MB.

No data, no environment, no history: the nodes have the packages of constraints.txt installed, and read and write
the shared root.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import grokstudy
from grokstudy.orchestrator.study.study import Study

MOST_BYTES = 5_000_000


def pack(study: Study, folder: Path) -> str:
    """Copy what a job needs into an empty folder; returns the study file's place in it."""
    source = Path(grokstudy.__file__).parent
    shutil.copytree(source, folder / "grokstudy", ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
    place = f"studies/{study.name}.yaml"
    (folder / "studies").mkdir()
    (folder / place).write_text(study.text, encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > MOST_BYTES:
        raise ValueError(f"the code is {size:,} bytes, more than {MOST_BYTES:,}; move data out of {source}")
    return place
