"""No axis is taken for a column of the analysis: every name that it gives to a column is reserved."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from grokstudy.orchestrator.study.errors import StudyError
from grokstudy.orchestrator.study.load import load_study
from grokstudy.trainables.schema import RESERVED

ANALYSIS = Path(__file__).resolve().parents[2] / "analysis"
MADE = {"with_columns", "agg", "select", "struct", "Schema", "rename"}


def made_by(path: Path) -> set[str]:
    """Names that a module gives to columns, as far as they are spelled out."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in MADE:
                names |= {keyword.arg for keyword in node.keywords if keyword.arg}
            for argument in node.args[:1] if node.func.attr in (*MADE, "alias") else ():
                values = [argument]
                if isinstance(argument, ast.Dict):
                    values = argument.values if node.func.attr == "rename" else [key for key in argument.keys if key]
                found = [value.value for value in values if isinstance(value, ast.Constant)]
                names |= {name for name in found if isinstance(name, str)} if node.func.attr != "select" else set()
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("path", sorted(ANALYSIS.rglob("*.py")), ids=lambda path: str(path.relative_to(ANALYSIS)))
def test_every_column_that_is_made_is_reserved(path: Path) -> None:
    assert made_by(path) <= {*RESERVED, "run_id", "strict", "orient"}


@pytest.mark.parametrize("name", ["observed", "duration", "lead_n", "trial_state", "circuit_at", "generalised_final"])
def test_such_an_axis_is_refused_with_its_place(tmp_path: Path, name: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"space:\n  {name}: {{short: {{}}, long: {{optim.lr: 0.001}}}}\n")
    with pytest.raises(StudyError, match=rf"s\.yaml:2:3: space\.{name}: .*column"):
        load_study(path)
