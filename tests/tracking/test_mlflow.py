"""MLflow shows what the root has: once, with its own times, and the same after any number of syncs."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
from mlflow import MlflowClient
from mlflow.tracking._tracking_service import utils
from polars.testing import assert_frame_equal
from servers import mlflow_server, postgres
from synthetic import EVENTS, REGIMES, STEPS, build_tracked, run_id, write_markers
from typer.testing import CliRunner

from grokstudy.analysis.curves import CURVES, POINTS, decimate, tracked_curves
from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.commands.mlflow import sync_study, try_to_sync
from grokstudy.orchestrator.tracking import follow, mlflow_tables
from grokstudy.orchestrator.tracking.mlflow_store import Tracker
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import StudyDir

RUNS = 2 * len(REGIMES)
CHOSEN = frozenset({"accuracy/test_oo", "t/memorised", "train/loss"})


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data base of MLflow with nothing in it: making one takes longer than the tests."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    assert Tracker(f"sqlite:///{path}", "other", None).experiment
    return path


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, empty: Path) -> Path:
    """A root that tests only read, synced once to its own sqlite."""
    root = build_tracked(tmp_path_factory.mktemp("kept"))
    shutil.copy(empty, root)
    sync_study(Store(root), "regimes")[0]
    return root


@pytest.fixture
def root(tmp_path: Path, empty: Path) -> Path:
    """A root that a test may change, not synced yet."""
    shutil.copy(empty, tmp_path)
    return build_tracked(tmp_path, seeds=1)


def contents(uri: str, curves: frozenset[str] | None = None) -> dict[str, tuple[Any, ...]]:
    """All that MLflow has, by our key, without what it invents itself; points of some curves, or of all."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("grokstudy")
    assert experiment is not None
    found = {}
    for run in client.search_runs([experiment.experiment_id], max_results=1000):
        key = run.data.tags["grokstudy.key"]
        assert key not in found, "one key, two runs"
        shown = set(run.data.metrics) & (curves or set(run.data.metrics))
        history = {name: client.get_metric_history(run.info.run_id, name) for name in shown}
        points = {name: sorted((p.step, p.timestamp, p.value) for p in ps) for name, ps in history.items()}
        hidden = ("grokstudy.stamp", "mlflow.parentRunId", "mlflow.user", "mlflow.source.name", "mlflow.source.type")
        tags = {name: value for name, value in run.data.tags.items() if name not in hidden}
        about = (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time)
        found[key] = (about, run.data.params, tags, run.data.metrics, points)
    return found


def local(root: Path) -> str:
    return f"sqlite:///{root}/mlflow.db"


def test_every_run_is_shown_once_with_its_own_times(kept: Path) -> None:
    found = contents(local(kept))
    assert set(found) == {"regimes", *(f"regimes/{run_id(n)}" for n in range(RUNS))}
    about, params, tags, last, points = found[f"regimes/{run_id(0)}"]
    assert about == ("seed 0 natural", "FINISHED", 1_700_000_000_000, 1_700_000_300_000)
    assert params["train.steps"] == str(STEPS)
    assert (tags["state"], tags["attempts"], tags["commit"], tags["data_hash"]) == ("done", "1", "c" * 40, "d" * 16)
    assert (tags["seed"], tags["class"], tags["mlflow.source.git.commit"]) == ("0", "neither", "c" * 40)
    assert points["accuracy/test_oo"][5][:2] == (500, 1_700_000_000_500)
    assert last["accuracy/test_oo"] == points["accuracy/test_oo"][-1][2]
    assert tags["event.generalised"] == "censored"
    assert "t/generalised" not in last
    assert last["t/memorised"] == pytest.approx(float(tags["event.memorised"]), abs=0.5)
    assert found["regimes"][0][1:] == ("FINISHED", 1_700_000_000_000, 1_700_000_300_000)
    latent = found[f"regimes/{run_id(6)}"]
    assert (latent[0][0], latent[2]["class"]) == ("seed 0 both_hops", "answer_first")
    assert latent[3]["lead"] == pytest.approx(-0.3, abs=0.05)
    assert found["regimes"][2]["runs.done"] == str(RUNS)


