"""docs/architecture.md draws the folders that there are, and the layers that import-linter holds."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text()


def code_block(title: str) -> list[str]:
    return PAGE.split(f"## {title}\n")[1].split("```")[1].strip("\n").splitlines()


def drawn() -> set[str]:
    folders, parent = set(), ""
    for line in code_block("The rooms"):
        name = line.split()[0]
        parent = parent if line.startswith(" ") else name
        folders.add(name if name == parent else parent + name)
    return folders


def test_every_drawn_folder_is_there_and_has_a_purpose() -> None:
    assert [name for name in sorted(drawn()) if not (ROOT / name).is_dir()] == []
    assert all(len(line.split(maxsplit=1)) == 2 for line in code_block("The rooms"))


def test_every_package_folder_is_drawn() -> None:
    tops = [path for path in ROOT.iterdir() if (path / "__init__.py").exists()]
    rooms = [path for top in tops for path in top.iterdir() if not path.is_symlink()]
    found = {f"{path.relative_to(ROOT)}/" for path in (*tops, *rooms) if (path / "__init__.py").exists()}
    assert sorted(found - drawn()) == [], "add a line to the drawing in docs/architecture.md"


def test_layers_on_the_page_are_the_contracts_in_pyproject() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    expected = {}
    for contract in contracts:
        if contract["type"] == "layers":
            (container,) = contract.get("containers", ["grokstudy"])
            layers = [layer.removeprefix("grokstudy.") for layer in contract["layers"]]
            expected[container.removeprefix("grokstudy.")] = " > ".join(layers)
    told: dict[str, str] = {}
    for line in code_block("Who may import whom"):
        name = list(told)[-1] if line.startswith(" ") else line.split()[0]
        told[name] = f"{told.get(name, '')} {line.removeprefix(name).strip()}".strip()
    assert told == expected
