"""From laptop to cluster, for real: `ray up` on three hosts, submit, cancel, a host lost in the middle, `ray down`.

The task is one from outside, whose file the cluster has from the job alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from injury import train, unharmed, until
from lab import REPO, Host, lab
from own_code import TASK

from grokstudy.orchestrator.study.load import load_study
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.run_dir import RunDir, last_lease
from grokstudy.trainables.storage.store import Store

Word = str | Path
BIN = Path(sys.executable).parent
PROGRAMS = ("sshd", "ssh", "ssh-keygen", "rsync", "ip", "unshare", "nsenter", "setpriv", "ps")
ENVIRONMENT = ["env", "RAY_UP_enable_autoscaler_v2=0", "RAY_USAGE_STATS_ENABLED=0", "NO_COLOR=1", "COLUMNS=160"]
STEPS = 3000
STUDY = f"""\
hypothesis: it runs on three hosts
base:
  task: ./parity.py:Parity
  data: {{entities: 20, relations: 8, out_degree: 5, ood_fraction: 0.2, phi: 2.0, noise: 0.1}}
  model: {{layers: 1, width: 16, heads: 2}}
  train: {{steps: {STEPS}, batch: 32, checkpoint_every: 100}}
  eval: {{every: 500, probes: []}}
space:
  data.exposure: [natural, both_hops]