def test_children_hang_on_the_study_and_the_report_too(root: Path) -> None:
    Store(root).write("studies/regimes/report/index.html", b"<p>answer</p>")
    sync_study(Store(root), "regimes")[0]
    client = MlflowClient(local(root))
    runs = client.search_runs([str(client.get_experiment_by_name("grokstudy").experiment_id)])
    parent = next(run for run in runs if run.data.tags["grokstudy.key"] == "regimes")
    parents = {run.data.tags.get("mlflow.parentRunId") for run in runs if run is not parent}
    assert parents == {parent.info.run_id}
    assert [item.path for item in client.list_artifacts(parent.info.run_id, "report")] == ["report/index.html"]


def test_syncing_again_writes_nothing_and_rebuilding_gives_the_same(kept: Path) -> None:
    before = contents(local(kept))
    again = sync_study(Store(kept), "regimes")[0]
    assert (again.written, again.kept) == (0, RUNS)
    assert contents(local(kept)) == before
    anew = sync_study(Store(kept), "regimes", rebuild=True)[0]
    assert anew.written == RUNS
    assert contents(local(kept)) == before


def test_nothing_new_is_seen_without_importing_mlflow(kept: Path) -> None:
    """Which takes longer than all the rest of it."""
    code = (
        "import sys; from grokstudy.orchestrator.commands.mlflow import sync_study; "
        "from grokstudy.trainables.storage.store import Store; "
        f"done, _ = sync_study(Store({str(kept)!r}), 'regimes'); "
        f"assert (done.written, done.kept) == (0, {RUNS}); assert 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_runs_appear_whole_or_not_at_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync that dies while it writes leaves what there was; the next one writes the rest."""
    store, latest = Store(root), mlflow_tables._latest
    sync_study(store, "regimes")
    before = contents(local(root))
    write_markers(root, run_id(0), 0, ended=1.7e9 + 900)
    monkeypatch.setattr(mlflow_tables, "_latest", lambda rows: [{**row, "key": None} for row in latest(rows)])
    with pytest.raises(Exception, match="NOT NULL"):
        sync_study(store, "regimes")
    assert contents(local(root)) == before
    monkeypatch.undo()
    assert sync_study(store, "regimes")[0].written == 1
    assert contents(local(root))[f"regimes/{run_id(0)}"][0][3] == 1_700_000_900_000


def test_a_report_that_was_drawn_again_is_shown(root: Path) -> None:
    store, page = Store(root), StudyDir(Store(root), "regimes").page
    for content in (b"first", b"second"):
        store.write(page, content)
        sync_study(store, "regimes")
        (shown,) = (root / "mlflow-artifacts").rglob("index.html")
        assert shown.read_bytes() == content


def test_a_run_that_went_on_is_replaced_and_a_second_of_its_key_removed(root: Path) -> None:
    store = Store(root)
    store.delete(f"runs/{run_id(0)}/DONE.json")
    store.write_json(f"runs/{run_id(1)}/FAILED.json", {"error": "RuntimeError: no memory", "traceback": "", "step": 7})
    store.delete(f"runs/{run_id(1)}/DONE.json")
    sync_study(store, "regimes")[0]
    first = contents(local(root))
    assert first[f"regimes/{run_id(0)}"][0][1] == "KILLED"
    assert first[f"regimes/{run_id(0)}"][2]["state"] == "interrupted"
    assert first[f"regimes/{run_id(1)}"][0][1] == "FAILED"
    assert first[f"regimes/{run_id(1)}"][2]["error"] == "RuntimeError: no memory"
    assert first["regimes"][0][1] == "KILLED"
    assert "RUNNING" not in {run[0][1] for run in first.values()}
    client = MlflowClient(local(root))
    experiment = str(client.get_experiment_by_name("grokstudy").experiment_id)
    client.create_run(experiment, tags={"grokstudy.key": f"regimes/{run_id(2)}"})
    write_markers(root, run_id(0), 0)
    done = sync_study(store, "regimes")[0]
    assert done.written == 1
    assert contents(local(root))[f"regimes/{run_id(0)}"][0][1] == "FINISHED"


def test_a_run_under_way_is_running_grows_in_place_and_ends(root: Path) -> None:
    store, key = Store(root), f"regimes/{run_id(3)}"
    done = store.read_json(f"runs/{run_id(3)}/DONE.json") or {}
    store.delete(f"runs/{run_id(3)}/DONE.json")

    def reached(step: int) -> dict[str, tuple[Any, ...]]:
        store.write(f"runs/{run_id(3)}/checkpoints/step-{step:09d}-{0:016x}.pt", b"")
        sync_study(store, "regimes", driven=True)
        return contents(local(root))

    def shown_as() -> str:
        client = MlflowClient(local(root))
        experiment = str(client.get_experiment_by_name("grokstudy").experiment_id)
        (run,) = client.search_runs([experiment], f"tags.`grokstudy.key` = '{key}'")
        return str(run.info.run_id)

    first = reached(1000)
    assert {name: run[0][1] for name, run in first.items() if run[0][1] != "FINISHED"} == {
        "regimes": "RUNNING", key: "RUNNING",
    }  # fmt: skip
    assert first[key][4]["accuracy/test_oo"][-1][0] == 1000
    before = shown_as()
    second = reached(2000)
    assert shown_as() == before, "the page that a person has open goes on"
    steps = [step for step, _, _ in second[key][4]["accuracy/test_oo"]]
    assert steps == sorted(set(steps)), "no point twice"
    assert steps[-1] == 2000
    assert set(first[key][4]["train/loss"]) <= set(second[key][4]["train/loss"])
    store.write_json(f"runs/{run_id(3)}/DONE.json", done)
    sync_study(store, "regimes")
    last = contents(local(root))
    assert (last[key][0][1], last["regimes"][0][1]) == ("FINISHED", "FINISHED")
    assert last[key][4]["accuracy/test_oo"][-1][0] == STEPS
    assert "grokstudy.reached" not in last[key][2]


def test_a_study_that_nobody_trains_any_more_is_not_left_as_running(root: Path) -> None:
    store = Store(root)
    store.delete(f"runs/{run_id(3)}/DONE.json")
    sync_study(store, "regimes", driven=True)
    sync_study(store, "regimes")
    found = contents(local(root))
    assert {run[0][1] for run in found.values()} == {"FINISHED", "KILLED"}


class _Process:
    """Stands for a sync that runs until it is asked to end."""

    begun: ClassVar[list[_Process]] = []
    started: ClassVar[threading.Event] = threading.Event()

    def __init__(self, words: list[str], **_: Any) -> None:
        self.words, self.asked = words, False
        self.begun.append(self)
        self.started.set()

    def terminate(self) -> None:
        self.asked = True

    def wait(self, _: float | None = None) -> int:
        assert self.asked
        return 0


def test_following_begins_late_and_ends_with_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", _Process)
    with follow.followed("root", "short"):
        pass
    assert _Process.begun == [], "what is over within a minute is synced at its end alone"
    with follow.followed("root", "long", every=0.0):
        assert _Process.started.wait(30)
    (process,) = _Process.begun
    assert process.asked
    assert process.words[1:] == [
        "-m",
        "grokstudy",
        "mlflow",
        "sync",
        "long",
        "--root",
        "root",
        "--every",
        "0.0",
        "--quiet",
    ]


def test_following_takes_a_hundredth_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "cores", lambda: 2)
    assert follow.pause(60.0, 5.5) == pytest.approx(275.0), "5.5 s of the 550 that two cores have meanwhile"
    assert follow.pause(60.0, 1.0) == 60.0


