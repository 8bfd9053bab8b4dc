"""A file of data that an option names: its content is a part of what a run is, and travels with the work."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grokstudy.orchestrator.cluster.package import pack
from grokstudy.orchestrator.execution.bundle import make_bundles
from grokstudy.orchestrator.execution.driver import study_state
from grokstudy.orchestrator.runs.changes import orphaned
from grokstudy.orchestrator.runs.trials import all_trials
from grokstudy.orchestrator.study.errors import StudyError
from grokstudy.orchestrator.study.load import load_study
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import OURS, StudyDir
from grokstudy.trainables.tasks import TASKS

STUDY = """\
base:
  task: synthetic_facts
  data: {labels: same, relations: 2, synthetic_entities: 20, phi: 2, triples: ./facts/mine.json}
  model: {layers: 2, loops: 1, width: 16, heads: 2}
  train: {steps: 20, batch: 16}
  eval: {every: 10}
space:
  data.synthetic: [none, true]
"""
STUDY = STUDY.replace("[none, true]", '[none, "true"]')


def triples(countries: int = 3) -> list[Any]:
    return [
        {"_id": str(i), "type": "comparison", "context": [], "evidences": [
            [f"Person {i}", "country of citizenship", f"Country {i % countries}"],
            [f"Person {i}", "occupation", f"Work {i % 4}"],
        ]} for i in range(24)
    ]  # fmt: skip


def put(folder: Path, study: str = STUDY, records: Any = None) -> Path:
    (folder / "facts").mkdir(parents=True, exist_ok=True)
    (folder / "facts" / "mine.json").write_text(json.dumps(triples() if records is None else records))
    (folder / "wiki.yaml").write_text(study)
    return folder / "wiki.yaml"


def ids(study: Study) -> list[str]:
    return [trial.config.run_id for trial in all_trials(study)]


def mistakes(path: Path) -> list[tuple[int, int, str, str]]:
    with pytest.raises(StudyError) as caught:
        load_study(path)
    return [(m.line, m.column, m.key, m.message) for m in caught.value.mistakes]


def test_a_run_is_the_content_of_its_data_too_and_not_the_folder_where_it_lies(tmp_path: Path) -> None:
    first = load_study(put(tmp_path))
    assert ids(load_study(put(tmp_path / "copy"))) == ids(first)
    assert ids(load_study(put(tmp_path / "turned", records=triples()[::-1]))) == ids(first)
    assert not {*ids(load_study(put(tmp_path / "other", records=triples(2))))} & {*ids(first)}
    (name,) = first.code.values()
    assert first.code == {"./facts/mine.json": name}
    assert all(trial.config.data.triples == name for trial in all_trials(first))
    assert RunConfig.from_dict(all_trials(first)[0].config.to_dict()).run_id == ids(first)[0]


def test_a_file_is_named_on_an_axis_and_in_an_arm_as_under_base(tmp_path: Path) -> None:
    base = STUDY.replace(", triples: ./facts/mine.json", "").partition("space:")[0]
    expected = load_study(put(tmp_path))
    for space in (
        'data.triples: [./facts/mine.json, ./other.json]\n  data.synthetic: [none, "true"]',
        "world: {one: {data.triples: facts/mine.json}, two: {data.triples: ./other.json}}",
    ):
        path = put(tmp_path, f"{base}space:\n  {space}\n")
        (tmp_path / "other.json").write_text(json.dumps(triples(2)))
        study = load_study(path)
        found = {trial.config.data.triples for trial in all_trials(study)}
        assert len(found) == 2
        assert {*expected.code.values()} < found


def test_an_absent_file_is_told_at_its_place_with_how_to_get_one(tmp_path: Path) -> None:
    path = put(tmp_path)
    (tmp_path / "facts" / "mine.json").unlink()
    ((line, column, key, message),) = mistakes(path)
    assert (line, column, key) == (3, 79, "base.data.triples")
    assert f"there is no file {tmp_path}/facts/mine.json" in message
    for step in ("nothing is downloaded", "https://github.com/Alab-NII/2wikimultihop", "unpack", "dev.json"):
        assert step in message


@pytest.mark.parametrize(
    ("word", "fragment"),
    [
        ("/tmp/mine.json", "must be a path from the study's folder"),
        ("../mine.json", "lies outside the study's folder"),
        ("./mine", "is no name for a file of data"),
        ("./facts", "is no name for a file of data"),
        ("3", "must be text or null, not 3"),
    ],
)
def test_what_names_no_file_is_told(tmp_path: Path, word: str, fragment: str) -> None:
    ((line, _, key, message),) = mistakes(put(tmp_path, STUDY.replace("./facts/mine.json", word)))
    assert (line, key) == (3, "base.data.triples")
    assert fragment in message


def test_a_file_with_something_else_in_it_is_told(tmp_path: Path) -> None:
    ((line, _, _, message),) = mistakes(put(tmp_path, records=[{"question": "?"}]))
    assert line == 3
    assert f"{tmp_path}/facts/mine.json record 1 has no evidences" in message
    many = [[f"Person {i} {'of some place ' * 20}", "occupation", f"Work {i % 4}"] for i in range(8000)]
    ((_, _, _, message),) = mistakes(put(tmp_path, records=many))
    assert "at most 2,000,000 travel with the work; make a smaller file" in message


def test_work_that_is_sent_brings_its_data_along(tmp_path: Path, store: Store) -> None:
    study = load_study(put(tmp_path))
    (bundle, *_) = make_bundles(study, study_state(study, store).runs, store, {"cpu": 1, "gpu": 0}, 1, lambda _, n: n)
    (tmp_path / "work").write_bytes(pickle.dumps(bundle))
    (tmp_path / "facts" / "mine.json").unlink()
    code = (
        "import pickle, sys\nbundle = pickle.load(open(sys.argv[1], 'rb'))\n"
        "from grokstudy.trainables.tasks import TASKS\nconfig = bundle.packs[0][0]\n"
        "print(config.run_id, TASKS[config.task].build(config.data, 0, 50).hash)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "work")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    config = bundle.packs[0][0]
    assert done.stdout.split() == [config.run_id, TASKS[config.task].build(config.data, 0, 50).hash]


def test_what_travels_with_a_job_is_read_there_as_the_same_file(tmp_path: Path) -> None:
    study, folder = load_study(put(tmp_path / "here")), tmp_path / "job"
    folder.mkdir()
    place = pack(study, folder)
    assert ids(load_study(folder / place)) == ids(study)


def test_the_root_keeps_the_data_and_a_study_goes_on_with_it(tmp_path: Path, store: Store) -> None:
    study = load_study(put(tmp_path))
    state, folder = study_state(study, store), StudyDir(store, "wiki")
    folder.keep_code(study.code.values())
    store.write_json(folder.spec, study.to_json())
    store.write_json(f"runs/{state.runs[0].run_id}/run.json", {})
    kept = [path for path in store.list(folder.folder, recursive=True) if "/code/" in path]
    assert [path.rpartition("/code/")[2][17:] for path in kept] == ["", "facts", "facts/mine.json"]
    assert [path for path in kept if OURS.fullmatch(path)] == kept[2:]
    edited = load_study(put(tmp_path, records=triples(2)))
    found = orphaned(store, edited, study_state(edited, store).trials)
    assert found is not None
    assert (found.words, found.run_ids) == (["./facts/mine.json"], [state.runs[0].run_id])
    (tmp_path / "facts" / "mine.json").unlink()
    folder.load_code(folder.code_names().values())
    assert ids(load_study(tmp_path / "wiki.yaml", (), folder.code_names())) == ids(study)
