"""The wheel as a stranger has it: in a fresh environment, away from the checkout, beside folders named like ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("analysis", "orchestrator", "trainables")
TINY = """\
hypothesis: Tiny.
base:
  data: {entities: 30, relations: 6, out_degree: 4, ood_fraction: 0.2, phi: 2.0}
  model: {width: 16, heads: 2, layers: 1, loops: 2}
  optim: {warmup: 5}
  train: {steps: 60, batch: 32}
  eval: {every: 20, probes: [logit_lens, circuit], max_examples: 50, probe_examples: 20}
space:
  data.exposure: [natural, both_hops]
seeds: [0]
"""
OWN = """\
hypothesis: A task of one's own.
base:
  task: ./parity.py:Parity
  data: {bits: 4}
  model: {width: 16, heads: 2, layers: 1, loops: 1}
  train: {steps: 40, batch: 32}
  eval: {every: 20}
seeds: [0, 1]
"""
PACK = """\
import sys
from pathlib import Path
import grokstudy
from grokstudy.orchestrator.cluster.package import pack
from grokstudy.orchestrator.commands.common import read_study
print(grokstudy.__file__, pack(read_study(Path("quickstart")), Path(sys.argv[1])))
"""
pytestmark = pytest.mark.slow


def said(*words: str | Path, at: Path, path: str | Path = "", code: int = 0) -> str:
    """Standard output of a program that knows nothing of this checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GROKSTUDY", "MLFLOW", "RAY_"))}
    environment = {**kept, "PYTHONPATH": str(path), "NO_COLOR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(words, cwd=at, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def pip(*words: str | Path, at: Path) -> None:
    said(sys.executable, "-m", "pip", *words, "--quiet", "--no-deps", "--no-index", at=at)


def built(source: Path, folder: Path) -> Path:
    """The wheel of a source tree or sdist, without the network."""
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, source, at=folder.parent)
    (wheel,) = folder.glob("*.whl")
    return wheel


def names(wheel: Path) -> list[str]:
    return zipfile.ZipFile(wheel).namelist()


def content(wheel: Path) -> dict[str, bytes]:
    """What is in a wheel. Its own list of files is left out: that has them in the order of the building."""
    archive = zipfile.ZipFile(wheel)
    return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}


