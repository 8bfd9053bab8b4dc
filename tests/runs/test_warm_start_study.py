"""Studies that start from runs of other studies: what may be written, which run is meant, what is said, end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from small_runs import train_to
from typer.testing import CliRunner

from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.execution.driver import Driver, StudyState, study_state
from grokstudy.orchestrator.root.verify import verify
from grokstudy.orchestrator.runs.trials import Run, Trial, all_trials
from grokstudy.orchestrator.study.errors import StudyError
from grokstudy.orchestrator.study.load import load_study
from grokstudy.orchestrator.study.sections import StartFrom
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.pack import Pack

BASE = """\
  data: {entities: 20, relations: 8, out_degree: 5, ood_fraction: 0.2, phi: 2.0}
  model: {layers: 1, width: 16, heads: 2}
"""
SOURCE = f"""\
base:
{BASE}
  train: {{steps: 40, batch: 32, checkpoint_every: 20}}
  eval: {{every: 10, probes: []}}
space: {{data.exposure: [natural, both_hops]}}
seeds: [0, 1]
events:
  falling: {{metric: loss, split: train_ii, at_most: 3.32, for: 1}}
  solved: {{metric: accuracy, split: train_ii, at_least: 0.99}}
"""
TRANSFER = f"""\
hypothesis: it goes on
base:
  task: two_hop_transfer
{BASE}
  train: {{steps: 20, batch: 32}}
  eval: {{every: 10, probes: [circuit]}}
space:
  source:
    scratch: {{start_from: null}}
    step: {{start_from: {{study: origin, step: 30}}}}
    event: {{start_from: {{study: origin, event: falling}}}}
    never: {{start_from: {{study: origin, event: solved}}}}
"""
SIZES = "  data: {new_facts: 10, retained: 60, "
TRANSFER = TRANSFER.replace("  data: {", SIZES)


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def train_in(store: Store, folder: Path, name: str, text: str) -> StudyState:
    """What `grokstudy run` does, without Ray."""

    def execute(runs: list[Run]) -> None:
        for run in runs:
            pack = Pack([run.config], store)
            while not pack.finished:
                pack.advance(60.0)

    study = load_study(put(folder, name, text))
    return Driver(study, store).train(execute)


def look(store: Store, folder: Path, text: str) -> StudyState:
    study = load_study(put(folder, "other", text))
    return study_state(study, store)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A root with the source study, trained."""
    folder = tmp_path_factory.mktemp("origin")
    store = Store(folder / "root")
    assert train_in(store, folder, "origin", SOURCE).finished()
    return store


def reason(state: StudyState, number: int = 0) -> str:
    without = state.trials[number].no_start
    assert without is not None, state.trials[number].config.start
    return without.note


def test_a_start_may_stand_in_base_in_an_arm_or_as_an_axis(tmp_path: Path) -> None:
    def starts(text: str) -> list[StartFrom | None]:
        return [trial.start_from for trial in all_trials(load_study(put(tmp_path, "s", text)))]

    early, circuit = StartFrom(study="x", step=9), StartFrom(study="x", event="circuit")
    assert starts("base: {start_from: {study: x, step: 9}}\n") == [early]
    assert starts("base: {start_from: null}\n") == [None]
    assert starts("space: {start_from: {a: {study: x, step: 9}, b: {study: x, event: circuit}, c: null}}\n") == [
        early, circuit, None,
    ]  # fmt: skip
    arms = "space: {how: {a: {model.layers: 1, start_from: {study: x, event: circuit}}, b: {}}}\n"
    assert starts(f"base: {{start_from: {{study: x, step: 9}}}}\n{arms}") == [circuit, early]


def test_the_start_is_part_of_the_question(tmp_path: Path) -> None:
    texts = [f"base: {{start_from: {{study: x, step: {step}}}}}\n" for step in (9, 10)]
    hashes = {load_study(put(tmp_path, "s", text)).spec_hash for text in (*texts, "seeds: [0]\n")}
    assert len(hashes) == 3
    assert load_study(put(tmp_path, "s", texts[0])).to_json()["base"]["start_from"] == {"study": "x", "step": 9}


