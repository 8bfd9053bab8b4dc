"""What import-linter (pyproject.toml) cannot see: what is imported when, and what runs where nothing is installed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for name in ("orchestrator", "analysis", "trainables") for path in (ROOT / name).rglob("*.py"))


def test_the_contracts_of_the_rooms_are_kept() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_everything_is_imported_under_one_name(path: Path) -> None:
    """A module that was imported under two names would be two modules."""
    tree = ast.parse(path.read_text())
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not {name.split(".")[0] for name in names} & {"orchestrator", "analysis", "trainables"}


def test_trainables_run_where_nothing_else_is_installed() -> None:
    blocked = ["ray", "mlflow", "pydantic", "polars", "typer", "rich", "optuna", "altair", "scipy", "pandas"]
    code = (
        "import sys, runpy\n"
        f"for name in {blocked}: sys.modules[name] = None\n"
        "sys.argv = ['trainables', '--help']\n"
        "runpy.run_module('trainables', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom grokstudy.orchestrator.cli import app\n"
        "heavy = {'torch', 'ray', 'mlflow', 'polars', 'pydantic', 'altair', 'optuna', 'pyarrow', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
