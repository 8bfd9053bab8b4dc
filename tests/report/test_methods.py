"""The line that says how the numbers of a study came about."""

from __future__ import annotations

from pathlib import Path

from synthetic import build_tracked, run_id

from grokstudy.analysis.report.methods import methods
from grokstudy.analysis.tables.study import load
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store


def test_who_trained_the_runs_is_said_where_they_say_it(tmp_path: Path) -> None:
    store = Store(build_tracked(tmp_path))
    assert "trained on here;" in methods(store, load(tmp_path, "regimes"), {}), "roots of before have no executor"
    for number, executor in enumerate(("ray", "local")):
        run = RunDir(store, run_id(number))
        run.write("run.json", {**(run.read("run.json") or {}), "executor": executor})
    told = methods(store, load(tmp_path, "regimes"), {})
    assert "trained on here by Ray Tune and workers without Ray;" in told
