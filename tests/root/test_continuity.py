"""Every part of every table: that it is missed, and that what `verify` says to do brings its rows back."""

from __future__ import annotations

import io
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import SMALL
from small_runs import TWO_RUNS, train
from typer.testing import CliRunner

from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.root.compact import compact
from grokstudy.orchestrator.root.verify import verify
from grokstudy.orchestrator.root.verify_run import AGAIN, ANEW
from grokstudy.orchestrator.runs.state import read_states
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.measurements import is_share
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage import checkpoint, records
from grokstudy.trainables.storage.run_dir import RunDir, run_ids, run_of
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.pack import Pack

Small = Callable[..., RunConfig]
PROBED = {"train": {"steps": 50, "batch": 32, "checkpoint_every": 20}, "eval": {"every": 10, "probes": ["logit_lens"]}}
"""Parts at 0, 20, 40 and, with the last evaluation alone, at 50."""
STARTS = (0, 20, 40, 50)
PARTS = [(table, start) for table in TABLES for start in STARTS if (table, start) != ("steps", 50)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of one finished run with probes, to be copied."""
    folder = tmp_path_factory.mktemp("whole") / "root"
    ask(train(probed(), Store(folder)))
    return folder


def probed(steps: int = 50) -> RunConfig:
    """The run of these tests, trained to other lengths, too."""
    return RunConfig.from_dict({**SMALL, **PROBED}).with_steps(steps)


def ask(run: RunDir) -> None:
    """A study that asks for this run."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"run_id": [run.run_id]}), buffer)
    run.store.write("studies/s/trials.parquet", buffer.getvalue())
    run.store.write("studies/s/study.yaml", b"hypothesis: x\n")


def copied(root: Path, to: Path) -> RunDir:
    shutil.copytree(root, to)
    return RunDir(Store(to), probed().run_id)


def rows(run: RunDir) -> dict[str, pa.Table]:
    return {name: records.read(run, name).drop_columns(["attempt"]) for name in TABLES}


def follow_the_remedy(run: RunDir, config: RunConfig | None = None) -> None:
    """Remove DONE.json, if any, and train again, which `grokstudy run` does with a run that has not ended."""
    run.clear("DONE.json")
    steps = (config or probed()).train.steps
    assert read_states(run.store, {run.run_id: steps}, False)[run.run_id].state == "interrupted"
    with warnings.catch_warnings(action="ignore"):
        train(config or probed(), run.store)


@pytest.mark.parametrize(("table", "start"), PARTS)
def test_a_lost_part_is_named_and_the_remedy_brings_its_rows_back(
    whole: Path, tmp_path: Path, table: str, start: int
) -> None:
    run = copied(whole, tmp_path / "root")
    before = rows(run)
    assert records.part_starts(run, table) == [s for s in STARTS if (table, s) in PARTS]
    run.store.delete(run.part(table, start))
    (fault,) = verify(run.store)
    assert (fault.path, fault.kind, fault.remedy) == (run.parts(table), "gap", AGAIN)
    assert f"the first {start}" in fault.detail
    follow_the_remedy(run)
    assert verify(run.store) == []
    assert all(rows(run)[name].equals(before[name]) for name in TABLES)


@pytest.mark.parametrize(
    ("table", "column", "number", "says"),
    [
        ("evals", "accuracy", 7.0, "accuracy is 0 to 7, allowed is 0 to 1"),
        ("evals", "accuracy", -0.5, "allowed is 0 to 1"),
        ("evals", "n", -1, "allowed is 0 or more"),
        ("probes", "value", 1.5, "allowed is 0 to 1"),
        ("steps", "step", -3, "allowed is 0 or more"),
    ],
)
def test_a_number_that_no_run_records_is_named_and_the_remedy_brings_the_right_one(
    whole: Path, tmp_path: Path, table: str, column: str, number: float, says: str
) -> None:
    """Also where rows come from strangers: `import` names what is found here."""
    run = copied(whole, tmp_path / "root")
    before, part = rows(run), records.read_part(run, table, 0)
    shares = [n for n, name in enumerate(part["probe"].to_pylist()) if is_share(name)] if table == "probes" else [0]
    values = part[column].to_pylist()
    values[shares[0]] = number
    place = part.schema.get_field_index(column)
    changed = part.set_column(place, part.schema.field(place), pa.array(values, part.schema.field(place).type))
    run.store.write(run.part(table, 0), records.encode(changed))
    (fault,) = verify(run.store)
    assert (fault.path, fault.kind, fault.remedy) == (run.part(table, 0), "value", ANEW)
    assert says in fault.detail
    run.store.delete(fault.path)
    follow_the_remedy(run)
    assert verify(run.store) == []
    assert all(rows(run)[name].equals(before[name]) for name in TABLES)


def test_what_is_printed_brings_lost_rows_back(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TWO_RUNS)
    store = Store(tmp_path / "root")
    again = ["run", str(tmp_path / "tiny.yaml"), "--local", "--no-report", "--quiet", "--root", store.uri]
    assert CliRunner().invoke(app, again).exit_code == 0
    parts = [path for path in store.list("metrics", recursive=True) if path.endswith(".parquet")]
    assert len(parts) == 10
    before = {run_id: rows(RunDir(store, run_id)) for run_id in run_ids(store)}
    for path in parts:
        store.delete(path)
        (fault,) = verify(store)
        assert fault.remedy == AGAIN
        run = RunDir(store, str(run_of(path)))
        run.clear("DONE.json")
        with warnings.catch_warnings(action="ignore"):
            assert CliRunner().invoke(app, again).exit_code == 0, path
        assert verify(store) == [], path
        assert all(rows(run)[name].equals(table) for name, table in before[run.run_id].items()), path


@pytest.mark.parametrize("table", TABLES)
def test_a_lost_table_is_named_and_trained_again(whole: Path, tmp_path: Path, table: str) -> None:
    run = copied(whole, tmp_path / "root")
    before = rows(run)
    compact(run.store, [run.run_id])
    run.store.delete(run.part(table, 0))
    assert [(fault.path, fault.kind) for fault in verify(run.store)] == [(run.parts(table), "gap")]
    follow_the_remedy(run)
    assert verify(run.store) == []
    assert all(rows(run)[name].equals(before[name]) for name in TABLES)


@pytest.mark.parametrize(("table", "start"), [("evals", 0), ("evals", 20), ("probes", 0), ("probes", 40)])
def test_a_single_lost_row_is_named_and_written_again(whole: Path, tmp_path: Path, table: str, start: int) -> None:
    run = copied(whole, tmp_path / "root")
    before = rows(run)
    part = records.read_part(run, table, start)
    run.store.write(run.part(table, start), records.encode(pa.concat_tables([part[:3], part[4:]])))
    assert [(fault.path, fault.kind) for fault in verify(run.store)] == [(run.parts(table), "gap")]
    follow_the_remedy(run)
    assert verify(run.store) == []
    assert all(rows(run)[name].equals(before[name]) for name in TABLES)


@pytest.mark.parametrize("table", ["evals", "probes"])
def test_going_on_after_an_interruption_sees_a_lost_part_by_itself(
    whole: Path, tmp_path: Path, table: str
) -> None:  # fmt: skip
    run = train(probed(), Store(tmp_path / "root"), to=40)
    run.store.delete(run.part(table, 20))
    with pytest.warns(UserWarning, match=f"{table}.*training again from 20 or before"):
        pack = Pack([probed()], run.store)
    assert pack.step == 20
    pack.advance(60.0)
    before = rows(copied(whole, tmp_path / "whole"))
    assert all(rows(run)[name].equals(before[name]) for name in TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_a_run_killed_between_the_parts_of_one_commit_is_no_fault(tmp_path: Path, table: str) -> None:
    run = train(probed(), Store(tmp_path / "root"), to=40)
    ask(run)
    assert verify(run.store) == []
    for name in run.store.list(run.checkpoints):
        if "step-000000040" in name:
            run.store.delete(name)
    run.store.delete(run.part(table, 20))
    assert verify(run.store) == [], "the part that was to follow, before the checkpoint"
    run.store.delete(run.part(table, 0))
    assert {(fault.path, fault.kind) for fault in verify(run.store)} == {(run.parts(table), "gap")}


class Moving(Store):
    """A root in which a run commits between two folders of a listing: the checkpoint is seen, its rows are not."""

    def list(self, relative: str, *, recursive: bool = False) -> list[str]:
        """All, but for the newest parts when the whole root is listed."""
        found = super().list(relative, recursive=recursive)
        return [path for path in found if relative or "part-000000020" not in path]


def test_a_run_that_moves_on_while_it_is_listed_is_no_fault(tmp_path: Path) -> None:
    ask(train(probed(), Store(tmp_path / "root"), to=40))
    assert verify(Moving(tmp_path / "root")) == []


def test_a_checkpoint_that_is_newer_than_the_rows_is_named(tmp_path: Path) -> None:
    run = train(probed(), Store(tmp_path / "root"), to=40)
    ask(run)
    for table in TABLES:
        run.store.delete(run.part(table, 20))
    faults = verify(run.store)
    assert {fault.path for fault in faults} == {run.parts(table) for table in TABLES}
    assert {fault.kind for fault in faults} == {"gap"}


def test_a_run_that_diverged_misses_its_evaluations_too(small: Small, tmp_path: Path) -> None:
    config = small(**{**PROBED, "optim": {"lr": 1e18, "warmup": 0}})
    run = train(config, Store(tmp_path / "root"))
    ask(run)
    assert (run.read("DONE.json") or {})["reason"] == "diverged"
    assert verify(run.store) == []
    before = rows(run)
    for table in ("evals", "probes"):
        run.store.delete(run.part(table, 0))
        assert [(fault.path, fault.kind) for fault in verify(run.store)] == [(run.parts(table), "gap")]
        follow_the_remedy(run, config)
        assert verify(run.store) == []
        assert rows(run)[table].equals(before[table])


def test_a_run_that_was_stopped_is_held_to_what_it_reached(tmp_path: Path) -> None:
    run = train(probed(), Store(tmp_path / "root"), to=40)
    ask(run)
    run.write("DONE.json", {"step": 40, "reason": "stopped"})
    assert verify(run.store) == []
    for table in TABLES:
        kept = run.store.read(run.part(table, 20))
        run.store.delete(run.part(table, 20))
        assert [(fault.path, fault.kind) for fault in verify(run.store)] == [(run.parts(table), "gap")]
        run.store.write(run.part(table, 20), kept)


def test_an_evaluation_that_only_a_shorter_run_made_is_named(tmp_path: Path) -> None:
    run = train(probed(steps=45), Store(tmp_path / "root"))
    ask(run)
    assert verify(run.store) == []
    leftover = run.store.read(run.part("evals", 45))
    train(probed(), run.store)
    assert verify(run.store) == []
    run.store.write(run.part("evals", 45), leftover)
    assert [(fault.path, fault.kind) for fault in verify(run.store)] == [(run.parts("evals"), "stray")]
    follow_the_remedy(run)
    assert verify(run.store) == []
    assert rows(run)["evals"]["step"].to_pylist()[-8:] == [40] + [50] * 7


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, bytes]]:
    """The files of a root at several times: in training, done, merged, extended, done again."""
    store = Store(tmp_path_factory.mktemp("moments") / "root")
    seen = []
    for act in (
        lambda: train(probed(steps=45), store, to=20),
        lambda: train(probed(steps=45), store, to=40),
        lambda: train(probed(steps=45), store),
        lambda: compact(store, [probed().run_id]),
        lambda: train(probed(steps=70), store, to=60),
        lambda: train(probed(steps=70), store),
    ):
        act()
        seen.append(contents(store))
    return seen


