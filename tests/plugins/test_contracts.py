"""`grokstudy check`: what is sound passes, each broken promise is named, and ours keep what is asked of others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from own_code import FIGURE, PROBE, SEARCHER, TASK, put
from typer.testing import CliRunner

from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.search import SEARCHERS, outside
from grokstudy.trainables import measurements, tasks
from grokstudy.trainables.tasks import outside as of_tasks

BUILD = "        return dataclasses.replace(data, train=dataclasses.replace(data.train, answer=answer))"
ROWS = '    yield from scene.rows("logit_norm", None, norm_MS, scene.queries.real_MS)'

BROKEN: dict[str, tuple[str, str, str]] = {
    "another build each time": (
        "parity.py:Parity",
        TASK.replace(BUILD, f"        BUILT.append(1)\n        answer[0] = len(BUILT)\n{BUILD}\n\n\nBUILT = []"),
        "the same seed gives the same data: two builds of seed 0 differ",
    ),
    "the seed is not used": (
        "parity.py:Parity",
        TASK.replace("TwoHop.build(options, seed,", "TwoHop.build(options, 7,"),
        "another seed gives other data: seeds 0 and 1 give the same",
    ),
    "answers that do not exist": (
        "parity.py:Parity",
        TASK.replace(BUILD, f"        answer[0] = data.entities\n{BUILD}"),
        "train has the shape that it declares: answers are 0 to",
    ),
    "other splits than declared": (
        "parity.py:Parity",
        TASK.replace("    Options = Options", '    Options = Options\n    splits = {"train_ii": "x", "test_oo": "y"}'),
        "build gives splits that are declared: atomic_id",
    ),
    "impossible defaults": (
        "parity.py:Parity",
        TASK.replace("    noise:", '    phi: float = option(50.0, "too many", gt=0)\n    noise:'),
        "its default options are possible: data.phi: 50 is above its maximum",
    ),
    "an error in build": (
        "parity.py:Parity",
        TASK.replace(BUILD, "        return data.nothing"),
        "in build\n    return data.nothing",
    ),
    "what build gives is no data": (
        "parity.py:Parity",
        TASK.replace(BUILD, "        return 3"),
        "it runs: AttributeError",
    ),
    "undeclared measurement": (
        "my_probe.py:probe",
        PROBE.replace('@measures("logit_norm"', '@measures("norm_of_logits"'),
        "logit_norm as a summary is not in @measures",
    ),
    "declared and not measured": (
        "my_probe.py:probe",
        PROBE.replace('@measures("logit_norm"', '@measures("logit_norm", "other"'),
        "it measures what it says, where it says: other did not come",
    ),
    "no measurement": ("my_probe.py:probe", PROBE.replace(ROWS, "    yield 3"), "int is none"),
    "nothing": ("my_probe.py:probe", PROBE.replace(ROWS, "    yield from ()"), "none came"),
    "weights changed": (
        "my_probe.py:probe",
        PROBE.replace(ROWS, f"    next(iter(scene.weights.values())).add_(1)\n{ROWS}"),
        "it leaves the weights as they are",
    ),
    "noise": (
        "my_probe.py:probe",
        PROBE.replace(ROWS, f"    norm_MS = norm_MS * norm_MS.clone().uniform_()\n{ROWS}"),
        "it measures the same again: the values differ",
    ),
    "mean over the pack": (
        "my_probe.py:probe",
        PROBE.replace(ROWS, f"    norm_MS = norm_MS.mean(0, keepdim=True).expand_as(norm_MS)\n{ROWS}"),
        "a member of a pack measures what it does alone: the values differ",
    ),
    "division by nothing": (
        "my_probe.py:probe",
        PROBE.replace("    yield from", "    from dataclasses import replace\n\n    yield from (")
        .replace("scene.queries.real_MS)", "scene.queries.real_MS))")
        .replace("from (", "from (replace(m, value_M=m.value_M / 0) for m in"),
        "a number that is not defined is NaN: logit_norm is infinite",
    ),
    "too few points": (
        "mine.py:Corners",
        SEARCHER.replace("min(options.most, len(corners(axes)))", "3"),
        "numbers count up from 0, as many as it says: [0, 1] where there should be 3",
    ),
    "points outside the space": (
        "mine.py:Corners",
        SEARCHER.replace(
            "return corners(self.axes)[: self.options.most]",
            'return [(n, {**p, "optim.lr": 9.0}) for n, p in corners(self.axes)[: self.options.most]]',
        ),
        "points lie in the space",
    ),
    "an axis is forgotten": (
        "mine.py:Corners",
        SEARCHER.replace(
            "return corners(self.axes)[: self.options.most]",
            'return [(n, {"optim.lr": 1e-3}) for n, _ in corners(self.axes)[: self.options.most]]',
        ),
        "points have a value for every axis",
    ),
    "a searcher that remembers": (
        "mine.py:Corners",
        SEARCHER.replace(
            "return corners(self.axes)[: self.options.most]",
            "SEEN.append(1)\n        return corners(self.axes)[:: 1 if len(SEEN) % 2 else -1][: self.options.most]",
        )
        + "\n\nSEEN = []\n",
        "a new driver gets the same points for the same values: they differ",
    ),
}


def checked(place: Path | str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["check", str(place)])
    return done.exit_code, done.output


@pytest.mark.parametrize("place", ["parity.py:Parity", "my_probe.py:probe", "mine.py:Corners", "fig.py:figure"])
def test_what_is_sound_passes(place: str, tmp_path: Path) -> None:
    code, told = checked(put(tmp_path).parent / place)
    assert code == 0, told
    assert "BROKEN" not in told
    assert FIGURE


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_named(name: str, tmp_path: Path) -> None:
    place, text, message = BROKEN[name]
    code, told = checked(put(tmp_path, **{place.split(".")[0]: text}).parent / place)
    assert code == 1, told
    assert message in told, told


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("parity.py", "names a file and nothing in it; write ./parity.py:Name"),
        ("nothing.py:Parity", "there is no file"),
        ("two_hop", "names no file; write ./parity.py:Parity"),
        ("my_probe.py:nothing", "./my_probe.py has no 'nothing'; it defines probe"),
        ("mine.py:CornersOptions", "is no task: it is no subclass of Task"),
    ],
)
def test_what_is_none_is_told(place: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(put(tmp_path).parent)
    code, told = checked(place)
    assert code == 2
    assert message in told


def test_a_written_task_is_sound_and_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "my_parity.py"
    written = CliRunner().invoke(app, ["new", "--task", str(path)])
    assert written.exit_code == 0, written.output
    assert f"grokstudy check {path}:MyParity" in written.output
    assert len(path.read_text().splitlines()) <= 60
    assert checked(f"{path}:MyParity")[0] == 0
    again = CliRunner().invoke(app, ["new", "--task", str(path)])
    assert (again.exit_code, "is there already" in again.output) == (2, True)
    for name in ("my-parity.py", "parity", "_.py"):
        refused = CliRunner().invoke(app, ["new", "--task", str(tmp_path / name)])
        assert (refused.exit_code, "no name for its file" in refused.output) == (2, True), refused.output


def faults(found: Iterator[tuple[str, str | None]]) -> list[Any]:
    return [(promise, fault) for promise, fault in found if fault is not None]


@pytest.mark.parametrize("name", ["two_hop", "two_hop_transfer"])
def test_our_tasks_keep_what_is_asked_of_others(name: str) -> None:
    task = tasks.TASKS[name]
    assert of_tasks.fault(task) is None
    if name == "two_hop":
        assert faults(of_tasks.contract(task)) == []


@pytest.mark.parametrize("name", SEARCHERS)
def test_our_searchers_keep_what_is_asked_of_others(name: str) -> None:
    assert outside.fault(SEARCHERS[name]) is None
    assert faults(outside.contract(SEARCHERS[name])) == []


@pytest.mark.parametrize("name", measurements.MEASURED)
def test_our_probes_keep_what_is_asked_of_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from grokstudy.trainables.probes.outside import contract

    probe = measurements.PROBES[name]
    said = measurements.MEASURED[name]._replace(of_graph=name in measurements.NEEDS)
    monkeypatch.setattr(probe, "measured", said, raising=False)
    assert faults(contract(probe)) == []