@dataclass(frozen=True)
class Stranger:
    """Someone with the wheel in an environment of his own, in a repository of his own."""

    folder: Path
    binaries: Path

    def asks(self, *words: str | Path, at: Path | None = None, path: Path | None = None, code: int = 0) -> str:
        """Call a program of the environment in a folder, by default the own one, which is on PYTHONPATH too."""
        program = self.binaries / words[0]
        return said(program, *words[1:], at=at or self.folder, path=path or self.folder, code=code)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout in which nothing was ever built."""
    copy = tmp_path_factory.mktemp("checkout") / "copy"
    left_out = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "results", "test-output")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=left_out)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(checkout, tmp_path_factory.mktemp("wheel") / "out")


@pytest.fixture(scope="module")
def stranger(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    """The wheel, installed; what it needs is taken from this environment, grokstudy itself is not."""
    folder = tmp_path_factory.mktemp("stranger")
    said(sys.executable, "-m", "venv", "--without-pip", ".venv", at=folder)
    (site,) = folder.glob(".venv/lib/python*/site-packages")
    shared = [entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]
    (site / "shared.pth").write_text(
        "\n".join(shared) + "\n"
    )  # .pth files over there do not count: no editable install
    pip("--python", folder / ".venv/bin/python", "install", wheel, at=folder)
    for package in PACKAGES:
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text(f"raise RuntimeError('{package} is mine')\n")
    (folder / "tiny.yaml").write_text(TINY)
    said("git", "init", "--quiet", at=folder)
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    said("git", "add", "tiny.yaml", at=folder)
    said("git", *identity, "commit", "--quiet", "--message", "mine", at=folder)
    return Stranger(folder, folder / ".venv/bin")


@pytest.fixture(scope="module")
def trained(stranger: Stranger) -> str:
    """What the study says that was really run."""
    return stranger.asks("grokstudy", "run", "tiny.yaml")


def test_wheel_holds_the_packages_with_studies_and_cluster_files_and_nothing_else(wheel: Path) -> None:
    found = {name for name in names(wheel) if ".dist-info/" not in name}
    code = {f"grokstudy/{path.relative_to(ROOT)}" for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    data = {f"grokstudy/studies/{path.name}" for path in (ROOT / "studies").glob("*.yaml")}
    data |= {f"grokstudy/docs/clusters/{path.name}" for path in (ROOT / "docs/clusters").iterdir()}
    data |= {f"grokstudy/{path.relative_to(ROOT)}" for path in (ROOT / "analysis/report/templates").iterdir()}
    data |= {"grokstudy/cluster.yaml", "grokstudy/constraints.txt"}
    own = {"grokstudy/__init__.py", "grokstudy/__main__.py"}
    typed = {f"grokstudy/{place}py.typed" for place in ("", *(f"{package}/" for package in PACKAGES))}
    assert found == code | data - {"grokstudy/docs/clusters/README.md"} | own | typed


def test_sdist_gives_the_same_wheel(checkout: Path, wheel: Path, tmp_path: Path) -> None:
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    said(sys.executable, "-c", build, tmp_path, at=checkout)
    (sdist,) = tmp_path.glob("*.tar.gz")
    assert content(built(sdist, tmp_path / "out")) == content(wheel)


def test_the_installed_copy_is_the_one_that_runs(stranger: Stranger) -> None:
    code = "import grokstudy.trainables as t, grokstudy; print(grokstudy.__file__, t.__file__)"
    for place in stranger.asks("python", "-c", code).split():
        assert Path(place).is_relative_to(stranger.folder / ".venv")
    stranger.asks("python", "-c", "import analysis", code=1)
    assert "Exit codes" in stranger.asks("grokstudy", "--help")
    assert "train one run" in stranger.asks("python", "-m", "grokstudy.trainables", "--help")


def test_shipped_studies_and_cluster_files_are_found_by_name(stranger: Stranger) -> None:
    told = stranger.asks("grokstudy", "studies").splitlines()[1:]
    assert [line.split()[0] for line in told] == sorted(path.stem for path in (ROOT / "studies").glob("*.yaml"))
    assert stranger.asks("grokstudy", "cluster-file", "aws") == (ROOT / "cluster.yaml").read_text()
    assert stranger.asks("grokstudy", "cluster-file", "slurm") == (ROOT / "docs/clusters/slurm.sh").read_text()
    planned = json.loads(stranger.asks("python", "-m", "grokstudy", "plan", "quickstart", "--json"))
    assert planned["runs"] == 2


def test_a_study_runs_through_ray_beside_folders_named_like_ours(stranger: Stranger, trained: str) -> None:
    assert "report:" in trained
    counted = stranger.asks("grokstudy", "query", "SELECT count(*) AS n FROM evals WHERE step = 60", "--json")
    assert json.loads(counted)[0]["n"] > 0
    assert "report:" in stranger.asks("grokstudy", "report", "tiny")


def test_a_task_of_ones_own_goes_from_its_file_through_ray_to_the_report(stranger: Stranger) -> None:
    folder = stranger.folder / "own"
    folder.mkdir()
    stranger.asks("grokstudy", "new", "--task", "parity.py", at=folder)
    assert len((folder / "parity.py").read_text().splitlines()) <= 60
    (folder / "own.yaml").write_text(OWN)
    assert "BROKEN" not in stranger.asks("grokstudy", "check", "parity.py:Parity", at=folder)
    plan = json.loads(stranger.asks("grokstudy", "plan", "own.yaml", "--json", at=folder))
    assert (plan["runs"], list(plan["code"])) == (2, ["./parity.py:Parity"])
    told = stranger.asks("grokstudy", "run", "own.yaml", "--ray", "--workers", "2", at=folder)
    assert "report:" in told
    answer = json.loads(stranger.asks("grokstudy", "report", "own.yaml", "--json", at=folder))
    assert json.dumps(answer).count("memorised") > 0
    counted = stranger.asks(
        "grokstudy", "query", "SELECT split, count(*) AS n FROM evals GROUP BY split", "--json", at=folder
    )
    assert {row["split"]: row["n"] for row in json.loads(counted)} == {"fresh": 6, "sparse": 6}
    assert (folder / "results/studies/own/code").is_dir()


def test_a_run_of_an_installed_copy_does_not_record_the_users_commit(stranger: Stranger, trained: str) -> None:
    runs = [json.loads(path.read_text()) for path in stranger.folder.glob("results/runs/*/run.json")]
    assert [run["commit"] for run in runs] == [None, None]


def test_code_that_travels_with_a_job_comes_from_the_installed_copy(stranger: Stranger, tmp_path: Path) -> None:
    source, place = stranger.asks("python", "-c", PACK, tmp_path).split()
    assert Path(source).is_relative_to(stranger.folder / ".venv")
    assert place == "studies/quickstart.yaml"
    starts_alone(stranger, tmp_path)


def test_code_travels_from_a_checkout_whose_links_did_not_survive(
    checkout: Path, stranger: Stranger, tmp_path: Path
) -> None:
    copy, parcel = tmp_path / "copy", tmp_path / "parcel"
    shutil.copytree(checkout, copy, symlinks=True, ignore=shutil.ignore_patterns("tests", "build", "*.egg-info"))
    parcel.mkdir()
    for link in (path for path in (copy / "grokstudy").iterdir() if path.is_symlink()):
        target = os.readlink(link)
        link.unlink()
        link.write_text(target)  # as git does where there are no links
    source, place = stranger.asks("python", "-c", PACK, parcel, at=tmp_path, path=copy).split()
    assert (Path(source), place) == (copy / "grokstudy/__init__.py", "studies/quickstart.yaml")
    listed = stranger.asks("python", "-m", "grokstudy", "cluster-file", "aws", at=tmp_path, path=copy)
    assert listed == (ROOT / "cluster.yaml").read_text()
    starts_alone(stranger, parcel)


def starts_alone(stranger: Stranger, parcel: Path) -> None:
    """A job's folder holds all of the code, and it is this code that a job runs, whatever is installed."""
    code = {path.relative_to(parcel / "grokstudy") for path in (parcel / "grokstudy").rglob("*.py")}
    assert {path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")} <= code
    where = "import grokstudy.analysis as a, grokstudy.orchestrator.cli as o; print(a.__file__, o.__file__)"
    for place in stranger.asks("python", "-c", where, at=parcel).split():
        assert Path(place).is_relative_to(parcel)
    assert "runs" in stranger.asks("python", "-m", "grokstudy", "plan", "studies/quickstart.yaml", at=parcel)
