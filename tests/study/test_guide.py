"""docs/study.md is what the declarations say, its parts of files are valid, and its commands work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from grokstudy.orchestrator.study.guide import study_guide
from grokstudy.orchestrator.study.load import SECTIONS, load_study
from grokstudy.trainables.config import sections_of
from grokstudy.trainables.options import fields_of
from grokstudy.trainables.tasks import TASKS

PAGE = Path(__file__).resolve().parents[2] / "docs/study.md"
TEXT = PAGE.read_text()
PARTS = re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.DOTALL)
COMMANDS = re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_page_is_what_the_declarations_say() -> None:
    assert study_guide() == TEXT, "run: make docs"


def test_every_section_and_option_has_its_place() -> None:
    assert re.findall(r"^## (\w+)$", TEXT, flags=re.MULTILINE) == list(SECTIONS)
    for task in TASKS:
        for options in sections_of(task).values():
            for name, field in fields_of(options).items():
                assert f"| `{name}` | {field.expected}".replace("|", "|") in TEXT


@pytest.mark.parametrize("part", PARTS)
def test_every_part_of_a_file_is_valid(part: str, tmp_path: Path) -> None:
    path = tmp_path / "part.yaml"
    path.write_text(yaml.safe_dump({"hypothesis": "A part.", **yaml.safe_load(part)}))
    assert load_study(path).name == "part"
    assert len(PARTS) >= len(SECTIONS) - 1


@pytest.mark.slow
def test_every_command_of_the_page_works(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GROKSTUDY")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    for block in COMMANDS:
        words = ["bash", "-euc", block]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    assert "steps       400 asked" in done.stdout, "two runs of the 200 steps that --set asks for"