def test_the_command_waits_by_what_a_sync_took(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    class Told(threading.Event):
        def wait(self, seconds: float | None = None) -> bool:
            waited.append(seconds or 0.0)
            return len(waited) == 3

    clock = iter([7.0, 8.5, 8.75])
    monkeypatch.setattr(follow, "yield_to_training", Told)
    monkeypatch.setattr(follow, "cores", lambda: 4)
    monkeypatch.setattr("grokstudy.orchestrator.commands.mlflow.time.process_time", lambda: next(clock))
    driver = {"study": "regimes", "host": socket.gethostname(), "pid": os.getppid(), "token": "x", "beat": 3}
    Store(root).write_json("driver.json", driver)
    done = CliRunner().invoke(app, ["mlflow", "sync", "regimes", "--root", str(root), "--every", "30"])
    assert done.exit_code == 0, done.stderr
    assert waited == pytest.approx([7 / 0.04, 1.5 / 0.04, 30.0])


def test_the_command_ends_when_nobody_trains(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "yield_to_training", threading.Event)
    done = CliRunner().invoke(app, ["mlflow", "sync", "regimes", "--root", str(root), "--every", "1000", "--json"])
    assert json.loads(done.stdout)[0]["written"] == 4


def test_the_command_goes_on_after_a_failure_while_somebody_trains(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written yet when a study begins, and a server is away at times."""
    study = root / "studies/regimes/study.json"
    content = study.read_bytes()
    study.unlink()

    class Told(threading.Event):
        def wait(self, _: float | None = None) -> bool:
            study.write_bytes(content)
            Store(root).delete("driver.json")
            return False

    monkeypatch.setattr(follow, "yield_to_training", Told)
    driver = {"study": "regimes", "host": socket.gethostname(), "pid": os.getppid(), "token": "x", "beat": 3}
    Store(root).write_json("driver.json", driver)
    done = CliRunner().invoke(app, ["mlflow", "sync", "regimes", "--root", str(root), "--every", "1000", "--json"])
    assert "regimes" in done.stderr
    assert json.loads(done.stdout)[0]["written"] == 4


def test_the_data_of_a_run_is_an_input_of_it(kept: Path) -> None:
    client = MlflowClient(local(kept))
    experiment = str(client.get_experiment_by_name("grokstudy").experiment_id)
    (run,) = client.search_runs([experiment], f"tags.`grokstudy.key` = 'regimes/{run_id(0)}'")
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("two_hop seed 0", "d" * 16)


def test_a_root_that_was_moved_takes_its_artifacts_along(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    Store(root).write("studies/regimes/report/index.html", b"<p>answer</p>")
    sync_study(Store(root), "regimes")
    moved = tmp_path_factory.mktemp("elsewhere") / "moved"
    root.rename(moved)
    utils._artifact_repos_cache.clear()  # MLflow remembers places by run for as long as a process lives
    Store(moved).write("studies/regimes/report/answer.json", b"[]")
    sync_study(Store(moved), "regimes")
    client = MlflowClient(local(moved))
    experiment = client.get_experiment_by_name("grokstudy")
    assert experiment.artifact_location == (moved / "mlflow-artifacts").as_uri()
    runs = client.search_runs([experiment.experiment_id])
    assert all(run.info.artifact_uri.startswith(moved.as_uri()) for run in runs)
    parent = next(run for run in runs if run.data.tags["grokstudy.key"] == "regimes")
    assert [item.path for item in client.list_artifacts(parent.info.run_id, "report")] == [
        "report/answer.json", "report/index.html",
    ]  # fmt: skip
    assert not [path for path in root.rglob("*") if path.is_file()], "nothing is written where it was"


def test_artifacts_of_a_data_base_that_is_not_in_the_root_stay(
    root: Path, empty: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may be using it."""
    shared = tmp_path_factory.mktemp("shared")
    shutil.copy(empty, shared)
    monkeypatch.chdir(shared)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    sync_study(Store(root), "regimes")
    assert sync_study(Store(root.rename(shared / "moved")), "regimes")[0].kept == 4
    experiment = MlflowClient(local(shared)).get_experiment_by_name("grokstudy")
    assert experiment.artifact_location == (root / "mlflow-artifacts").as_uri()


def test_an_experiment_that_was_deleted_is_told_and_brought_back(root: Path) -> None:
    sync_study(Store(root), "regimes")
    before = contents(local(root))
    client = MlflowClient(local(root))
    client.delete_experiment(client.get_experiment_by_name("grokstudy").experiment_id)
    done = CliRunner().invoke(app, ["mlflow", "sync", "regimes", "--root", str(root)])
    assert "had been deleted in MLflow; it is back" in done.stdout
    assert contents(local(root)) == before


def test_redefining_an_event_replaces_its_time(root: Path) -> None:
    sync_study(Store(root), "regimes")[0]
    lower = {**EVENTS, "memorised": {**EVENTS["memorised"], "at_least": 0.5}}
    path = "studies/regimes/study.json"
    spec = Store(root).read_json(path)
    before = contents(local(root))[f"regimes/{run_id(0)}"][3]["t/memorised"]
    Store(root).write_json(path, {**(spec or {}), "events": lower})
    sync_study(Store(root), "regimes")[0]
    _, _, _, last, points = contents(local(root))[f"regimes/{run_id(0)}"]
    assert last["t/memorised"] < before
    assert len(points["t/memorised"]) == 1


def test_mlflow_that_does_not_answer_is_told_with_the_remedy(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////dev/null/mlflow.db")
    assert try_to_sync(Store(root), "regimes") is None
    told = capsys.readouterr().err
    assert f"grokstudy mlflow sync regimes --root {root}" in told
    absent = CliRunner().invoke(app, ["mlflow", "nothing", "--root", str(root)])
    assert absent.exit_code == 2
    assert "studies here: regimes" in absent.stderr


def test_the_command_takes_one_study_or_all_and_sync_may_be_said(root: Path) -> None:
    def told(*words: str) -> Any:
        return json.loads(CliRunner().invoke(app, ["mlflow", *words, "--root", str(root), "--json"]).stdout)

    every = told("sync")
    assert [(synced["study"], synced["written"], synced["uri"]) for synced in every] == [("regimes", 4, local(root))]
    assert told("regimes")[0]["kept"] == told("sync", "regimes")[0]["kept"] == 4
    assert told("sync", "--rebuild")[0]["written"] == 4
    quiet = CliRunner().invoke(app, ["mlflow", "sync", "--root", str(root), "--quiet"])
    assert (quiet.exit_code, quiet.output) == (0, "")


def test_imported_curves_are_shown_and_labelled_as_such(root: Path, tmp_path: Path) -> None:
    table = tmp_path / "published.csv"
    table.write_text("regime,step,ood\nnatural,100,0.1\nnatural,200,0.7\nboth_hops,100,0.6\nboth_hops,200,0.9\n")
    words = [str(table), "--name", "published", "--trial", "regime", "--mapping", "ood=accuracy/test_oo"]
    event = ["--event", "generalised=accuracy/test_oo>=0.5", "--root", str(root), "--json"]
    done = CliRunner().invoke(app, ["import-curves", *words, *event])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[0]["generalised_observed"] == 1
    found = contents(local(root))
    shown = {about[0]: (about[1], tags["imported"], tags["event.generalised"], last["accuracy/test_oo"])
             for key, (about, _, tags, last, _) in found.items() if key.startswith("published/")}  # fmt: skip
    assert set(shown) == {"natural (imported)", "both_hops (imported)"}
    status, origin, came, last_value = shown["natural (imported)"]
    assert (status, origin.split()[0], last_value) == ("FINISHED", "published.csv", pytest.approx(0.7))
    assert 100 < int(came) <= 200
    assert "imported from published.csv" in found["published"][2]["mlflow.note.content"]
    CliRunner().invoke(app, ["import-curves", *words, *event])
    assert contents(local(root)) == found, "importing and syncing again changes nothing"
    assert "2/2 runs ended" in CliRunner().invoke(app, ["watch", "published", "--root", str(root), "--once"]).stdout


def test_curves_are_few_and_dense_where_events_are(kept: Path) -> None:
    curves = tracked_curves(Store(kept), {run_id(3): STEPS}, {run_id(3): [700.0]})
    sizes = dict(curves.group_by("metric").len().iter_rows())
    assert len(sizes) <= CURVES
    assert max(sizes.values()) <= POINTS
    loss = curves.filter(pl.col("metric") == "train/loss")["step"]
    assert (loss.min(), loss.max()) == (0, STEPS - 1)
    near = loss.filter((loss > 630) & (loss < 770))
    after = loss.filter((loss > 1000) & (loss < 1140))
    assert len(near) > 2 * len(after)


def test_curves_of_a_run_are_the_same_alone_and_among_others(kept: Path) -> None:
    horizons = {run_id(number): STEPS - 700 * number for number in range(3)}
    times = {run_id(1): [700.0, None]}
    together = tracked_curves(Store(kept), horizons, times)
    alone = [tracked_curves(Store(kept), {name: horizons[name]}, times) for name in horizons]
    assert_frame_equal(together, pl.concat(alone), check_row_order=False)
    assert together.filter(pl.col("metric") == "train/loss").group_by("run_id").agg(pl.max("step")).sort("run_id")[
        "step"
    ].to_list() == [horizon - 1 for horizon in horizons.values()]


def test_long_curves_keep_their_ends_and_stay_within_bounds() -> None:
    steps = pl.arange(0, 100_000, eager=True)
    curve = pl.DataFrame({"metric": "loss", "step": steps, "value": steps.cast(pl.Float64)})
    for times in ([], [5.0], [100.0, 40_000.0, None], [float(10 * n) for n in range(1, 30)]):
        kept = decimate(curve, 100_000, times)
        assert 200 < len(kept) <= POINTS
        assert (kept["step"].min(), kept["step"].max()) == (0, 99_999)
        assert decimate(kept, 100_000, times).equals(kept)


@pytest.mark.slow
def test_a_server_shows_the_same_as_the_embedded_store(
    root: Path, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_study(Store(root), "regimes")[0]
    shutil.copy(empty, tmp_path / "server.db")
    with mlflow_server(tmp_path, f"sqlite:///{tmp_path}/server.db") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        for rebuild, written in ((False, 4), (False, 0), (True, 4)):
            assert sync_study(Store(root), "regimes", rebuild)[0].written == written
        assert contents(server.uri, CHOSEN) == contents(local(root), CHOSEN)
        Store(root).delete(f"runs/{run_id(3)}/DONE.json")
        for step in (1000, 2000):
            Store(root).write(f"runs/{run_id(3)}/checkpoints/step-{step:09d}-{0:016x}.pt", b"")
            assert sync_study(Store(root), "regimes", driven=True)[0].written == 1
        grown = contents(server.uri, CHOSEN)
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        sync_study(Store(root), "regimes", driven=True)
        whole = contents(local(root), CHOSEN)
        key = f"regimes/{run_id(3)}"
        assert (grown[key][0][1], grown[key][2:]) == ("RUNNING", whole[key][2:]), "as if it were written at once"


@pytest.mark.slow
def test_postgresql_shows_the_same_directly_and_behind_a_server(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_study(Store(root), "regimes")[0]
    with postgres(tmp_path) as database:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", database.uri)
        assert sync_study(Store(root), "regimes")[0].written == 4
        assert contents(database.uri) == contents(local(root))
        with mlflow_server(tmp_path, database.uri) as server:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
            assert sync_study(Store(root), "regimes")[0].written == 0, "written in bulk, found by the public API"
            write_markers(root, run_id(0), 0, ended=1.7e9 + 900)
            assert sync_study(Store(root), "regimes")[0].written == 1
            monkeypatch.delenv("MLFLOW_TRACKING_URI")
            sync_study(Store(root), "regimes")[0]
            assert contents(server.uri, CHOSEN) == contents(local(root), CHOSEN)


@pytest.mark.parametrize("name", ["what?now", "a#b", "half%41", "two words é"])
def test_a_root_of_any_name_keeps_its_data_base_and_artifacts(
    tmp_path: Path, empty: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = build_tracked(tmp_path / name, seeds=1)
    store = Store(root)
    store.write(StudyDir(store, "regimes").page, b"")
    shutil.copy(empty, root)
    synced, _ = sync_study(store, "regimes")
    assert contents(synced.uri)
    assert any((root / "mlflow-artifacts").rglob("index.html"))
    assert [path.name for path in tmp_path.iterdir()] == [name]
