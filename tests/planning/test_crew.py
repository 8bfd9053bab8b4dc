"""Processes that measure at the same time as this one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from grokstudy.orchestrator.planning.crew import Crew


def refuse_elsewhere(here: int) -> int:
    """What only one process can measure."""
    if os.getpid() != here:
        os._exit(1)
    return here


def test_every_worker_measures_in_a_process_of_its_own() -> None:
    with Crew(3) as crew:
        assert crew.start_s == 0
        first, start_s = crew(os.getpid), crew.start_s
        again = crew(os.getpid)
        assert crew.start_s == start_s > 0
    assert first[0] == os.getpid()
    assert len({*first}) == 3
    assert {*first} == {*again}, "they are started once"
    for pid in first[1:]:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_where_another_process_fails_this_one_measures_alone(capfd: pytest.CaptureFixture[str]) -> None:
    with Crew(2) as crew:
        assert crew(refuse_elsewhere, os.getpid()) == [os.getpid()]
        assert crew(os.getpid) == [os.getpid()]
    with Crew(2) as crew, pytest.raises(ValueError, match="invalid literal"):
        crew(int, "none")
    with Crew(2) as crew:
        assert len({*crew(os.getpid)}) == 2
    with Crew(1) as crew:
        assert crew(os.getpid) == [os.getpid()]
        assert crew.start_s == 0, "it trains in this process, which is there"
    assert capfd.readouterr().err == ""


def test_what_libraries_make_in_a_process_is_put_away() -> None:
    """Inductor makes a semaphore where steps are compiled; Python names those that are left, as it ends."""
    lock = "import multiprocessing; kept = multiprocessing.Lock()"
    script = f"""\
from grokstudy.orchestrator.planning.crew import Crew
with Crew(2) as crew:
    crew(exec, {lock!r}, {{}})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
