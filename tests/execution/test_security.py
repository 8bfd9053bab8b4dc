"""Ray as we start it: token, no telemetry, nothing that listens to the outside but Ray's own ports."""

from __future__ import annotations

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
