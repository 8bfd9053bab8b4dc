"""The tutorial does what it says: its blocks are executed in order, in an empty folder, as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def executed(page: str, folder: Path) -> str:
    """What the blocks of a page print, one after the other, in this folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GROKSTUDY", "MLFLOW"))}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    python, told = "", ""
    for language, text in re.findall(r"```(sh|python)\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL):
        python += text if language == "python" else ""
        words = ["bash", "-euc", text] if language == "sh" else [sys.executable, "-c", python]
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        told += done.stdout + done.stderr
    return told


@pytest.mark.slow
def test_every_block_of_the_tutorial_works(tmp_path: Path) -> None:
    told = executed("tutorial.md", tmp_path)
    assert "exit code 2" in told
    assert "did you mean space.data.exposure?" in told
    assert "nothing to do" in told
    assert "2/2 runs ended" in told
    assert told.count("0.") > 4
    for left in ("plane.svg", "compare.html", "trial/studies/small/report/index.html"):
        assert (tmp_path / left).stat().st_size > 1000


@pytest.mark.slow
def test_every_block_of_the_tutorial_of_a_task_of_ones_own_works(tmp_path: Path) -> None:
    told = executed("tutorial-own-task.md", tmp_path)
    assert "BROKEN an example depends on its word alone: drawn twice, they differ" in told
    assert "exit code 1" in told
    assert "wrong.yaml" in told
    assert "exit code 2" in told
    assert "9 of 6 bits is not possible" in told
    assert told.count("done") >= 6
    assert (tmp_path / "parity/results/studies/sparse/report/index.html").stat().st_size > 1000
