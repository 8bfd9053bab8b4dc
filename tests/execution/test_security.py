"""Ray as we start it: token, no telemetry, nothing that listens to the outside but Ray's own ports."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

INSIDE = """
import os, subprocess, sys
from grokstudy.orchestrator.execution.tuner import ray_session, set_environment
set_environment()
import ray
join = "import ray, sys; ray.init(address=sys.argv[1], logging_level='ERROR', log_to_driver=False); print('joined')"
def knock(token):
    environment = {**os.environ, "RAY_AUTH_TOKEN": token}
    words = [sys.executable, "-c", join, ray.get_runtime_context().gcs_address]
    try:
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired as late:
        return late
with ray_session():
    right = knock(os.environ["RAY_AUTH_TOKEN"])
    wrong = knock("0" * 64)
    print("right:", (right.stdout or "").strip())
    print("wrong:", "joined" in str(wrong.stdout))
    print("dashboard:", ray._private.worker._global_node.webui_url or "none")
"""


def test_environment_asks_for_a_token_and_no_telemetry() -> None:
    code = (
        "import os\nfrom grokstudy.orchestrator.execution.tuner import set_environment\nset_environment()\n"
        "print(os.environ['RAY_AUTH_MODE'], len(os.environ['RAY_AUTH_TOKEN']), os.environ['RAY_USAGE_STATS_ENABLED'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PATH": ""})
    assert done.stdout.split() == ["token", "64", "0"]


@pytest.mark.slow
def test_who_does_not_have_the_token_cannot_join() -> None:
    done = subprocess.run([sys.executable, "-c", INSIDE], capture_output=True, text=True, check=False, timeout=280)
    assert "right: joined" in done.stdout, done.stdout + done.stderr
    assert "wrong: False" in done.stdout
    assert "dashboard: none" in done.stdout or "dashboard: 127.0.0.1" in done.stdout


LISTENERS = """
import urllib.request
from grokstudy.orchestrator.execution.tuner import ray_session, set_environment
set_environment()
import ray
import psutil  # Ray brings it
with ray_session():
    ray.get(ray.remote(lambda: 1).remote())  # a worker is there
    node = ray._private.worker._global_node
    print("started", *sorted(node.all_processes))
    own = [psutil.Process(info.process.pid) for infos in node.all_processes.values() for info in infos]
    own += [child for process in own for child in process.children(recursive=True)] + [psutil.Process()]
    for process in {process.pid: process for process in own}.values():
        for one in process.net_connections("inet"):
            if one.status == psutil.CONN_LISTEN:
                try:
                    url = f"http://127.0.0.1:{one.laddr.port}/"
                    answers = [urllib.request.urlopen(url + path, timeout=3).status for path in ("", "metrics")]
                except (OSError, ValueError) as error:
                    answers = [getattr(error, "code", "none")]
                except Exception as error:  # no HTTP is spoken there
                    answers = ["none"]
                print("listens", one.laddr.ip, one.laddr.port, *answers)
"""


@pytest.mark.slow
def test_a_run_on_one_machine_listens_on_loopback_alone_and_answers_nobody() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", LISTENERS], capture_output=True, text=True, check=False, timeout=120, env=environment
    )
    rows = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("listens")]
    assert "started gcs_server raylet\n" in done.stdout, "no more than it takes"
    assert len(rows) >= 4, done.stdout + done.stderr
    assert {ip for ip, *_ in rows} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert not [row for row in rows if "200" in row], rows
