"""What a run is includes the code that made it; what runs is the text that was read."""

from __future__ import annotations

import pickle
import subprocess
import sys
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from own_code import FILES, HELPERS, PROBE, STUDY, TASK, put

from grokstudy.orchestrator.execution.bundle import Bundle, make_bundles
from grokstudy.orchestrator.execution.driver import study_state
from grokstudy.orchestrator.runs.changes import orphaned
from grokstudy.orchestrator.runs.trials import all_trials
from grokstudy.orchestrator.study.errors import StudyError
from grokstudy.orchestrator.study.load import load_study
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables import plugins, registry
from grokstudy.trainables.config import RunConfig, Unloaded
from grokstudy.trainables.plugins import Code, PluginError
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import StudyDir
from grokstudy.trainables.tasks import TASKS


def ids(study: Study) -> list[tuple[str, str]]:
    return [(trial.config.run_id, trial.config.training_id) for trial in all_trials(study)]


def test_a_run_is_its_code_too_and_a_training_is_the_code_of_its_task(tmp_path: Path) -> None:
    first = ids(load_study(put(tmp_path)))
    assert ids(load_study(put(tmp_path / "copy"))) == first, "where the files lie is no part of it"
    probed = ids(load_study(put(tmp_path, my_probe=PROBE + "# edited\n")))
    helped = ids(load_study(put(tmp_path, helpers=HELPERS.replace("2 *", "3 *"))))
    for edited in (probed, helped):
        assert [training for _, training in edited] == [training for _, training in first]
        assert not {run for run, _ in edited} & {run for run, _ in first}
    tasked = ids(load_study(put(tmp_path, parity=TASK + "# edited\n")))
    assert not {training for _, training in tasked} & {training for _, training in first}
    unrelated = {"mine": FILES["mine.py"] + "# edited\n", "fig": FILES["fig.py"] + "# edited\n"}
    assert ids(load_study(put(tmp_path, **unrelated))) == first
    assert ids(load_study(put(tmp_path, my_probe=PROBE.replace("\n", "\r\n")))) == first


def test_a_study_without_code_from_outside_is_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text("base: {data: {phi: 2}}\n")
    study = load_study(path)
    assert not {"code", "figures"} & study.to_json().keys()
    assert all_trials(study)[0].config.run_id == RunConfig.from_dict({"data": {"phi": 2.0}}).run_id


def test_a_configuration_keeps_its_id_where_its_code_is_not() -> None:
    name = f"./parity.py:Parity@{'0' * 16}"
    config = RunConfig.from_dict({"task": name, "data": {"noise": 0.1, "more": ["a"]}})
    assert isinstance(config.data, Unloaded)
    assert RunConfig.from_dict(config.to_dict()).run_id == config.run_id
    assert [problem.key for problem in config.problems()] == ["task"]


def test_a_file_that_is_edited_meanwhile_changes_nothing_that_runs(tmp_path: Path) -> None:
    study = load_study(put(tmp_path))
    (tmp_path / "parity.py").write_text("raise ValueError('edited')")
    (tmp_path / "helpers.py").write_text("raise ValueError('edited')")
    config = all_trials(study)[0].config
    assert TASKS[config.task].build(config.data, 0, 10).hash
    assert plugins.load(study.code["./my_probe.py:probe"]).measured.summaries == ("logit_norm",)


def test_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    values = []
    for value in (1, 2):
        folder = tmp_path / str(value)
        folder.mkdir()
        (folder / "helpers.py").write_text(f"value = {value}\n")
        (folder / "own.py").write_text(
            "import helpers\nfrom helpers import value as other\nboth = helpers.value, other\n"
        )
        values.append(plugins.load(plugins.from_file("./own.py:both", folder)))
    assert values == [(1, 1), (2, 2)]
    assert "helpers" not in sys.modules


