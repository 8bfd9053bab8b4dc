"""The documents say what is there: layout tree, commands, studies, and the example that a reader copies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from grokstudy.orchestrator.commands import COMMANDS, EXAMPLES
from grokstudy.orchestrator.study.errors import StudyError
from grokstudy.orchestrator.study.load import load_study

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    return README.split(f"## {title}\n")[1].split("\n## ")[0]


def code_block(title: str) -> str:
    return section(title).split("```")[1].split("\n", 1)[1]


def test_layout_tree_is_what_is_on_the_disk() -> None:
    told, parent = set(), ""
    for line in code_block("Layout").splitlines():
        name = line.split()[0]
        parent = parent if line.startswith(" ") else name
        told.add(name if name == parent else parent + name)
    assert all((ROOT / name).is_dir() for name in told)
    packages = ("orchestrator", "trainables", "analysis")
    inner = {f"{d.relative_to(ROOT)}/" for p in packages for d in (ROOT / p).iterdir() if (d / "__init__.py").exists()}
    assert {name for name in told if name.count("/") == 2} == inner


def test_every_command_is_in_the_readme() -> None:
    told = set(re.findall(r"\| `grokstudy (\w[\w-]*)", section("Commands")))
    assert told == set(COMMANDS) == set(EXAMPLES)


def test_every_shipped_study_is_in_the_readme() -> None:
    told = set(re.findall(r"studies/([\w.]+)\.yaml", section("Studies")))
    assert told == {path.stem for path in (ROOT / "studies").glob("*.yaml")}


def test_the_example_study_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(code_block("A study in 20 lines"))
    study = load_study(path)
    assert study.columns == ["data.exposure", "optim.weight_decay", "depth", "train.steps"]


def test_the_mistake_that_the_readme_shows_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(code_block("A study in 20 lines").replace("model: {layers:", "model: {layer:"))
    with pytest.raises(StudyError) as caught:
        load_study(path)
    assert str(caught.value).replace(str(path), "studies/mine.yaml") in section("A study in 20 lines").splitlines()


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], ids=str)
def test_relative_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_first_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    first = README.split("```\n")[1].splitlines()
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert [line.split()[1] for line in first] == ["demo", "test"]
    assert {"demo", "test", "setup"} <= set(targets)
