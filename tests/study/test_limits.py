"""Every number of a study file has a bound or a predicted cost, told with its place before anything is allocated."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from grokstudy.orchestrator.study.errors import StudyError
from grokstudy.orchestrator.study.fields import config_fields
from grokstudy.orchestrator.study.load import load_study

WHOLE = sorted(name for name, field in config_fields("two_hop").items() if field.is_integer)
HARMLESS = {"eval.max_examples", "eval.probe_examples", "eval.generated", "optim.warmup", "data.exposure_k",
            "eval.every", "train.checkpoint_every", "model.inner_multiple"}  # fmt: skip
"""Numbers that only ask for what there is, or for less."""
MIXER = {"model.cycles", "model.thinks", "model.slots"}


PLAN = """
import atexit, sys
from pathlib import Path
from grokstudy.orchestrator.cli import main
atexit.register(lambda: print(Path("/proc/self/status").read_text(), file=sys.stderr))
main()
"""
"""`grokstudy`, which tells its own peak of memory: that of a child in `getrusage` begins with its parent's."""


def write(path: Path, name: str, value: int) -> Path:
    section, _, option = name.partition(".")
    family = "family: mixer, " if name in MIXER else ""
    path.write_text(f"base:\n  {section}: {{{family}{option}: {value}}}\n")
    return path


@pytest.mark.parametrize("name", [name for name in WHOLE if name not in HARMLESS])
def test_a_number_beyond_all_measure_is_refused_at_its_place(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "s.yaml", name, 10**15)
    with pytest.raises(StudyError, match=rf"s\.yaml:2:\d+: base\.{name.replace('.', '[.]')}: "):
        load_study(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "base",
    ["data: {entities: 10000000}", "model: {width: 8192, layers: 8}", "eval: {every: 1}, train: {steps: 1000000}",
     "eval: {max_examples: 1000000000000, probe_examples: 1000000000000}"],
)  # fmt: skip
def test_plan_answers_within_ten_seconds_and_a_gibibyte(tmp_path: Path, base: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"base: {{{base}}}\n")
    words = [sys.executable, "-c", PLAN, "plan", str(path), "--root", str(tmp_path / "root")]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 10
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", done.stderr)
    assert int(peak) < 2**20
