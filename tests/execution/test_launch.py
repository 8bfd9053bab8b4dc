"""What a launch was foretold to take, against what it took: kept by `run`, told by the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_runs import TWO_RUNS
from synthetic import build_tracked
from typer.testing import CliRunner, Result

from grokstudy.analysis.report.methods import methods
from grokstudy.analysis.tables.study import load
from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.execution import executor
from grokstudy.orchestrator.planning import forecast
from grokstudy.orchestrator.planning.crew import Crew
from grokstudy.orchestrator.root.archive import export, receive
from grokstudy.orchestrator.root.verify import verify
from grokstudy.orchestrator.runs.study_dir import begin_launch, end_launch
from grokstudy.orchestrator.study.load import load_study
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import StudyDir

PRICED = f"{TWO_RUNS}resources: {{price: 36.0, pack: 1}}\n"


def launches(root: str | Path, study: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (Store(root).read_json(f"studies/{study}/launches.json") or {})["launches"]
    return listed


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A command on a study of two runs, each of which is measured to take 20 x 1 s and 3 x 10 s on this machine."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(forecast, "step_seconds", lambda *_: (0.5, 1.5))
    monkeypatch.setattr(forecast, "evaluation_seconds", lambda *_: (8.0, 12.0))
    monkeypatch.setattr(forecast, "opening_seconds", lambda *_: (0.0, 0.0))
    (tmp_path / "two.yaml").write_text(PRICED)

    def ask(command: str, *words: str) -> Result:
        local = ("--local", "--no-report") if command == "run" else ()
        place = ("--root", str(tmp_path / "root"), "--workers", "1")
        return CliRunner().invoke(app, [command, str(tmp_path / "two.yaml"), *place, *local, *words])

    return ask


def test_the_plan_has_an_interval_of_time_and_of_cost(asked: Any) -> None:
    plan = json.loads(asked("plan", "--json").stdout)
    assert [plan[key] for key in ("seconds", "seconds_low", "seconds_high")] == [100.0, 68.0, 132.0]
    assert [plan[key] for key in ("cost", "cost_low", "cost_high")] == pytest.approx([1.0, 0.68, 1.32])
    told = asked("plan").stdout
    assert "about 1m40s (1m08s to 2m12s) on 1 worker of this machine" in told
    assert "1.00 (0.68 to 1.32), 0.0 hours of workers at 36" in told


def test_the_start_of_the_workers_is_counted_once(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(Crew):
        def __call__(self, *of: Any) -> Any:
            found, self.start_s = super().__call__(*of), 7.0
            return found

    monkeypatch.setattr(forecast, "Crew", Late)
    plan = json.loads(asked("plan", "--json").stdout)
    assert [plan[key] for key in ("seconds", "seconds_low", "seconds_high")] == [107.0, 75.0, 139.0]


def test_the_opening_of_each_run_is_counted(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "opening_seconds", lambda *_: (2.0, 4.0))
    plan = json.loads(asked("plan", "--json").stdout)
    assert [plan[key] for key in ("seconds", "seconds_low", "seconds_high")] == [106.0, 72.0, 140.0]


@pytest.mark.slow
def test_a_launch_that_is_cut_short_and_one_that_ends_are_kept(
    asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    monkeypatch.setattr(executor, "LONG_S", 0.0)
    assert asked("run", "--max-hours", "0").exit_code == 3
    (cut,) = launches(root, "two")
    assert cut["ended"]["cut_short"] is True
    assert cut["ended"]["run_steps"] == 0
    done = asked("run")
    assert done.exit_code == 0, done.output
    assert "foretold to take 1m40s (1m08s to 2m12s)" in done.stdout
    first, second = launches(root, "two")
    assert first == cut
    assert (second["executor"], second["workers"]) == ("local", 1)
    assert second["foretold"] == {"seconds": 100.0, "seconds_low": 68.0, "seconds_high": 132.0, "run_steps": 40}
    assert second["ended"]["run_steps"] == 40
    assert second["ended"]["cut_short"] is False
    assert 0 < second["ended"]["seconds"] < 100
    assert verify(Store(root)) == []
    told = methods(Store(root), load(root, "two"), {})
    assert "foretold 1.7 min (1.1 to 2.2), took " in told
    assert "1 launch cut short" in told
    export(Store(root), "two", tmp_path / "two.tar")
    receive(Store(tmp_path / "there"), tmp_path / "two.tar")
    assert launches(tmp_path / "there", "two") == launches(root, "two")


@pytest.mark.slow
def test_why_nothing_is_foretold_is_said_and_all_is_trained(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> tuple[float, ...]:
        raise ValueError("no [such] probe\nhere")

    monkeypatch.setattr(executor, "LONG_S", 0.0)
    monkeypatch.setattr(forecast, "step_seconds", fail)
    done = asked("run")
    assert done.exit_code == 0, done.output
    assert "nothing is foretold: no [such] probe" in done.stdout
    assert "2/2 runs done" in done.stdout or "all 2 runs are settled" in done.stdout


@pytest.mark.slow
def test_nothing_is_measured_or_kept_of_a_moments_work(
    asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "step_seconds", lambda *_: pytest.fail("measured"))
    done = asked("run")
    assert done.exit_code == 0, done.output
    assert "foretold" not in done.output
    assert not (tmp_path / "root/studies/two/launches.json").exists()


def test_workers_that_are_not_of_this_machine_are_not_foretold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "two.yaml").write_text(TWO_RUNS)
    (tmp_path / "gpu.yaml").write_text(f"{TWO_RUNS}resources: {{gpu: 1}}\n")
    study, with_gpu = load_study(tmp_path / "two.yaml"), load_study(tmp_path / "gpu.yaml")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert executor.Executor("local", 5).workers_here(study) == 5
    assert (executor.Executor("ray", 0).workers_here(study) or 0) >= 1
    assert executor.Executor("ray", 0).workers_here(with_gpu) is None
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert executor.Executor("ray", 0).workers_here(study) is None


def test_the_report_sums_launches_that_ended(tmp_path: Path) -> None:
    store = Store(build_tracked(tmp_path))

    def told() -> str:
        return methods(store, load(tmp_path, "regimes"), {})

    assert "foretold" not in told(), "roots of before have no launches"
    begin_launch(store, "regimes", "ray", 2, (600.0, 540.0, 720.0), 1000)
    assert "; 1 launch cut short" in told(), "its driver was killed"
    assert "foretold" not in told()
    began = begin_launch(store, "regimes", "ray", 2, (600.0, 540.0, 720.0), 1000)
    end_launch(store, "regimes", began, 660.0, 1000, False)
    assert "; foretold 10.0 min (9.0 to 12.0), took 11.0 min, 1 launch cut short" in told()
    began = begin_launch(store, "regimes", "local", 2, (7200.0, None, None), 3000)
    end_launch(store, "regimes", began, 5220.0, 2000, False)
    assert "foretold 2.2 h, took 1.6 h for 75% of the run-steps, 1 launch cut short" in told()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"launches": 3}', b'{"launches": [3]}', b'{"launches": [{}]}'])
def test_a_list_that_is_torn_or_foreign_stops_nobody(tmp_path: Path, content: bytes) -> None:
    store = Store(build_tracked(tmp_path))
    store.write(StudyDir(store, "regimes").launches, content)
    assert "foretold" not in methods(store, load(tmp_path, "regimes"), {})
    began = begin_launch(store, "regimes", "local", 1, (60.0, None, None), 10)
    end_launch(store, "regimes", began, 61.0, 10, False)
    assert launches(tmp_path, "regimes")[-1]["ended"] == {"seconds": 61.0, "run_steps": 10, "cut_short": False}