@pytest.mark.parametrize(
    ("text", "place", "fragment"),
    [
        ("base: {start_from: {study: x}}\n", "base.start_from", "needs either event or step, and neither is given"),
        ("base: {start_from: {study: x, step: 1, event: e}}\n", "base.start_from", "and both are given"),
        ("base: {start_from: {step: 1}}\n", "base.start_from", "study is missing"),
        ("base: {start_from: {study: x, steps: 1}}\n", "base.start_from.steps", "did you mean 'step'?"),
        ("base: {start_from: {study: x, step: 1, state: al}}\n", "base.start_from.state", "did you mean 'all'?"),
        ("base: {start_from: {study: x, step: -1}}\n", "base.start_from.step", "must be at least 0"),
        ("base: {start_from: x}\n", "base.start_from", "should be a mapping of study, event, step"),
        ("base: {start_from: {study: s, step: 1}}\n", "base.start_from.study", "is this study itself"),
        ("base: {start_form: {study: x, step: 1}}\n", "base.start_form", "did you mean 'start_from'?"),
        ("space: {start_from: {study: x, step: 1}}\n", "space.start_from", "one start is not an axis"),
        ("space: {start_from: {a: {study: x, step: 1.5}}}\n", "space.start_from.a.step", "must be a whole number"),
        ("space: {start_from: {}}\n", "space.start_from", "has no starts"),
        ("space: {m: {a: {start_from: {study: 3, step: 1}}}}\n", "space.m.a.start_from.study", "must be text"),
        ("space: {start_from: {a: null}, m: {b: {start_from: null}}}\n", "space.m", "already varied in line 1"),
        (
            "events: {e: {metric: loss, split: new, at_most: 1}}\n",
            "events.e.split",
            "task two_hop has no 'new'; it has",
        ),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, text: str, place: str, fragment: str) -> None:
    with pytest.raises(StudyError) as caught:
        load_study(put(tmp_path, "s", text))
    (mistake,) = caught.value.mistakes
    assert mistake.key == place
    assert fragment in mistake.message
    assert mistake.line == 1


def test_a_transfer_study_goes_from_its_file_to_its_answer(origin: Store, tmp_path: Path) -> None:
    sources = [path for path in origin.list("runs") if origin.exists(f"{path}/DONE.json")]
    before = {path: origin.read(path) for path in origin.list("runs", recursive=True) if path.endswith(".json")}
    done = train_in(origin, tmp_path, "moved", TRANSFER)
    assert done.finished()
    assert {path: origin.read(path) for path in before} == before
    assert len(done.runs) == 3
    scratch, step, event, never = done.trials
    assert scratch.config.start is None
    assert never.run_id is None
    assert step.config.start is not None
    assert event.config.start is not None
    assert step.config.start.run_id == event.config.start.run_id
    assert f"runs/{step.config.start.run_id}" in sources
    assert step.config.start.step == 30
    losses = {
        row["step"]: row["loss"]
        for row in records.read(RunDir(origin, event.config.start.run_id), "evals").to_pylist()
        if row["split"] == "train_ii"
    }
    assert event.config.start.step == min(at for at, loss in losses.items() if loss <= 3.32) == 20
    found = {row["split"] for row in records.read(RunDir(origin, event.config.run_id), "probes").to_pylist()}
    assert {"new_old", "old_new", "new_new"} <= found
    assert not verify(origin)

    table = pq.read_table(Path(origin.path("studies/moved/trials.parquet"))).to_pylist()
    assert [row["state"] for row in table] == ["done", "done", "done", "no_start"]
    assert [row["start.step"] for row in table] == [None, 30, event.config.start.step, None]
    assert table[3]["start.note"].startswith("event solved not reached by step 40 in run ")
    told = CliRunner().invoke(app, ["report", "moved", "--root", origin.uri])
    assert told.exit_code == 0, told.output
    assert "1 trials without a start" in told.output
    assert "not applicable" in told.output
    page = origin.read("studies/moved/report/index.html").decode()
    assert "event solved not reached by step 40" in page
    again = CliRunner().invoke(app, ["run", str(tmp_path / "moved.yaml"), "--root", origin.uri, "--no-report"])
    assert again.exit_code == 0, again.output
    assert "moved-00003-s0 (source=never): event solved not reached" in again.output


def test_a_fork_agrees_with_the_base_and_its_arms_say_what_changes(origin: Store, tmp_path: Path) -> None:
    arms = "{control: {}, no_decay: {optim.weight_decay: 0.0}, withdrawn: {data.exposure: natural}}"
    base = (
        SOURCE.split("space:")[0].replace("phi: 2.0", "phi: 2.0, exposure: both_hops").replace("steps: 40", "steps: 20")
    )
    text = base + f"  start_from: {{study: origin, step: 20, state: all}}\nspace: {{arm: {arms}}}\n"
    study = load_study(put(tmp_path, "forked", text))
    assert study.to_json()["base"]["start_from"] == {"study": "origin", "step": 20, "state": "all"}
    state = study_state(study, origin)
    starts = [trial.config.start for trial in state.trials]
    assert starts[0] is not None
    assert starts == [starts[0]] * 3
    source = RunDir(origin, starts[0].run_id)
    config = source.config()
    assert config is not None
    assert config.data.exposure == "both_hops"
    assert len(state.runs) == 3

    (control, *_) = train_in(origin, tmp_path, "forked", text).runs
    ours = records.read(RunDir(origin, control.run_id), "evals").to_pylist()
    theirs = [row for row in records.read(source, "evals").to_pylist() if row["step"] >= 20]
    assert ours == [{**row, "step": row["step"] - 20} for row in theirs]
    assert not verify(origin)


def test_what_waits_is_said_per_trial_and_the_others_can_be_trained(origin: Store, tmp_path: Path) -> None:
    path = put(tmp_path, "late", TRANSFER.replace("step: 30", "step: 50") + "seeds: [0, 5]\n")
    planned = CliRunner().invoke(app, ["plan", str(path), "--root", origin.uri])
    assert planned.exit_code == 0, planned.output
    assert "late-00001-s0 (source=step): run " in planned.output
    assert "has 40 of 50 steps; run origin, or extend it with --steps 50" in planned.output
    assert "late-00002-s5 (source=event): no run of study origin that has begun agrees" in planned.output
    assert "seed is 0 there, not 5" in planned.output
    looked = CliRunner().invoke(app, ["status", str(path), "--root", origin.uri, "--json"])
    without = {row["trial_id"]: row["state"] for row in json.loads(looked.output)["without_start"]}
    assert len(without) == 5
    assert without["late-00003-s0"] == "no_start"
    state = study_state(load_study(path), origin)
    assert state.waits
    assert [trial.trial_id for run in state.runs for trial in run.trials] == [
        "late-00000-s0", "late-00000-s5", "late-00002-s0",
    ]  # fmt: skip


def test_nothing_to_train_but_trials_that_wait_ends_as_resumable(store: Store, tmp_path: Path) -> None:
    path = put(tmp_path, "early", "base: {start_from: {study: origin, step: 30}}\n")
    ended = CliRunner().invoke(app, ["run", str(path), "--root", store.uri])
    assert ended.exit_code == 3, ended.output
    assert f"study origin is not in {store.uri}; run it there first" in ended.output


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        (("width: 16", "width: 32"), "model.width is 16 there, not 32"),
        (("phi: 2.0", "phi: 1.5"), "data.phi is 2.0 there, not 1.5"),
        (("event: falling", "event: fallin"), "study origin has no event 'fallin'; did you mean 'falling'?"),
    ],
)
def test_why_no_run_is_meant(origin: Store, tmp_path: Path, change: tuple[str, str], fragment: str) -> None:
    assert fragment in reason(look(origin, tmp_path, TRANSFER.replace(*change)), 2)