def test_every_way_to_import_a_file_of_the_folder_works(tmp_path: Path) -> None:
    (tmp_path / "lib" / "deep").mkdir(parents=True)
    (tmp_path / "pack").mkdir()
    (tmp_path / "lib" / "deep" / "one.py").write_text("from ..two import two\none = two - 1\n")
    (tmp_path / "lib" / "two.py").write_text("two = 2\n")
    (tmp_path / "pack" / "__init__.py").write_text("from pack.three import three\n")
    (tmp_path / "pack" / "three.py").write_text("three = 3\n")
    (tmp_path / "unused.py").write_text("raise ValueError\n")
    (tmp_path / "own.py").write_text(
        "from __future__ import annotations\nimport os.path, lib.two\nimport lib.deep.one as first\nimport pack\n"
        "def found():\n    from pack import three\n    return first.one, lib.two.two, pack.three, three\n"
    )
    name = plugins.from_file("./own.py:found", tmp_path)
    assert plugins.load(name)()[:2] == (1, 2)
    assert plugins.load(name)()[2] == 3
    expected = {"own.py", "lib/deep/one.py", "lib/two.py", "pack/__init__.py", "pack/three.py"}
    assert set(plugins.code_of(name).files) == expected


def test_a_product_is_never_taken_for_a_file_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "grokstudy").mkdir()
    (tmp_path / "grokstudy" / "__init__.py").write_text("raise ValueError\n")
    (tmp_path / "own.py").write_text("import grokstudy.trainables.schema as schema\nsplits = schema.METRICS\n")
    name = plugins.from_file("./own.py:splits", tmp_path)
    assert "accuracy" in plugins.load(name)
    assert set(plugins.code_of(name).files) == {"own.py"}


