"""Text of strangers, in labels, studies and markers, reaches a terminal and a page without its control characters."""

from __future__ import annotations

import ast
import csv
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from grokstudy.orchestrator import commands
from grokstudy.orchestrator.cli import app, main
from grokstudy.orchestrator.console.describe import failures_text
from grokstudy.orchestrator.root.curve_file import CurveColumn, External
from grokstudy.orchestrator.root.import_curves import import_external
from grokstudy.orchestrator.runs.state import Ledger, RunState
from grokstudy.trainables.events import Event
from grokstudy.trainables.storage.run_dir import RunDir, run_ids
from grokstudy.trainables.storage.store import Store

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\x7f<script>alert(1)</script><!--<script>"
STRANGE = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


def control(text: str) -> set[str]:
    return {character for character in text if unicodedata.category(character) == "Cc"} - {"\n", "\t"}


def stranger(folder: Path, label: str) -> Store:
    """A study whose labels, hypothesis, host and traceback are a stranger's."""
    path, store = folder / "c.csv", Store(folder / "root")
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(
            [("trial", "step", "a"), ("plain", 1, 0.2), (f"x{label}", 1, 0.1), (f"x{label}", 9, 1)]
        )
    event = Event.parse("generalised=accuracy/test_oo>=0.5")
    import_external(
        store, "s", External(path, "trial", "step", (CurveColumn("a", "accuracy", "test_oo"),)), dict([event])
    )
    spec = store.read_json("studies/s/study.json") or {}
    store.write_json("studies/s/study.json", {**spec, "hypothesis": label})
    run = RunDir(store, run_ids(store)[0])
    run.write("run.json", {**(run.read("run.json") or {}), "started": 1.0, "host": label, "commit": label})
    run.write("FAILED.json", {"error": label, "traceback": label, "step": 1})
    run.clear("DONE.json")
    return store


@example(label=EVIL)
@example(label="\x85\x1b\n\t\ufffe\uffff")
@given(label=STRANGE)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_label_steers_the_terminal(tmp_path_factory: pytest.TempPathFactory, label: str) -> None:
    store = stranger(tmp_path_factory.mktemp("s"), label)
    one, other = run_ids(store)
    words = [["logs", one], ["logs", other], ["report", "s"], ["watch", "s", "--once"], ["compare", one, other],
             ["compare", "s:curve=plain", "s"], ["query", "SELECT * FROM trials"], ["compare", f"s:curve={label}"],
             ["query", "SELECT curve AS \"\x1b[1m\" FROM events"], ["verify"]]  # fmt: skip
    for command in words:
        done = CliRunner().invoke(app, [*command, "--root", store.uri])
        assert done.exception is None or isinstance(done.exception, SystemExit), (command, done.exception)
        assert not control(done.output), command
    page = store.read("studies/s/report/index.html").decode()
    assert not control(page)
    assert "<script>alert" not in page
    assert "<!--" not in page.partition("<script>")[0], "within a script it would hide the script's end"


def test_failures_are_told_without_control_characters(store: Store) -> None:
    ledger = Ledger(store, [], scheduler_stops=False)
    ledger.states["a"] = RunState("failed", 1, EVIL, EVIL)
    assert not control(failures_text(ledger))
    assert r"\x1b[2J\x9b31m" in failures_text(ledger)


def test_json_escapes_by_itself(tmp_path: Path) -> None:
    store = stranger(tmp_path, EVIL)
    for command in (["report", "s"], ["query", "SELECT * FROM trials"], ["watch", "s", "--once"]):
        done = CliRunner().invoke(app, [*command, "--json", "--root", store.uri])
        assert json.loads(done.stdout)
        assert not control(done.stdout) - {"\x7f", "\x9b"}, command


def test_commands_print_through_say_and_emit_alone() -> None:
    """Whatever a command tells a person has gone through `say`; only what a program reads goes past it."""
    past = [
        f"{path.name}:{node.lineno}"
        for path in sorted(Path(commands.__file__).parent.glob("*.py"))
        if path.name != "common.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "typer.echo", "typer.secho", "click.echo")
    ]
    assert past == [], "call say(...) for people, emit(...) for programs"


def test_an_error_that_names_a_strange_path_is_told_without_control_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Store(tmp_path / "a\x1b[2Jb")
    root.write("studies/s/study.json", b"{")
    monkeypatch.setattr("sys.argv", ["grokstudy", "report", "s", "--root", root.uri])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert r"a\x1b[2Jb/studies/s/study.json" in told
    assert not control(told)
