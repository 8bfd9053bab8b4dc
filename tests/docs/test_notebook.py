"""The notebook in docs/ runs from top to bottom on a study, and what it shows is right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic import build

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs/analysis.ipynb"


def test_every_cell_of_the_notebook_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path / "results", name="quickstart", seeds=2)
    monkeypatch.chdir(tmp_path)
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}:{cell['id']}", "exec"), names)
    assert "'data.exposure': 'both_hops'} n=2, censored=0" in capsys.readouterr().out
    assert len(names["slowest"]) == 3  # type: ignore[arg-type]


def test_what_every_cell_shows_is_stored_and_says_nothing_of_the_machine() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), "run it from top to bottom"
    assert all(cell["outputs"] for cell in cells)
    told = json.dumps([output for cell in cells for output in cell["outputs"] if "image/png" not in str(output)])
    assert not [word for word in ("Traceback", "/home", "/tmp", "/root", "/work", "Warning") if word in told]
