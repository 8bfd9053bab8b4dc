"""The import rules of the packages, held on the syntax tree of every file."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = {package: sorted((ROOT / package).rglob("*.py")) for package in ("trainables", "orchestrator", "analysis")}
RAY_FILES = {"checkup.py", "tuner.py", "worker.py", "heartbeat.py", "jobs.py", "notice.py", "sizes.py"}
SEES_ALL = {"orchestrator/cli.py", "orchestrator/commands"}
LIGHT = {"trainables.schema", "trainables.store", "trainables.options"}


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", FILES["trainables"], ids=lambda p: str(p.relative_to(ROOT)))
def test_trainables_need_only_torch_numpy_pyarrow(path: Path) -> None:
    allowed = {"torch", "numpy", "pyarrow", "trainables", *sys.stdlib_module_names}
    assert packages(path) <= allowed


@pytest.mark.parametrize("path", FILES["analysis"], ids=lambda p: str(p.relative_to(ROOT)))
def test_analysis_never_sees_torch_ray_mlflow_or_the_orchestrator(path: Path) -> None:
    assert not packages(path) & {"torch", "ray", "mlflow", "orchestrator", "pydantic"}
    ours = {name for name in imports(path) if name.startswith("trainables.")}
    assert all(any(name == light or name.startswith(f"{light}.") for light in LIGHT) for name in ours)


@pytest.mark.parametrize("path", FILES["orchestrator"], ids=lambda p: str(p.relative_to(ROOT)))
def test_orchestrator_keeps_ray_in_named_files_and_analysis_in_the_commands(path: Path) -> None:
    relative = str(path.relative_to(ROOT))
    found = packages(path)
    assert "ray" not in found or path.name in RAY_FILES
    assert "analysis" not in found or any(relative.startswith(place) for place in SEES_ALL)


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


def test_files_stay_small() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for fs in FILES.values() for path in fs}
    too_long = {name: length for name, length in lengths.items() if length > 320}
    assert not too_long, "what second thing lives in there?"
    assert sorted(lengths.values())[len(lengths) // 2] <= 150
