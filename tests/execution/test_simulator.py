"""Policies replayed on curves that were made by hand: what is found, what is killed, and the same again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from synthetic import build_grid, build_tracked
from worlds import GRID, HORIZON, Run, on_headline

from grokstudy.analysis.figures.policies import policies
from grokstudy.orchestrator.commands.simulate import simulate as command
from grokstudy.orchestrator.execution.simulator import (
    Outcome,
    Policy,
    Recorded,
    killed_late,
    late_warning,
    simulate,
)
from grokstudy.orchestrator.schedulers import SCHEDULERS
from grokstudy.orchestrator.search import SEARCHERS
from grokstudy.orchestrator.study.load import load_study
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.storage.store import Store

TEXT = """
hypothesis: the more phi, the sooner
base: {train: {steps: 10000}}
space: {data.phi: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], optim.weight_decay: {log: [0.01, 1.0], points: 5}}
seeds: [0, 1]
events: {generalised: {metric: accuracy, split: test_oo, at_least: 0.5, for: 1}}
"""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    path = tmp_path / "world.yaml"
    path.write_text(TEXT)
    return load_study(path)


@pytest.fixture
def recorded(study: Study) -> list[Recorded]:
    """Runs of phi >= 3 generalise, the later the less phi; the others never do, and have heavier weights."""
    made = []
    for number, (_, point) in enumerate(SEARCHERS["grid"](study.axes, None).preview()):
        for seed in study.seeds:
            phi = float(point["data.phi"] or 0)
            at = 12_000 / phi if phi >= 3 else float("inf")
            run = Run(f"{number}-{seed}", at, 20.0 if phi >= 3 else 60.0 + seed, 1.0, 0.05 + 0.001 * phi)
            curve = [(step, run.metrics(step)) for step in GRID]
            reached = {"generalised": at} if at <= HORIZON else {}
            made.append(Recorded(run.name, point, seed, HORIZON, curve, reached, 100.0))
    return made


def policy(search: str = "grid", scheduler: str = "fifo", **options: Any) -> Policy:
    return Policy(
        (search, SEARCHERS[search].Options(**options)), (scheduler, on_headline(SCHEDULERS[scheduler].Options()))
    )


def play(study: Study, recorded: list[Recorded], tried: Policy, seed: int = 0) -> Outcome:
    return simulate(study, recorded, tried, "generalised", seed, workers=4)


def test_the_whole_grid_finds_everything_and_spends_everything(study: Study, recorded: list[Recorded]) -> None:
    outcome = play(study, recorded, policy())
    assert (outcome.runs, outcome.run_steps) == (60, 60 * HORIZON)
    assert (outcome.found, outcome.killed, outcome.untried) == (40, 0, 0)
    assert outcome.boundary_error == 0.0
    assert outcome.seconds == pytest.approx(60 * 100.0)


@pytest.mark.parametrize("kind", [name for name in SCHEDULERS if name != "fifo"])
def test_what_is_killed_was_not_found_and_costs_less(study: Study, recorded: list[Recorded], kind: str) -> None:
    outcome = play(study, recorded, policy(scheduler=kind))
    assert outcome.found + outcome.killed == 40
    assert outcome.run_steps <= 60 * HORIZON


def test_futility_kills_no_late_generaliser_where_asha_kills_many(study: Study, recorded: list[Recorded]) -> None:
    killed = {
        kind: killed_late(recorded, "generalised", on_headline(SCHEDULERS[kind].Options()), kind)
        for kind in ("asha", "hyperband", "median")
    }
    assert {late for _, late in killed.values()} == {40}
    assert killed["asha"][0] >= 10
    assert play(study, recorded, policy(scheduler="futility")).killed == 0


@pytest.mark.parametrize("kind", SEARCHERS)
def test_a_simulation_is_repeatable_and_trains_no_run_twice(study: Study, recorded: list[Recorded], kind: str) -> None:
    options: dict[str, Any] = {} if kind == "grid" else {"trials": 8}
    if kind == "nsga2":
        options["objectives"] = ("generalised",)
    first, again = (play(study, recorded, policy(kind, **options), seed=3) for _ in range(2))
    assert first == again
    assert first.runs <= len(recorded)
    assert first.found + first.killed + first.untried == 40


def test_another_seed_is_another_search(study: Study, recorded: list[Recorded]) -> None:
    found = {play(study, recorded, policy("random", trials=5), seed).boundary_error for seed in range(6)}
    assert len(found) > 1


def test_a_rule_that_ranks_is_warned_of_what_it_would_have_killed(tmp_path: Path) -> None:
    build_tracked(tmp_path / "root", seeds=4)
    store = Store(tmp_path / "root")
    for kind, share in (
        ("asha", "of the 8 late generalisers"),
        ("median", "of the 8"),
        ("futility", None),
        ("fifo", None),
    ):
        path = tmp_path / "next.yaml"
        options = ", grace_steps: 200" if kind in ("asha", "median") else ""
        path.write_text(f"{TEXT}scheduler: {{kind: {kind}{options}}}\n")
        said = late_warning(load_study(path), store)
        assert (said is None) if share is None else (share in (said or ""))
    assert late_warning(load_study(path), Store(tmp_path / "empty")) is None


def test_the_command_replays_what_a_root_has_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_grid(tmp_path / "root", name="grid")
    path = tmp_path / "grid.yaml"
    depths = "depth: {shared: {model.layers: 2}, untied: {model.layers: 4}}"
    space = f"space: {{data.phi: [1.8, 3.6, 7.2], optim.weight_decay: [0.03, 0.3], {depths}}}"
    event = "events: {generalised: {metric: accuracy, split: test_oo, at_least: 0.5, for: 3}}"
    path.write_text(f"hypothesis: x\n{space}\nseeds: [0, 1]\n{event}\n")
    rules, searches = ["fifo", "asha, grace_steps: 300"], ["grid", "boundary, trials: 3, batch: 1"]
    command(
        path,
        root=str(tmp_path / "root"),
        scheduler=rules,
        search=searches,
        seeds=2,
        figure=tmp_path / "p.svg",
        as_json=True,
    )
    rows = {row["policy"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["grid + fifo"]["run_steps"] == 24 * 3000
    assert rows["grid + fifo"]["found"] == rows["grid + asha"]["found"] + rows["grid + asha"]["killed"]
    assert rows["boundary + fifo"]["runs"] == 6
    drawn = (tmp_path / "p.svg").read_text()
    assert all(f"{number} {policy}" in drawn for number, policy in enumerate(rows, 1))


def test_policies_are_drawn_at_their_shares() -> None:
    ends = {"spent_low": 0.2, "spent_high": 0.4, "found_low": 0.0, "found_high": 1.0}
    data = policies([{"policy": "grid + asha", "spent": 0.3, "found": 0.5, **ends}], "generalised").data
    assert data.to_dicts() == [{"name": "1 grid + asha", "policy": "grid + asha", "spent": 0.3, "found": 0.5, **ends}]


def test_the_command_says_what_is_missing(tmp_path: Path, study: Study) -> None:
    words = [sys.executable, "-m", "grokstudy", "simulate", str(study.path), "--root", str(tmp_path)]
    here = Path(__file__).resolve().parents[2]
    done = subprocess.run([*words, "--scheduler", "ashaa"], capture_output=True, text=True, cwd=here, check=False)
    assert done.returncode == 2
    assert "ashaa: is unknown; known: fifo, asha" in done.stderr


def test_thirty_policies_have_thirty_marks() -> None:
    ends = {"spent_low": 0.2, "spent_high": 0.4, "found_low": 0.4, "found_high": 0.6}
    rows = [{"policy": str(number), "spent": 0.3, "found": 0.5, **ends} for number in range(30)]
    marks = policies(rows, "generalised").chart.to_dict()["layer"][-1]["encoding"]
    colours, shapes = (marks[channel]["scale"]["range"] for channel in ("color", "shape"))
    assert len({*zip(colours, shapes, strict=True)}) == 30
