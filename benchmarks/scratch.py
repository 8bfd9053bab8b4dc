"""A folder for what a benchmark writes, gone with the process."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path


def scratch() -> Path:
    """An empty folder that is removed when Python ends."""
    folder = Path(tempfile.mkdtemp(prefix="grokstudy-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
