"""What of this project travels with a job: the three packages, the study file and the files of code from outside that
it names, well below 5 MB. The job's runtime environment takes them to the head; what workers are given brings the text.

Each package is taken from where it is imported from: an installed copy, or a checkout with or without its links.

No data, no environment, no history: the nodes have the packages of constraints.txt installed, the package of an entry
point that the study names likewise, and read and write the shared root.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import grokstudy
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.plugins import code_of

MOST_BYTES = 5_000_000
PACKAGES = ("orchestrator", "trainables", "analysis")


def pack(study: Study, folder: Path) -> str:
    """Copy what a job needs into an empty folder; returns the study file's place in it."""
    homes = {package: _home(package) for package in PACKAGES}
    code, ignored = folder / "grokstudy", shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
    code.mkdir()
    for source in Path(grokstudy.__file__).parent.glob("*.py"):
        shutil.copy(source, code)
    for package, home in homes.items():
        shutil.copytree(home, code / package, ignore=ignored)
    place = f"studies/{study.name}.yaml"
    (folder / "studies").mkdir()
    (folder / place).write_text(study.text, encoding="utf-8")
    for name in study.code.values():
        for path, text in code_of(name).files.items() if name.startswith("./") else ():
            (folder / "studies" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "studies" / path).write_text(text, encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > MOST_BYTES:
        places = ", ".join(map(str, homes.values()))
        raise ValueError(f"the code is {size:,} bytes, more than {MOST_BYTES:,}; move data out of {places}")
    return place


def _home(package: str) -> Path:
    """The folder that a package is imported from."""
    spec = importlib.util.find_spec(f"grokstudy.{package}")
    if spec is None or spec.origin is None:
        raise ValueError(f"grokstudy.{package} has no folder here that could travel; install grokstudy anew")
    return Path(spec.origin).parent
