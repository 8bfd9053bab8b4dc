"""A study with a task, probe, searcher and figure of one's own, outside the repository, from its file to the page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from own_code import FIGURE, FILES, HELPERS, PROBE, STUDY, TASK, put

from grokstudy.analysis.figures import FIGURES, with_own
from grokstudy.analysis.tables.study import load
from grokstudy.orchestrator.cluster.package import pack
from grokstudy.orchestrator.execution.driver import Driver
from grokstudy.orchestrator.execution.executor import Executor
from grokstudy.orchestrator.study.json_schema import study_schema
from grokstudy.orchestrator.study.load import load_study
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store


def grokstudy(*words: str | Path, root: Path) -> subprocess.CompletedProcess[str]:
    """The command, from a folder that is not the repository's."""
    command = [sys.executable, "-m", "grokstudy", *map(str, words), "--root", str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)


def norms(root: Path) -> dict[str, list[Any]]:
    """Of each run, what the probe from outside measured."""
    store = Store(root)
    runs = (RunDir(store, path.name) for path in sorted((root / "runs").iterdir()))
    found = {run.run_id: records.read(run, "probes").to_pylist() for run in runs}
    return {
        run_id: [(row["step"], row["split"], row["value"]) for row in rows if row["probe"] == "logit_norm"]
        for run_id, rows in found.items()
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that was run by two processes of this machine, and its root."""
    folder = tmp_path_factory.mktemp("own")
    done = grokstudy("run", put(folder / "study"), "--local", "--workers", "2", root=folder / "root")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_report_shows_the_figure_and_names_the_code(trained: Path) -> None:
    report = trained / "root/studies/own/report"
    page = (report / "index.html").read_text()
    assert (report / "logit_norm.svg").read_text().startswith("<svg")
    assert "How large the logits are." in page
    assert "Code from outside" in page
    measured = norms(trained / "root")
    assert len(measured) == 2
    assert all({step for step, _, _ in rows} == {0, 10, 20} for rows in measured.values())
    spec = json.loads((trained / "root/studies/own/study.json").read_text())
    for word, name in spec["code"].items():
        kept = trained / "root/studies/own/code" / name.rpartition("@")[2] / word.split(":")[0]
        assert kept.read_text() == (trained / "study" / word.split(":")[0]).read_text()
    assert (
        trained / "root/studies/own/code" / spec["code"]["./my_probe.py:probe"].rpartition("@")[2] / "helpers.py"
    ).exists()
    assert grokstudy("verify", root=trained / "root").returncode == 0


@pytest.mark.slow
def test_on_ray_it_is_the_same(trained: Path, tmp_path: Path) -> None:
    done = grokstudy("run", put(tmp_path / "study"), "--ray", root=tmp_path / "root")
    assert done.returncode == 0, done.stderr
    assert norms(tmp_path / "root") == norms(trained / "root")
    assert (tmp_path / "root/studies/own/report/logit_norm.svg").exists()


@pytest.mark.slow
def test_an_edit_is_told_and_the_code_of_before_goes_on(trained: Path, tmp_path: Path) -> None:
    root, path = trained / "root", put(tmp_path, helpers=HELPERS.replace("2 *", "3 *"))
    plan = grokstudy("plan", path, "--json", root=root)
    told = json.loads(plan.stdout)
    assert sorted(told["orphaned"]) == sorted(norms(root))
    assert (told["runs_todo"], told["runs_measured"]) == (2, 2), "only measured anew"
    assert told["code"]["./parity.py:Parity"]["options"]["data.noise"] == 0.1
    words = grokstudy("plan", path, root=root).stdout
    assert "./my_probe.py:probe was edited: 2 runs were trained with the code of before" in words
    assert "data.noise = 0.1: share of the trained chains" in words
    refused = subprocess.run(
        [sys.executable, "-m", "grokstudy", "run", str(path), "--root", str(root)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "+    return 3 * value" in refused.stderr
    assert "--code-as-before" in refused.stderr
    for name in FILES:
        (tmp_path / name).unlink()
    before = grokstudy("plan", path, "--code-as-before", "--json", root=root)
    assert (json.loads(before.stdout)["runs_todo"], json.loads(before.stdout)["orphaned"]) == (0, [])


@pytest.mark.slow
def test_a_report_by_name_runs_no_code_of_the_root_unasked(trained: Path) -> None:
    root = trained / "root"
    silent = grokstudy("report", "own", "--figure", "logit_norm", root=root)
    assert silent.returncode == 2
    assert "./fig.py:figure is not drawn: its code is not here; name the study by its file" in silent.stderr
    assert grokstudy("report", "own", "--figure", "logit_norm", "--code-as-before", root=root).returncode == 0
    edited = put(trained / "edited", fig=FIGURE.replace("How large", "Now how large"))
    assert grokstudy("report", edited, root=root).returncode == 0
    assert "Now how large the logits are." in (root / "studies/own/report/index.html").read_text()


BROKEN_FIGURES = {
    "fails": ("def figure(tables):\n    return [][3]\n", "in figure\n    return [][3]"),
    "gives no list": ("def figure(tables):\n    return 3\n", "TypeError"),
    "gives no figures": ("def figure(tables):\n    return ['a chart']\n", "it gives str, and should give a list"),
    "takes a name of ours": (FIGURE.replace('Figure("logit_norm"', 'Figure("curves"'), "there is a figure 'curves'"),
    "leads out of the report": (FIGURE.replace('Figure("logit_norm"', 'Figure("../x"'), "is no name for its files"),
}


@pytest.mark.slow
def test_a_broken_figure_is_left_out_and_told(trained: Path, tmp_path: Path) -> None:
    tables = load(trained / "root", "own")
    ours = FIGURES["curves"](tables) or []
    for name, (text, message) in BROKEN_FIGURES.items():
        study = load_study(put(tmp_path / name.replace(" ", "_"), fig=text))
        figures, (missing,) = with_own(tables, ours, study.figures)
        assert figures == ours, name
        assert missing.startswith("figure ./fig.py:figure is not drawn: ")
        assert message in missing
    done = grokstudy("report", tmp_path / "fails" / "own.yaml", root=trained / "root")
    assert done.returncode == 1
    assert "return [][3]" in done.stderr
    assert "figure ./fig.py:figure is not drawn" in (trained / "root/studies/own/report/index.html").read_text()


@pytest.mark.slow
def test_a_study_goes_to_another_root_with_its_code(trained: Path, tmp_path: Path) -> None:
    root, tar = trained / "root", tmp_path / "own.tar"
    assert grokstudy("export", "own", tar, root=root).returncode == 0
    assert grokstudy("import", tar, root=tmp_path / "root").returncode == 0
    kept = {path.relative_to(root) for path in (root / "studies/own/code").rglob("*.py")}
    assert {path.relative_to(tmp_path / "root") for path in (tmp_path / "root").rglob("*.py")} == kept
    assert grokstudy("verify", root=tmp_path / "root").returncode == 0
    assert grokstudy("gc", "--orphans", "--dry-run", root=tmp_path / "root").returncode == 0


def test_files_travel_beside_the_study_of_a_job(tmp_path: Path) -> None:
    study = load_study(put(tmp_path / "here"))
    (tmp_path / "job").mkdir()
    there = load_study(tmp_path / "job" / pack(study, tmp_path / "job"))
    assert (there.code, there.spec_hash) == (study.code, study.spec_hash)


def test_the_schema_of_a_study_knows_its_words(tmp_path: Path) -> None:
    study = load_study(put(tmp_path))
    schema = study_schema(study)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(STUDY), schema)
    for wrong in (STUDY.replace("noise: 0.1", "noise: 2"), STUDY.replace("most: 2", "most: 0"),
                  STUDY.replace("metric: logit_norm", "metric: logit"), STUDY.replace("fig.py", "gif.py")):  # fmt: skip
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(wrong), schema)
    assert study_schema() == study_schema(), "what a study adds stays with it"
    assert "logit_norm" not in json.dumps(study_schema())


def launched(path: Path, root: Path, workers: int) -> Store:
    """Train in this process, or in others."""
    store = Store(root)
    study = load_study(path)
    driver = Driver(study, store)
    driver.train(lambda runs: Executor("local", workers, False).launch(study, runs, store, lambda _: None, print))
    return store


def test_a_debugger_stops_in_the_users_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stops = []
    monkeypatch.setattr(sys, "breakpointhook", lambda: stops.append(sys._getframe(1).f_code.co_filename))
    stopping = PROBE.replace("    norm_MS", "    breakpoint()\n    norm_MS")
    launched(put(tmp_path, my_probe=stopping), tmp_path / "root", 1)
    assert set(stops) == {str(tmp_path / "my_probe.py")}


def test_a_run_that_fails_in_code_from_outside_says_where(tmp_path: Path) -> None:
    failing = PROBE.replace("    norm_MS", "    norm_MS = {}['nothing']\n    norm_MS")
    store = launched(put(tmp_path, my_probe=failing), tmp_path / "root", 1)
    failed = [RunDir(store, path.name).read("FAILED.json") for path in (tmp_path / "root/runs").iterdir()]
    assert len(failed) == 2
    for marker in failed:
        assert marker is not None
        lines = marker["traceback"].splitlines()
        assert lines[0].startswith("Traceback")
        assert [line.split('"')[1] for line in lines if line.startswith("  File")] == [str(tmp_path / "my_probe.py")]
        assert lines[-1] == "KeyError: 'nothing'"


def test_a_searcher_that_fails_later_ends_the_command_in_its_own_words(tmp_path: Path) -> None:
    later = FILES["mine.py"] + "\n    def next_points(self, scores):\n        return scores['nothing']\n"
    done = grokstudy("run", put(tmp_path, mine=later), root=tmp_path / "root")
    assert done.returncode == 2
    assert "return scores['nothing']" in done.stderr
    assert "orchestrator" not in done.stderr
    assert not (tmp_path / "root").exists()


def test_kept_code_that_there_is_none_of(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    done = grokstudy("plan", put(tmp_path), "--code-as-before", root=tmp_path / "root")
    assert done.returncode == 2
    assert "keeps no code of a study 'own'; leave out --code-as-before" in done.stderr
    assert TASK