seeds: [0, 1, 2, 3]
resources: {{pack: 1}}
"""
PATIENCE = "export RAY_raylet_start_wait_time_s=120; "
"""A busy machine takes longer than the 30 s that Ray gives it."""
SMALL_NODE = " --num-cpus=1 --object-store-memory=100000000"


def missing() -> str:
    """Why hosts cannot be made here; empty when they can."""
    if os.geteuid() != 0:
        return "needs root, to make hosts in namespaces"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if absent:
        return f"needs {', '.join(absent)}; scripts/system-packages.sh installs them"
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "ip", "link", "add", "type", "veth"]
    probe = subprocess.run(command, check=False, capture_output=True)
    return "" if probe.returncode == 0 else "needs the capabilities SYS_ADMIN and NET_ADMIN"


@dataclass(frozen=True)
class Cluster:
    """A launched cluster, and the laptop from which it was launched."""

    laptop: Host
    hosts: list[Host]
    file: Path
    study: Path
    root: Path

    def grokstudy(self, command: str, *words: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run `grokstudy` on the laptop; commands that talk to the cluster get it named."""
        where: list[Word] = [] if command == "status" else ["--cluster", self.file]
        root: list[Word] = [] if command == "cancel" else ["--root", self.root]
        program: list[Word] = [*ENVIRONMENT, BIN / "grokstudy", command, self.study]
        done = self.laptop.run(*program, *root, *where, *words, timeout=timeout)
        print(f"$ grokstudy {command} {' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
        return done

    def ray(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run `ray` on the laptop."""
        done = self.laptop.run(*ENVIRONMENT, BIN / "ray", *words, timeout=240)
        print(f"$ ray {' '.join(map(str, words))}\n{done.stdout[-1500:]}{done.stderr[-500:]}")
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def nodes(self) -> int:
        """Nodes that Ray knows, by the CPUs they bring."""
        status = self.hosts[0].run(*ENVIRONMENT, "RAY_AUTH_MODE=token", BIN / "ray", "status").stdout
        found = re.search(r"/(\d+)\.0 CPU", status)
        return int(found[1]) if found else 0

    def run_files(self) -> list[dict[str, Any]]:
        """What the root says about each run that has begun, with its newest checkpoint."""
        return [
            {**json.loads(path.read_text()), "checkpoints": len(list((path.parent / "checkpoints").glob("*.pt")))}
            for path in self.root.glob("runs/*/run.json")
        ]


def shipped_config(folder: Path) -> dict[str, Any]:
    """docs/clusters/local.yaml, with what it tells the reader to change, changed; the checkout is shared already."""
    config: dict[str, Any] = yaml.safe_load((REPO / "docs/clusters/local.yaml").read_text())
    config["provider"] |= {"head_ip": "10.77.0.1", "worker_ips": ["10.77.0.2", "10.77.0.3"]}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(folder / "key")}
    assert config["file_mounts"].pop("~/grokstudy") == "."
    install = config["setup_commands"].pop()
    assert install.startswith("cd ~/grokstudy")
    config["setup_commands"] = [line.replace("$HOME/grokstudy/.venv", sys.prefix) for line in config["setup_commands"]]
    for node in ("head", "worker"):
        key = f"{node}_start_ray_commands"
        config[key] = [PATIENCE + line + SMALL_NODE if "ray start" in line else line for line in config[key]]
    return config


def wait_for(what: str, check: Callable[[], bool], seconds: float) -> None:
    """Look again and again until it holds."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.5)


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three hosts with a cluster that `ray up` launched."""
    reason = missing()
    if reason and not os.environ.get("CI"):
        pytest.skip(reason)
    assert not reason, reason
    folder = tmp_path_factory.mktemp("lab")
    with lab(folder, 3) as (laptop, hosts):
        made = Cluster(laptop, hosts, folder / "cluster.yaml", folder / "lab.yaml", folder / "shared")
        made.file.write_text(yaml.safe_dump(shipped_config(folder), width=1000))
        made.study.write_text(STUDY)
        made.study.with_name("parity.py").write_text(TASK)
        laptop.run("bash", "-c", f"umask 077; {BIN}/ray get-auth-token --generate")
        made.ray("up", made.file, "--yes")
        wait_for("three nodes", lambda: made.nodes() == 3, 120)
        yield made


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_study_survives_the_loss_of_a_host_and_the_cluster_goes_without_a_trace(
    cluster: Cluster, tmp_path: Path
) -> None:
    tokens_are_asked_for(cluster)
    submitting_again_attaches(cluster)
    cancelling_leaves_a_resumable_study(cluster)
    assert "submitted" in cluster.grokstudy("submit").stdout
    run_id, seconds = lose_a_host_that_trains(cluster)
    ended = cluster.grokstudy("submit", "--follow", timeout=240)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "is already running" in ended.stdout
    every_step_is_there_once(cluster)
    found = RunDir(Store(cluster.root), run_id)
    load_study(cluster.study)  # and the code that it names, without which a configuration is only text
    config = RunConfig.from_dict((found.read("run.json") or {})["config"])
    unharmed("a host of three loses its power", found, train(config, Store(tmp_path / "whole")), seconds)
    assert "8" in cluster.grokstudy("status").stdout
    take_it_down(cluster)


def tokens_are_asked_for(cluster: Cluster) -> None:
    """No token and a wrong token: one line each, which shows no token."""
    submit: list[Word] = [BIN / "grokstudy", "submit", cluster.study]
    program: list[Word] = [*submit, "--cluster", cluster.file, "--root", cluster.root]
    without = cluster.laptop.run("env", "RAY_AUTH_TOKEN_PATH=/nowhere", *program)
    assert (without.returncode, len(without.stderr.splitlines())) == (2, 1), without.stderr
    assert "wants a token and there is none here" in without.stderr
    wrong = cluster.laptop.run("env", "RAY_AUTH_TOKEN=0123abcd", *program)
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1), wrong.stderr
    assert "does not know this token" in wrong.stderr
    assert "0123abcd" not in wrong.stderr


def submitting_again_attaches(cluster: Cluster) -> None:
    """The second submit finds the first; one with other settings is refused."""
    first, second = cluster.grokstudy("submit"), cluster.grokstudy("submit")
    job_id = first.stdout.split()[0]
    assert re.fullmatch(r"lab-[0-9a-f]{16}", job_id)
    assert first.stdout.startswith(f"{job_id} submitted")
    assert second.stdout.startswith(f"{job_id} is already running")
    other = cluster.grokstudy("submit", "--steps", "5")
    assert other.returncode == 2
    assert "with other settings" in other.stderr


def cancelling_leaves_a_resumable_study(cluster: Cluster) -> None:
    """The driver ends, its workers leave checkpoints, nobody holds the root."""
    wait_for("a run has begun", lambda: bool(cluster.run_files()), 120)
    cancelled = cluster.grokstudy("cancel")
    assert cancelled.returncode == 0, cancelled.stderr
    assert "stopped" in cancelled.stdout
    status = cluster.grokstudy("status").stdout
    assert "being driven" not in status
    assert "interrupted" in status


def lose_a_host_that_trains(cluster: Cluster) -> tuple[str, float]:
    """Kill the last worker once it has left checkpoints of a run that is not done.

    Returns that run, and the seconds until another host had taken it up.
    """
    lost = cluster.hosts[-1]

    def trains() -> list[RunDir]:
        mine = [run for run in cluster.run_files() if run["host"] == lost.name and run["checkpoints"] >= 2]
        runs = [RunDir(Store(cluster.root), run["run_id"]) for run in mine]
        return [run for run in runs if run.read("DONE.json") is None]

    run = until(trains, f"{lost.name} to train", 150)[0]
    before, begun = last_lease(run)["attempt"], time.monotonic()
    lost.kill()
    wait_for(f"{run.run_id} is taken up", lambda: last_lease(run)["attempt"] > before, 150)
    return run.run_id, time.monotonic() - begun


def every_step_is_there_once(cluster: Cluster) -> None:
    """All runs are done, on two hosts or more, and each has each of its steps once."""
    runs = cluster.run_files()
    assert len(runs) == 8
    assert all((cluster.root / f"runs/{run['run_id']}/DONE.json").exists() for run in runs)
    lost = cluster.hosts[-1].name  # it trained; run.json names the host that ended a run
    assert {run["host"] for run in runs} - {lost}
    steps = pl.scan_parquet(cluster.root / "metrics/steps/**/*.parquet", hive_partitioning=True)
    found = steps.group_by("run_id").agg(n=pl.len(), different=pl.col("step").n_unique(), last=pl.col("step").max())
    assert found.select("n", "different", "last").collect().rows() == [(STEPS, STEPS, STEPS - 1)] * 8
    assert steps.select(pl.col("attempt").max()).collect().item() >= 2


def take_it_down(cluster: Cluster) -> None:
    """`ray down` ends the head; as the documents say, the workers are stopped by hand. Then nothing runs any more."""
    cluster.ray("down", cluster.file, "--yes")
    head, worker, _ = cluster.hosts
    stopped = worker.run(BIN / "ray", "stop", timeout=60)
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    for host in (head, worker):
        wait_for(f"nothing runs on {host.name}: {host.processes()}", lambda host=host: not host.processes(), 30)  # type: ignore[misc]
