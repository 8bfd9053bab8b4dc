"""Studies and cluster files that come with grokstudy: found by name from any folder, listed, printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer
import yaml
from synthetic import build_tracked
from typer.testing import CliRunner, Result

from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.commands.common import read_study, study_file, study_name
from grokstudy.orchestrator.commands.complete import cluster_files, shipped, study_files
from grokstudy.orchestrator.shipped import CLUSTER_FILES, FOR_THE_CHECKOUT, shipped_studies
from grokstudy.orchestrator.study.load import load_study

ROOT = Path(__file__).resolve().parents[2]
STUDIES = {path.stem: path for path in (ROOT / "studies").glob("*.yaml")}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def refusal(word: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(typer.Exit) as ended:
        read_study(Path(word))
    assert ended.value.exit_code == 2
    return capsys.readouterr().err.strip()


def test_a_name_is_the_path_itself_then_a_study_here_then_a_shipped_one(elsewhere: Path) -> None:
    assert read_study(Path("paper_2405.15071")).text == STUDIES["paper_2405.15071"].read_text()
    assert study_file(Path("quickstart")).resolve() == STUDIES["quickstart"]
    (elsewhere / "studies").mkdir()
    (elsewhere / "studies/quickstart.yaml").write_text("hypothesis: mine\n")
    assert study_file(Path("quickstart")) == Path("studies/quickstart.yaml")
    (elsewhere / "quickstart").mkdir()
    assert study_file(Path("quickstart")) == Path("studies/quickstart.yaml")
    (elsewhere / "quickstart").rmdir()
    (elsewhere / "quickstart").write_text("hypothesis: mine too\n")
    assert study_file(Path("quickstart")) == Path("quickstart")


def test_a_name_that_is_none_is_told_with_where_it_was_looked_for_and_names_near_it(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal("quikstart", capsys) == (
        "quikstart: is neither a file, nor one of studies/ here (studies/quikstart.yaml), nor a shipped study; "
        "did you mean quickstart?"
    )
    assert re.search(r"nearest: \w+, .*\(and \d+ more\)$", refusal("zzz", capsys)), "there are too many to list"
    (elsewhere / "studies").mkdir()
    (elsewhere / "studies/depth_of_mine.yaml").touch()
    assert refusal("depth_of_mime", capsys).endswith("did you mean depth_of_mine?")
    assert refusal("studies/quickstart.yaml", capsys).endswith("is read by its name alone: quickstart")
    assert "absent.yaml: cannot be read: No such file" in refusal("absent.yaml", capsys)


def test_plan_and_status_take_a_shipped_study_in_an_empty_folder(elsewhere: Path) -> None:
    assert json.loads(asked("status", "quickstart", "--json").stdout)["study"] == "quickstart"
    assert not (elsewhere / "results").exists()


def test_studies_are_listed_a_line_each_and_printed() -> None:
    lines = asked("studies").stdout.splitlines()[1:]
    assert [line.split()[0] for line in lines] == sorted(STUDIES)
    assert all(len(line.split()) > 10 for line in lines)
    rows = json.loads(asked("studies", "--json").stdout)
    assert {row["study"]: row["hypothesis"] for row in rows} == {
        name: " ".join(load_study(path).hypothesis.split()) for name, path in STUDIES.items()
    }
    wrong = asked("studies", "wangphi")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert wrong.stderr == "wangphi: there is no shipped study of this name; did you mean wang_phi?\n"


@pytest.mark.parametrize("name", STUDIES)
def test_a_printed_study_is_the_beginning_of_ones_own(name: str, elsewhere: Path) -> None:
    printed = asked("studies", name).stdout
    assert FOR_THE_CHECKOUT + printed == STUDIES[name].read_text()
    (elsewhere / "mine.yaml").write_text(printed)
    assert load_study(elsewhere / "mine.yaml").columns == load_study(STUDIES[name]).columns


def test_cluster_files_are_listed_and_printed() -> None:
    lines = asked("cluster-file").stdout.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(CLUSTER_FILES)
    assert asked("cluster-file", "aws").stdout == (ROOT / "cluster.yaml").read_text()
    assert yaml.safe_load(asked("cluster-file", "gcp").stdout)["provider"]["type"] == "gcp"
    (row,) = json.loads(asked("cluster-file", "slurm", "--json").stdout)
    assert row["text"] == (ROOT / "docs/clusters/slurm.sh").read_text()
    assert "did you mean aws?" in asked("cluster-file", "awss").stderr


def test_every_file_to_start_a_cluster_with_has_a_name() -> None:
    there = {f"docs/clusters/{path.name}" for path in (ROOT / "docs/clusters").iterdir()} - {"docs/clusters/README.md"}
    assert {file.place for file in CLUSTER_FILES.values()} == there | {"cluster.yaml", "constraints.txt"}


def test_the_shell_completes_names(elsewhere: Path) -> None:
    assert study_files("quick") == ["quickstart"]
    assert shipped("paper") == ["paper_2405.15071", "paper_2601.09049"]
    assert cluster_files("k") == ["kuberay"]
    (elsewhere / "studies").mkdir()
    (elsewhere / "studies/mine.yaml").touch()
    assert study_files("") == ["studies/mine.yaml", *sorted(shipped_studies())]
    assert study_files("studies/") == ["studies/mine.yaml"]


def test_a_study_with_a_dot_in_its_name_is_found_by_its_name(tmp_path: Path) -> None:
    assert study_name("paper_2405.15071") == "paper_2405.15071"
    assert study_name("some/where/paper_2405.15071.yaml") == "paper_2405.15071"
    build_tracked(tmp_path / "root", seeds=1)
    (tmp_path / "root/studies/regimes").rename(tmp_path / "root/studies/paper_1.2")
    told = asked("watch", "paper_1.2", "--root", str(tmp_path / "root"), "--once")
    assert told.stdout.startswith("paper_1.2: 4/4 runs ended"), told.stderr