def test_work_that_is_sent_brings_its_code_along(tmp_path: Path, store: Store) -> None:
    study = load_study(put(tmp_path))
    (bundle, *_) = make_bundles(study, study_state(study, store).runs, store, {"cpu": 1, "gpu": 0}, 1, lambda _, n: n)
    (tmp_path / "work").write_bytes(pickle.dumps(bundle))
    for name in FILES:
        (tmp_path / name).unlink()
    code = (
        "import pickle, sys\nbundle = pickle.load(open(sys.argv[1], 'rb'))\n"
        "from grokstudy.trainables.tasks import TASKS\nconfig = bundle.packs[0][0]\n"
        "print(config.run_id, TASKS[config.task].build(config.data, 0, 10).hash)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "work")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    config = bundle.packs[0][0]
    assert done.stdout.split() == [config.run_id, TASKS[config.task].build(config.data, 0, 10).hash]
    assert next(iter(Bundle.__dataclass_fields__)) == "code", "what comes first is unpickled first"


def test_kept_code_is_loaded_whole_or_not_at_all(tmp_path: Path, store: Store) -> None:
    name = load_study(put(tmp_path, STUDY, helpers="def doubled(value):\n    return 7 * value\n")).code[
        "./my_probe.py:probe"
    ]
    folder = StudyDir(store, "own")
    folder.keep_code([name])
    folder.load_code([name])
    store.write(f"{folder.code(name.rpartition('@')[2])}/helpers.py", b"def doubled(value):\n    return 8 * value\n")
    with pytest.raises(ValueError, match="was changed"):
        folder.load_code([name])
    with pytest.raises(ValueError, match="is not there"):
        folder.load_code([f"./my_probe.py:probe@{'1' * 16}"])


def test_an_edit_orphans_just_the_runs_that_were_begun(tmp_path: Path, store: Store) -> None:
    study = load_study(put(tmp_path))
    state = study_state(study, store)
    folder = StudyDir(store, "own")
    folder.keep_code(study.code.values())
    store.write_json(folder.spec, study.to_json())
    store.write_json(f"runs/{state.runs[0].run_id}/run.json", {})
    assert orphaned(store, study, state.trials) is None
    edited = load_study(put(tmp_path, my_probe=PROBE + "# edited\n"))
    found = orphaned(store, edited, study_state(edited, store).trials)
    assert found is not None
    assert (found.words, found.run_ids) == (["./my_probe.py:probe"], [state.runs[0].run_id])
    assert "./my_probe.py:probe was edited: 1 run was trained" in str(found)
    before = load_study(tmp_path / "own.yaml", (), folder.code_names())
    assert orphaned(store, before, study_state(before, store).trials) is None
    assert ids(before) == ids(study)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    registry._entry_points.cache_clear()
    monkeypatch.setattr(registry, "_entry_points", registry._entry_points.__wrapped__)
    return folder


def install(site: Path, name: str, entry_points: str, **files: str) -> None:
    about = site / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(entry_points)
    assert PathDistribution(about).version == "1.0"
    (site / name).mkdir()
    for stem, text in {"__init__": "", **files}.items():
        (site / name / f"{stem}.py").write_text(text)


def test_an_installed_package_offers_by_entry_point(tmp_path: Path, site: Path) -> None:
    shared = {
        "task": TASK.replace("class Parity", "from noisy.more import more\n\n\nclass Parity"),
        "more": "more = 1\n",
    }
    install(site, "noisy", "[grokstudy.tasks]\nnoisy = noisy.task:Parity\n", **shared)
    path = put(tmp_path, "base: {task: noisy, data: {phi: 2, noise: 0.1}}\n")
    study = load_study(path)
    assert study.task.startswith("noisy.task:Parity@")
    assert set(plugins.code_of(study.task).files) == {"noisy/__init__.py", "noisy/task.py", "noisy/more.py"}
    (site / "noisy" / "more.py").write_text("more = 2\n")
    assert load_study(path).task != study.task


BAD_ENTRY_POINTS = {
    "of a name of ours": (
        "[grokstudy.tasks]\ntwo_hop = odd.task:Parity\n",
        "two_hop",
        "is a task of grokstudy and of odd 1.0",
    ),
    "missing module": ("[grokstudy.tasks]\nodd = odd.nothing:Parity\n", "odd", "of odd 1.0, there is no file"),
    "missing package": ("[grokstudy.tasks]\nodd = not_there.task:Parity\n", "odd", "no module 'not_there' here"),
    "missing name": ("[grokstudy.tasks]\nodd = odd.task:Nothing\n", "odd", "has no 'Nothing'"),
    "no name": ("[grokstudy.tasks]\nodd = odd.task\n", "odd", "leads to 'odd.task'"),
    "no task": ("[grokstudy.tasks]\nodd = odd.task:dataclass\n", "odd", "is no task: it is no subclass of Task"),
}


@pytest.mark.parametrize("name", BAD_ENTRY_POINTS)
def test_a_bad_entry_point_is_told_with_its_package(name: str, tmp_path: Path, site: Path) -> None:
    entry_points, word, message = BAD_ENTRY_POINTS[name]
    install(site, "odd", entry_points, task=TASK)
    with pytest.raises(StudyError) as caught:
        load_study(put(tmp_path, f"base: {{task: {word}}}\n"))
    (mistake,) = caught.value.mistakes
    assert (mistake.line, mistake.column, mistake.key) == (1, 14, "base.task")
    assert message in mistake.message


def test_two_packages_of_one_name_are_told_apart_by_nobody(tmp_path: Path, site: Path) -> None:
    for package in ("odd", "even"):
        install(site, package, f"[grokstudy.tasks]\nown = {package}.task:Parity\n", task=TASK)
    with pytest.raises(StudyError, match=r"own is a task of even 1\.0 and of odd 1\.0; uninstall one"):
        load_study(put(tmp_path, "base: {task: own}\n"))


def test_code_that_a_process_does_not_have_is_named() -> None:
    with pytest.raises(PluginError, match=r"\./parity\.py:Parity: its code \(0{16}\) is not here"):
        plugins.load(f"./parity.py:Parity@{'0' * 16}")
    assert Code({}, "").digest != Code({"a.py": ""}, "").digest
