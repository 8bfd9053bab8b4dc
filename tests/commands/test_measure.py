"""`grokstudy measure`, and what `run` and `plan` make of training that other runs of the root have done."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.execution.driver import study_state
from grokstudy.orchestrator.root.gc import garbage
from grokstudy.orchestrator.root.verify import verify
from grokstudy.orchestrator.study.load import load_study
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import RunDir, run_ids, run_of
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.versions import installed

FIRST = """\
hypothesis: measured once
base:
  data: {entities: 20, relations: 8, out_degree: 5, ood_fraction: 0.2, phi: 2.0}
  model: {layers: 1, width: 16, heads: 2}
  train: {steps: 60, batch: 32, checkpoint_every: 20}
  eval: {every: 20, probes: [logit_lens]}
space: {data.exposure: [natural, both_hops]}
seeds: [0]
resources: {pack: PACK}
"""
SECOND = FIRST.replace("every: 20, probes: [logit_lens]", "every: 15, probes: [cqsp]").replace("once", "again")
REPLAYED, JUMPED = 30, 30
"""Of each run of SECOND: evaluated at 15, 30, 45 and 60, with checkpoints at 20, 40 and 60."""
ALONE = ("--local", "--workers", "1", "--no-report")


def put(folder: Path, name: str, text: str, pack: int = 1) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text.replace("PACK", str(pack)))
    return path


def grokstudy(command: str, study: Path, root: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [command, str(study), "--root", str(root), *words])


def orphans(store: Store) -> set[str | None]:
    return {run_of(item.path) for item in garbage(store, orphans=True)}


def rows(study: Path, root: Path) -> dict[tuple[str, str], object]:
    store = Store(root)
    return {
        (run_id, table): records.read(RunDir(store, run_id), table).drop_columns(["attempt"]).to_pydict()
        for run_id in study_state(load_study(study), store).ledger.runs
        for table in TABLES
    }


@pytest.mark.parametrize(
    ("pack", "words"),
    [
        (1, ("measure", *ALONE)),
        (2, ("measure", *ALONE)),
        (2, ("run", *ALONE)),
        (1, ("measure", "--local", "--workers", "2", "--no-report")),
        pytest.param(2, ("measure", "--ray", "--no-report"), marks=pytest.mark.slow),
    ],
)
def test_both_ways_leave_the_same_rows(tmp_path: Path, pack: int, words: tuple[str, ...]) -> None:
    first, second = put(tmp_path, "first", FIRST, pack), put(tmp_path, "second", SECOND, pack)
    root, alone = tmp_path / "root", tmp_path / "alone"
    assert grokstudy("run", first, root, *ALONE).exit_code == 0
    plan = json.loads(grokstudy("plan", second, root, "--json").stdout)
    assert (plan["runs_todo"], plan["runs_measured"], plan["steps_todo"]) == (2, 2, 0)
    assert (plan["steps_replayed"], plan["steps_jumped"]) == (2 * REPLAYED, 2 * JUMPED)
    done = grokstudy(words[0], second, root, *words[1:])
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert "2 runs to measure anew (60 steps to replay, 60 to jump over), 0 already done" in said
    assert grokstudy("run", second, alone, *ALONE).exit_code == 0
    assert rows(second, root) == rows(second, alone)
    assert verify(Store(root)) == []


def test_plan_says_what_is_measured_and_what_is_trained(tmp_path: Path) -> None:
    first, root = put(tmp_path, "first", FIRST), tmp_path / "root"
    assert grokstudy("run", first, root, *ALONE).exit_code == 0
    longer = SECOND.replace("seeds: [0]", "seeds: [0, 1]").replace("steps: 60", "steps: 90")
    shown = grokstudy("plan", put(tmp_path, "longer", longer), root).stdout
    assert "4, of which 4 to train" in shown, "none is there to its end"
    assert "240 steps; 60 to replay and 60 to jump over, trained before" in shown
    shown = grokstudy("plan", put(tmp_path, "more", SECOND.replace("seeds: [0]", "seeds: [0, 1]")), root).stdout
    assert "4, of which 2 to train, 2 to measure anew" in shown
    assert "120 steps; 60 to replay and 60 to jump over, trained before" in shown


def test_what_nobody_has_trained_is_named_and_not_trained(tmp_path: Path) -> None:
    first, second, root = put(tmp_path, "first", FIRST), put(tmp_path, "second", SECOND), tmp_path / "root"
    refused = grokstudy("measure", second, root, *ALONE)
    assert refused.exit_code == 2
    assert "2 runs (" in refused.stderr
    assert "cannot be measured before 120 steps are trained, which grokstudy run does" in refused.stderr
    assert not root.exists()
    assert grokstudy("run", first, root, *ALONE).exit_code == 0
    more = put(tmp_path, "second", SECOND.replace("seeds: [0]", "seeds: [0, 1]"))
    partly = grokstudy("measure", more, root, *ALONE)
    assert partly.exit_code == 3
    assert "cannot be measured before 120 steps are trained" in partly.stderr
    counts = study_state(load_study(more), Store(root)).ledger.counts()
    assert counts == {"done": 2, "missing": 2}
    assert grokstudy("run", more, root, *ALONE).exit_code == 0
    assert grokstudy("measure", more, root, *ALONE).exit_code == 0


def test_another_engine_or_torch_is_no_sibling(tmp_path: Path) -> None:
    first, second, root = put(tmp_path, "first", FIRST), put(tmp_path, "second", SECOND), tmp_path / "root"
    assert grokstudy("run", first, root, *ALONE).exit_code == 0
    store = Store(root)
    changes: list[dict[str, object]] = [{"engine": "compile"}, {"versions": {"torch": "1.0"}}]
    for run_id, change in zip(store.list("runs"), changes, strict=True):
        store.write_json(f"{run_id}/run.json", {**(store.read_json(f"{run_id}/run.json") or {}), **change})
    plan = json.loads(grokstudy("plan", second, root, "--json").stdout)
    assert (plan["runs_measured"], plan["steps_todo"], plan["steps_replayed"]) == (0, 120, 0)


def test_orphans_stay_while_a_study_may_be_measured_on_them(tmp_path: Path) -> None:
    study, root = put(tmp_path, "study", FIRST), tmp_path / "root"
    assert grokstudy("run", study, root, *ALONE).exit_code == 0
    store = Store(root)
    old = set(run_ids(store))
    put(tmp_path, "study", SECOND)
    assert grokstudy("measure", study, root, *ALONE, "--yes").exit_code == 0
    assert orphans(store) == old
    one = (set(run_ids(store)) - old).pop()
    store.delete(f"runs/{one}/DONE.json")
    assert len(orphans(store)) == 1, "the other may be needed"
    shutil.rmtree(root / "runs" / one)
    assert len(orphans(store) - {one}) == 1, "by what the study asks for"


@pytest.mark.filterwarnings("ignore:.*trained without it")  # as a processor may do where torch rounds otherwise
def test_runs_of_an_earlier_root_are_measured_anew(tmp_path: Path) -> None:
    earlier, root = Path(__file__).parents[1] / "data/root_5c011ec", tmp_path / "root"
    shutil.copytree(earlier, root)
    store = Store(root)
    torch = {(RunDir(store, run_id).read("run.json") or {})["versions"]["torch"] for run_id in run_ids(store)}
    text = (root / "studies/before_rooms/study.yaml").read_text()
    study = put(tmp_path, "denser", text.replace("every: 20", "every: 10"))
    plan = json.loads(grokstudy("plan", study, root, "--json").stdout)
    measured = 2 if torch == {installed("torch")["torch"]} else 0
    assert (plan["runs_measured"], plan["steps_replayed"] + plan["steps_jumped"]) == (measured, 60 * measured)
    done = grokstudy("run", study, root, *ALONE)
    assert done.exit_code == 0, done.output
    assert grokstudy("run", study, tmp_path / "alone", *ALONE).exit_code == 0
    assert rows(study, root) == rows(study, tmp_path / "alone")