def contents(store: Store) -> dict[str, bytes]:
    files = [path for path in store.list("", recursive=True) if Path(path).suffix]
    return {path: store.read(path) for path in files}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    """The rows of the run that was trained in one go."""
    return rows(train(probed(steps=70), Store(tmp_path_factory.mktemp("expected") / "root")))


def mixed(earlier: dict[str, bytes], later: dict[str, bytes], chance: random.Random) -> dict[str, bytes]:
    """Each file as it was at one of two times, if it was there then."""
    choice = {path: chance.choice([earlier, later]) for path in sorted({*earlier, *later})}
    return {path: moment[path] for path, moment in choice.items() if path in moment}


@pytest.mark.parametrize("seed", range(30))
def test_a_root_copied_while_it_was_written_ends_whole_or_says_what_it_lacks(
    moments: list[dict[str, bytes]], expected: dict[str, pa.Table], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    earlier, later = sorted(chance.sample(range(len(moments)), 2))
    store = Store(tmp_path / "root")
    run = RunDir(store, probed().run_id)
    ask(run)
    for path, content in mixed(moments[earlier], moments[later], chance).items():
        store.write(path, content)
    silent = verify(store) == []
    if silent and (run.read("DONE.json") or {}).get("step") == 70:
        assert all(rows(run)[name].equals(expected[name]) for name in TABLES), "nothing said, and not whole"
    with warnings.catch_warnings(action="ignore"):
        train(probed(steps=70), store)
    assert verify(store) == []
    assert all(rows(run)[name].equals(expected[name]) for name in TABLES)
    assert checkpoint.steps(run)[-1] == 70
