"""Every command that writes, killed at each of its changes and run again: it ends as if nothing had been."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer
from deaths import LIVES, Life
from small_runs import TWO_RUNS
from typer.testing import CliRunner

from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.commands.report import Drawn
from grokstudy.orchestrator.execution import lock
from grokstudy.orchestrator.execution.driver import Driver
from grokstudy.orchestrator.root.verify import verify
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.orchestrator.study.load import load_study
from grokstudy.orchestrator.tracking.mlflow_store import Tracker
from grokstudy.trainables.storage.run_dir import RunDir, run_ids
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.pack import Pack

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(1500)]

EVERY = 1 if "GROKSTUDY_FAULTS" in os.environ else 5
"""`make test-faults` kills at every change, the normal run at every fifth."""
MAPPED = ["--mapping", "a=accuracy/test_oo", "--event", "come=accuracy/test_oo>=0.5"]
COMMANDS = {
    "report": ["report", "s"],
    "mlflow sync": ["mlflow", "sync", "s"],
    "import": ["import", "other.tar"],
    "import-curves": ["import-curves", "curves.csv", "--name", "c", *MAPPED],
    "compact": ["compact"],
    "gc": ["gc", "--orphans"],
    "extend": ["extend", "s.yaml", "--until-event", "generalised", "--max-steps", "40"],
    "export": ["export", "s", "s.tar"],
    "new": ["new", "asked", "--folder", "studies"],
}


def train(store: Store, runs: list[Run]) -> None:
    """What an executor does, in this process."""
    for run in runs:
        pack = Pack([run.config], store)
        while not pack.finished:
            pack.advance(60.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a root, and what the commands take: a study's runs, garbage, orphans, files from elsewhere."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "s.yaml").write_text(TWO_RUNS)
    (folder / "curves.csv").write_text("trial,step,a\nx,0,0.1\nx,10,0.9\ny,0,0.1\ny,10,0.3\n")
    other = folder / "other"
    for name, root in (("other", other), ("s", folder / "results")):
        (folder / f"{name}.yaml").write_text(TWO_RUNS)
        study, store = load_study(folder / f"{name}.yaml"), Store(root)
        Driver(study, store).train(partial(train, store))
    done = CliRunner().invoke(app, ["export", "other", str(folder / "other.tar"), "--root", str(other)])
    assert done.exit_code == 0, done.stderr
    shutil.rmtree(other)
    assert Tracker(f"sqlite:///{store.path('mlflow.db')}", "other", None).experiment  # making the data base takes long
    first = RunDir(store, run_ids(store)[0])
    shutil.copytree(store.path(first.folder), store.path(f"runs/{0:016x}"))
    shutil.copytree(store.path(first.parts("steps")), store.path(f"metrics/steps/run_id={0:016x}"))
    store.write(f"{first.checkpoints}/step-000000015-{0:016x}.pt", b"torn")
    store.write("studies/s/report/old.png", b"a figure that is no longer drawn")
    return folder


def run(folder: Path, words: list[str]) -> None:
    """Give a command in a folder, without what only takes time: waiting for another driver, drawing, and Ray."""
    from grokstudy.analysis import figures

    os.chdir(folder)
    lock.SETTLE_S = 0.0
    time.time = lambda: 1.8e9  # equal commands leave equal files
    figures.draw = lambda tables: []
    for command in ("extend", "import_curves"):  # the package's attributes are the commands
        vars(sys.modules[f"grokstudy.orchestrator.commands.{command}"]).update(INSTEAD)
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    names_the_torn_checkpoint = words[0] in ("import", "export")
    assert done.exit_code == (1 if names_the_torn_checkpoint else 0), done.output


def trained(path: Path, root: str, **_: Any) -> None:
    """`grokstudy run` in this process, which `test_crash_points.py` kills."""
    LIVES[0].change = 0
    study, store = load_study(path), Store(root)
    with lock.driver_lock(store, study.name):
        Driver(study, store).train(partial(train, store))
    raise typer.Exit


INSTEAD = {
    "run": trained,
    "report": lambda *_, **__: None,
    "draw_report": lambda *_, **__: Drawn("", [], []),
    "try_to_sync": lambda *_: None,
}
"""What commands end in that is a command of its own."""


def contents(folder: Path) -> dict[str, object]:
    """All files but those that tell of a process, under names without MLflow's ids, and what MLflow shows."""
    store = Store(folder)
    files = [path for path in store.list("", recursive=True) if Path(store.path(path)).is_file()]
    private = ("lease.json", "DONE.json", "mlflow.db")
    found: dict[str, object] = {re.sub(r"/[0-9a-f]{32}/", "/", path): store.read(path) for path in files
                                if not path.endswith(private)}  # fmt: skip
    for path, content in found.items():
        if path.startswith("results/metrics/") and isinstance(content, bytes):
            found[path] = pq.read_table(BytesIO(content)).drop_columns(["attempt"])
    with closing(sqlite3.connect(folder / "results" / "mlflow.db")) as data:
        found["mlflow"] = data.execute(SHOWN).fetchall()
    return found


SHOWN = """
SELECT key.value, r.name, r.status, r.start_time, r.end_time,
    (SELECT count(*) FROM metrics m WHERE m.run_uuid = r.run_uuid),
    (SELECT count(*) FROM params p WHERE p.run_uuid = r.run_uuid),
    (SELECT count(*) FROM tags t WHERE t.run_uuid = r.run_uuid)
FROM runs r JOIN tags key ON key.run_uuid = r.run_uuid AND key.key = 'grokstudy.key'
WHERE r.lifecycle_stage = 'active' ORDER BY 1
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_killed_at_any_change_is_completed_by_the_same_command(
    whole: Path, tmp_path: Path, command: str
) -> None:
    here = tmp_path / "here"
    give: Callable[[], None] = partial(run, here, COMMANDS[command])

    def fresh() -> None:
        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(whole, here)

    fresh()
    before = contents(here)
    assert Life(here).survived(give)
    expected, faults = contents(here), verify(Store(here / "results"))
    assert expected != before
    deaths = 0
    for change in range(1, 1000, EVERY):
        fresh()
        if Life(here, change).survived(give):
            break
        deaths += 1
        assert Life(here).survived(give), change
        assert contents(here) == expected, change
        assert verify(Store(here / "results")) == faults, change
    assert deaths
