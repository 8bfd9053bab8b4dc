"""Runs of an older version of the numbers: named, refused, and taken when a person says so."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from typer.testing import CliRunner

from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.execution.driver import study_state
from grokstudy.orchestrator.root.verify import verify
from grokstudy.orchestrator.runs.state import older_runs, older_text
from grokstudy.orchestrator.study.load import load_study
from grokstudy.trainables import config as config_module
from grokstudy.trainables.config import NUMERICS, RunConfig
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.pack import Pack

STUDY = """\
base:
  data: {entities: 20, relations: 8, out_degree: 5, ood_fraction: 0.2, phi: 2.0}
  model: {layers: 1, width: 16, heads: 2}
  train: {steps: 20, batch: 32, checkpoint_every: 10}
  eval: {every: 10, probes: []}
"""


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> int:
    """The numbers of the code have changed since."""
    for module in (
        "grokstudy.orchestrator.study.resolve",
        "grokstudy.orchestrator.study.read_options",
        "grokstudy.trainables.storage.run_dir",
        "grokstudy.trainables.config",
    ):
        monkeypatch.setattr(f"{module}.NUMERICS", NUMERICS + 1)
    defaults = {**(RunConfig.__init__.__kwdefaults__ or {}), "numerics": NUMERICS + 1}
    monkeypatch.setattr(RunConfig.__init__, "__kwdefaults__", defaults)
    return NUMERICS + 1


def trained(folder: Path, text: str = STUDY) -> Store:
    store, path = Store(folder / "root"), folder / "s.yaml"
    path.write_text(text)
    pack = Pack([run.config for run in study_state(load_study(path), store).runs], store)
    while not pack.finished:
        pack.advance(60.0)
    return store


def test_older_runs_are_named_and_not_taken(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    store = trained(tmp_path)
    version = request.getfixturevalue("later")
    study = load_study(tmp_path / "s.yaml")
    state = study_state(study, store)
    assert state.ledger.counts() == {"missing": 1}
    found = older_runs(store, state.runs, version)
    assert found == {NUMERICS: 1}
    assert f"write base: {{numerics: {NUMERICS}}}" in older_text(found)
    assert [fault.kind for fault in verify(store)] == ["orphan"], "old is not damaged"


def test_older_runs_are_taken_when_the_study_says_so(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    store = trained(tmp_path)
    request.getfixturevalue("later")
    path = tmp_path / "s.yaml"
    path.write_text(STUDY.replace("base:", f"base:\n  numerics: {NUMERICS}"))
    state = study_state(load_study(path), store)
    assert state.finished()
    (run,) = state.runs
    assert RunConfig.from_dict(run.config.to_dict()).run_id == run.run_id
    assert older_runs(store, state.ledger.unsettled()) == {}


def test_the_present_version_may_be_written_and_changes_no_run(tmp_path: Path) -> None:
    store = trained(tmp_path, STUDY.replace("base:", f"base:\n  numerics: {NUMERICS}"))
    assert "numerics" not in (RunDir(store, store.list("runs")[0][5:]).read("run.json") or {})["config"]
    assert dataclasses.replace(config_module.RunConfig(), numerics=NUMERICS).run_id == RunConfig().run_id


@pytest.mark.parametrize("value", ["0", str(NUMERICS + 1), "new", "1.5", "[1]"])
def test_a_version_that_never_was_is_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"base: {{numerics: {value}}}\n")
    done = CliRunner().invoke(app, ["plan", str(path)])
    assert done.exit_code == 2
    assert "base.numerics" in done.stderr
    assert "no version of the numbers" in done.stderr