def test_of_runs_that_agree_the_one_with_the_same_options_is_meant(store: Store, tmp_path: Path) -> None:
    text = SOURCE.replace("data.exposure: [natural, both_hops]", "optim.lr: [0.001, 0.01]").replace("[0, 1]", "[0]")
    trained = train_in(store, tmp_path, "origin", text)
    base = TRANSFER.split("space:")[0] + "  start_from: {study: origin, step: 40}\n"
    assert "2 runs of study origin agree with the trial and differ in optim.lr" in reason(look(store, tmp_path, base))
    (trial,) = look(store, tmp_path, base + "  optim: {lr: 0.01}\n").trials
    assert trial.config.start is not None
    assert trial.config.start.run_id == trained.runs[1].run_id


def test_a_source_whose_description_is_torn_has_not_begun(store: Store, tmp_path: Path) -> None:
    text = SOURCE.replace("[natural, both_hops]", "[natural]").replace("[0, 1]", "[0]")
    (run,) = train_in(store, tmp_path, "origin", text).runs
    store.write(f"runs/{run.run_id}/run.json", b"{")
    assert "no run of study origin has begun; run it first" in reason(look(store, tmp_path, TRANSFER), 1)


def test_an_unfinished_source_is_waited_for(store: Store, tmp_path: Path) -> None:
    study = load_study(put(tmp_path, "origin", SOURCE.replace("[0, 1]", "[0]")))

    def killed(runs: list[Run]) -> None:
        pack = Pack([runs[0].config], store)
        train_to(pack, 25)
        pack.writer.flush()

    Driver(study, store).train(killed)
    state = look(store, tmp_path, TRANSFER)
    assert "has 20 of 30 steps" in reason(state, 1)
    assert "is interrupted at step 20; run origin first" in reason(state, 2)
    early = look(store, tmp_path, TRANSFER.replace("step: 30", "step: 20"))
    assert early.trials[1].config.start is not None


def test_a_study_in_another_root_keeps_its_runs_without_their_sources(origin: Store, tmp_path: Path) -> None:
    one = TRANSFER.replace("    never: {start_from: {study: origin, event: solved}}\n", "")
    assert train_in(origin, tmp_path, "carried", one).finished()
    tar, there = tmp_path / "carried.tar", Store(tmp_path / "there")
    for words in (["export", "carried", str(tar), "--root", origin.uri], ["import", str(tar), "--root", there.uri]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    kept = study_state(load_study(tmp_path / "carried.yaml"), there)
    assert kept.finished()
    assert len(kept.runs) == 3
    changed = load_study(put(tmp_path, "carried", one.replace("step: 30", "step: 31")))
    state = study_state(changed, there)
    assert [trial.trial_id for trial in state.without_start] == ["carried-00001-s0"]


def test_a_trial_without_a_start_has_no_run(origin: Store, tmp_path: Path) -> None:
    (*_, never) = look(origin, tmp_path, TRANSFER).trials
    assert isinstance(never, Trial)
    assert never.no_start is not None
    assert (never.run_id, never.no_start.state) == (None, "no_start")
