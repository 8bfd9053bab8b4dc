"""`submit --slurm` and the script that it hands over, with stand-ins for Slurm's commands that note what they got."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.study.load import load_study

NOTES = 'printf "%s\\n" "$*" >> "$NOTES/$(basename "$0")"\n'
HANDED_ON = 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"\n'


@pytest.fixture
def bin_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("NOTES", str(tmp_path))
    return folder


def stand_in(folder: Path, name: str, does: str = "") -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{NOTES}{does}")
    path.chmod(0o755)


def given(tmp_path: Path, name: str) -> list[str]:
    return shlex.split((tmp_path / name).read_text())


def submit(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["submit", *words])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text("base: {train: {steps: 100}}\nseeds: [0, 1]\n")
    return path


def test_a_study_is_submitted_under_a_name_of_its_own(bin_: Path, study: Path, tmp_path: Path) -> None:
    stand_in(bin_, "squeue")
    stand_in(bin_, "sbatch", "echo '4711;cluster'\n")
    words = ["--steps", "50", "--set", "train.batch=64", "--sbatch=--nodes=8", "--sbatch=--time=1:00:00"]
    code, told, _ = submit(str(study), "--root", "/lab/results", *words)
    assert (code, told.splitlines()[0]) == (0, "4711: submitted; see it with")
    assert f"  grokstudy status {study} --root /lab/results" in told.splitlines()
    handed = given(tmp_path, "sbatch")
    name = f"mine-{load_study(study, settings=['train.batch=64']).spec_hash}"
    assert handed[:5] == ["--parsable", "--job-name", name, "--nodes=8", "--time=1:00:00"]
    assert Path(handed[5]).read_text().startswith("#!/bin/bash")
    assert handed[6:] == [str(study), "/lab/results", "--steps", "50", "--set", "train.batch=64"]
    assert name in given(tmp_path, "squeue")


def test_asking_twice_finds_the_first(bin_: Path, study: Path, tmp_path: Path) -> None:
    stand_in(bin_, "squeue", "echo 4711\n")
    stand_in(bin_, "sbatch", "echo 4712\n")
    code, told, _ = submit(str(study), "--root", "/lab/results", "--slurm")
    assert (code, told.splitlines()[0]) == (0, "4711: waits or runs already; see it with")
    assert not (tmp_path / "sbatch").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--root", "results", "--slurm"], "--root results is a folder of this machine"),
        (["--root", "/lab", "--slurm", "--address", "http://x:1"], "--slurm: starts a Ray of its own"),
        (["--root", "/lab", "--slurm", "--follow"], "--slurm: starts a Ray of its own"),
        (["--root", "/lab", "--slurm"], "squeue: there is none here; submit from a machine of the cluster"),
    ],
)
def test_what_cannot_be_submitted_is_said(bin_: Path, study: Path, words: list[str], reason: str) -> None:
    code, told, wrong = submit(str(study), *words)
    assert (code, told) == (2, "")
    assert reason in wrong


def test_what_slurm_says_is_repeated_in_one_line(bin_: Path, study: Path) -> None:
    stand_in(bin_, "squeue")
    stand_in(bin_, "sbatch", "echo 'sbatch: error: Invalid partition' >&2; echo 'Batch job failed' >&2; exit 1\n")
    code, _, wrong = submit(str(study), "--root", "/lab", "--sbatch=--partition=none")
    assert (code, wrong.strip()) == (2, "sbatch: sbatch: error: Invalid partition Batch job failed")


def test_the_script_starts_ray_on_every_node_and_runs_what_was_asked(
    bin_: Path, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(bin_, "squeue")
    stand_in(bin_, "sbatch", "echo 4711\n")
    assert submit(str(study), "--root", "/lab/my results", "--steps", "50", "--slurm")[0] == 0
    script, *words = given(tmp_path, "sbatch")[3:]
    words = [str(study), "/lab/my results", "--steps", "50"]  # $* in the note has lost where a word ends
    stand_in(bin_, "scontrol", "echo node1; for n in {2..20000}; do echo node$n; done\n")  # more than a pipe holds
    stand_in(bin_, "getent", "echo '10.0.0.1 STREAM node1'\n")
    stand_in(bin_, "srun", 'shift; exec "$@"\n')
    stand_in(bin_, "ray", HANDED_ON)
    stand_in(bin_, "grokstudy", 'printf "%s\\n" "$RAY_ADDRESS" "${#RAY_AUTH_TOKEN}" "$@" > "$NOTES/run"\n')
    slurm = {"SUBMIT_DIR": str(tmp_path), "JOB_NODELIST": "node[1-2]", "JOB_NUM_NODES": "2", "CPUS_PER_TASK": "8"}
    for name, value in {**slurm, "GPUS_ON_NODE": "4"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("PATH", f"{bin_}:/usr/bin:/bin")  # where there may be no python
    subprocess.run(["bash", script, *words], check=True)
    started = given(tmp_path, "ray")
    assert started[:5] == ["symmetric-run", "--address", "10.0.0.1:6379", "--min-nodes", "2"]
    assert started[5:9] == ["--num-cpus", "8", "--num-gpus", "4"]
    ran = (tmp_path / "run").read_text().splitlines()
    assert ran == ["10.0.0.1:6379", "64", "run", str(study), "--root", "/lab/my results", "--steps", "50"]
