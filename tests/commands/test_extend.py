"""Extending runs, conditions, changed study files, and failures by cause."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import TWO_RUNS
from typer.testing import CliRunner

from grokstudy.analysis.query import where
from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.console.describe import failures_text
from grokstudy.orchestrator.execution.driver import Cut, Driver, study_state
from grokstudy.orchestrator.planning.cost import Pace
from grokstudy.orchestrator.planning.extensions import extensions_of
from grokstudy.orchestrator.planning.seconds import Seconds
from grokstudy.orchestrator.runs.changes import contradiction
from grokstudy.orchestrator.runs.study_dir import extend, extensions
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.orchestrator.study.load import load_study
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.events import Event
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.pack import Pack


def read(folder: Path, text: str = TWO_RUNS) -> Study:
    path = folder / "s.yaml"
    path.write_text(text)
    return load_study(path)


def execute(store: Store) -> list[int]:
    """What drive needs, without Ray."""
    trained: list[int] = []

    def train(runs: list[Run]) -> None:
        for run in runs:
            pack = Pack([run.config], store)
            while not pack.finished:
                pack.advance(60.0)
            trained.append(pack.step - pack.all_members[0].start)

    execute.__dict__["train"] = train
    return trained


def test_an_extension_goes_on_and_is_remembered(tmp_path: Path, store: Store) -> None:
    study, trained = read(tmp_path), execute(store)
    train = execute.__dict__["train"]
    first = Driver(study, store).train(train)
    extend(store, study.name, [first.runs[0].run_id], 50)
    assert not study_state(study, store).finished()
    Driver(study, store).train(train)
    assert trained == [20, 20, 30]
    after = study_state(study, store)
    assert after.finished()
    assert [run.config.train.steps for run in after.runs] == [50, 20]
    assert records.read(RunDir(store, first.runs[0].run_id), "steps")["step"].to_pylist() == list(range(50))
    extend(store, study.name, [first.runs[0].run_id], 40)
    assert extensions(store, study.name) == {first.runs[0].run_id: 50}, "a run never gets shorter"
    assert study_state(study, store, Cut(steps=10)).runs[0].config.train.steps == 10


def test_more_seeds_or_values_are_not_a_contradiction_but_a_changed_value_is(tmp_path: Path, store: Store) -> None:
    execute(store)
    Driver(read(tmp_path), store).train(execute.__dict__["train"])

    def found(text: str) -> str:
        study = read(tmp_path, text)
        return str(contradiction(store, study, study_state(study, store).trials) or "")

    assert found(TWO_RUNS) == ""
    assert found(TWO_RUNS.replace("[0]", "[0, 1]")) == ""
    assert found(TWO_RUNS.replace("steps: 20", "steps: 40")) == ""
    assert found(TWO_RUNS.replace("it grows", "it grows, or not")) == ""
    text = found(TWO_RUNS.replace("width: 16", "width: 24"))
    assert "-  model: {layers: 1, width: 16, heads: 2}" in text
    assert "+  model: {layers: 1, width: 24, heads: 2}" in text
    assert "no longer asks for 2 runs that were trained" in text
    assert "1 run that was trained" in found(TWO_RUNS.replace("natural, both_hops", "natural"))


def test_plan_names_the_cheapest_extension_and_its_command_works(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = read(tmp_path)
    execute(store)
    train = execute.__dict__["train"]
    Driver(study, store).train(train)
    words = [str(study.path), "--root", store.uri]
    plan = json.loads(CliRunner().invoke(app, ["plan", *words, "--json"]).stdout)
    found = {extension["event"]: extension for extension in plan["extensions"]}
    assert set(found) == {"memorised", "generalised"}
    cheapest = found["generalised"]
    counts = [cheapest[name] for name in ("censored", "runs", "followed_to", "to", "run_steps")]
    assert counts == [2, 2, 20, 40, 40]
    assert cheapest["seconds"] > 0
    module = sys.modules["grokstudy.orchestrator.commands.extend"]  # the package's attribute is the command
    monkeypatch.setattr(module, "run", lambda *_, **__: Driver(study, store).train(train))
    done = CliRunner().invoke(app, shlex.split(cheapest["command"])[1:])
    assert done.exit_code == 0, done.output
    assert [run.config.train.steps for run in study_state(study, store).runs] == [40, 40]
    told = CliRunner().invoke(app, ["plan", *words]).stdout
    assert "generalised: not in 2 of 2 runs by step 40\n    the nearest ended at 0." in told
    assert f"grokstudy extend {study.path} --root {store.uri} --until-event generalised --max-steps 80" in told


def test_extensions_are_ordered_by_cost_and_leave_out_what_cannot_go_on(small: Callable[..., RunConfig]) -> None:
    configs = {
        "a": small(), "b": small(seed=1), "c": small(seed=2, optim={"schedule": "cosine"}), "d": small(seed=3)
    }  # fmt: skip

    def row(run_id: str, event: str, state: str, horizon: int, last: float | None) -> dict[str, object]:
        return {"run_id": run_id, "event": event, "state": state, "trial_horizon": horizon, "last": last}

    rows = [
        row("a", "late", "censored", 60, 0.4), row("b", "late", "censored", 100, None),
        row("c", "late", "censored", 60, 0.1), row("d", "late", "observed", 60, 0.9),
        row("a", "low", "censored", 60, 0.7), row("b", "low", "observed", 60, 0.2),
        row("c", "fixed", "censored", 60, 0.1), row("d", "came", "observed", 60, 0.9),
        row("d", "unmeasured", "no_data", 60, None),
    ]  # fmt: skip
    up = Event(metric="loss", split=("test_oo",), at_least=0.5)
    down = Event(metric="loss", split=("test_oo",), at_most=0.5)
    events = {"late": up, "low": down, "fixed": up, "came": up, "unmeasured": up}
    pace = Pace(lambda config, _: Seconds(1 / (2.0 + config.seed)), lambda _: Seconds(0.0), lambda _: 0)
    found = extensions_of(rows, events, configs, ["s.yaml"], pace, workers=2)
    assert [extension.event for extension in found] == ["low", "late", "fixed"]
    low, late, fixed = found
    assert (late.censored, late.runs, late.fixed, late.followed_to, late.to) == (3, 4, 1, 100, 200)
    assert (late.run_steps, late.seconds) == (140 + 100, 140 / 2)
    assert (late.nearest, low.nearest, low.run_steps, low.seconds) == (0.4, 0.7, 60, 30.0)
    assert low.command == "grokstudy extend s.yaml --until-event low --max-steps 120"
    assert (fixed.run_steps, "grokstudy" in str(fixed)) == (0, False)
    assert "1 cannot be extended: their learning rate depends on the length" in str(fixed)


def test_failures_are_listed_by_cause(tmp_path: Path, store: Store) -> None:
    study = read(tmp_path, TWO_RUNS.replace("[0]", "[0, 1]"))
    for number, run in enumerate(study_state(study, store).runs):
        kind = "ValueError" if number == 3 else "RuntimeError"
        error = {"error": f"{kind}: at step {number}", "traceback": f"file.py, line 3\n{kind}: at step {number}"}
        RunDir(store, run.run_id).write("FAILED.json", {**error, "step": number, "attempt": 3})
    text = failures_text(study_state(study, store).ledger)
    assert text.startswith("4 runs failed; retry with --retry-failed\n3 x RuntimeError: at step 0\n")
    assert text.count("file.py, line 3") == 2


def test_failed_runs_wait_until_they_are_asked_for(tmp_path: Path, store: Store) -> None:
    study, trained = read(tmp_path), execute(store)
    train = execute.__dict__["train"]
    failed = RunDir(store, study_state(study, store).runs[0].run_id)
    failed.write("FAILED.json", {"error": "E: x", "traceback": "E: x", "step": 0, "attempt": 3})
    state = Driver(study, store).train(train)
    assert (len(trained), state.ledger.counts()) == (1, {"failed": 1, "done": 1})
    words = [str(study.path), "--root", store.uri]
    said = CliRunner().invoke(app, ["status", *words, "--failed"])
    assert said.stdout.startswith("1 run failed; retry with --retry-failed\n1 x E: x")
    assert "regime" not in said.stdout
    state = Driver(study, store).train(train, retry_failed=True)
    assert (len(trained), state.ledger.counts()) == (2, {"done": 2})
    assert CliRunner().invoke(app, ["status", *words, "--failed"]).stdout == "s: no failed runs\n"


ROW = {"state": "censored", "data.phi": 3.6, "seed": 2, "event": "circuit", "time": None}
FRAME = pl.DataFrame([ROW], schema_overrides={"time": pl.Float64})


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("state = 'censored'", True),
        ("state <> 'censored'", False),
        ("data.phi > 3 AND seed IN (1, 2)", True),
        ("\"data.phi\" > 3 and 'data.phi' = 'data.phi'", True),
        ("data.phi BETWEEN 2 AND 3", False),
        ("NOT (seed = 2)", False),
        ("time > 100", False),
        ("time IS NULL", True),
        ("seed = -2 OR event IN ('circuit', 'memorised')", True),
        ("TRUE", True),
    ],
)
def test_a_condition_picks_rows(text: str, holds: bool) -> None:
    assert where(FRAME, text).height == holds


@pytest.mark.parametrize(
    "text",
    ["__import__('os').system('x')", "state.__class__", "[x for x in y]", "lambda: 1", "state = ", "f'{state}'",
     "seed + 1", "open('x')", "state[0]", "stat = 'x'", "seed IN (SELECT 1)", "event == \"circuit\"", "(" * 90 + "1",
     "seed = 2; DROP TABLE trials", "", "TRUE" + " OR TRUE" * 200],
)  # fmt: skip
def test_a_condition_of_a_stranger_runs_nothing(text: str) -> None:
    with pytest.raises(ValueError, match="is not a condition"):
        where(FRAME, text)


def test_a_condition_in_python_is_answered_with_the_form_of_sql() -> None:
    with pytest.raises(ValueError, match="is not a condition") as caught:
        where(FRAME, 'state == "censored" and time == None')
    message = str(caught.value)
    assert "= not ==" in message
    assert "event = 'circuit' AND state = 'censored'" in message
    assert '"data.phi"' in message.splitlines()[-1]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="abst e=<>!'\"()[]0129.,ndornotiu-+*", max_size=40))
def test_any_text_is_a_condition_or_an_error(text: str) -> None:
    try:
        rows = where(FRAME, text)
    except ValueError:
        return
    assert rows.height in (0, 1)
