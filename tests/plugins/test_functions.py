"""Training functions from outside: they get what the built-in loop has, and what is wrong with one is told in words."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner

from grokstudy.analysis.tables.study import load
from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.execution.driver import Driver
from grokstudy.orchestrator.execution.executor import Executor
from grokstudy.orchestrator.study.errors import StudyError
from grokstudy.orchestrator.study.json_schema import study_schema
from grokstudy.orchestrator.study.load import load_study
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables import plugins
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.events import Event
from grokstudy.trainables.functions import Trainable
from grokstudy.trainables.storage import checkpoint, records
from grokstudy.trainables.storage.retention import KEEP, Keep
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import DamagedError, Store
from grokstudy.trainables.training.function import FunctionPack
from grokstudy.trainables.training.outside import skeleton

EXAMPLE = Path(__file__).resolve().parents[2] / "docs/examples/gpt2"
MLP = skeleton("train.py")
COUNTING = MLP.replace("prefix_stable=True", 'columns={"seen": int}, prefix_stable=True').replace(
    "loss=loss.item())\n", "loss=loss.item(), seen=(step + 1) * config.train.batch)\n"
)
DATA = "{entities: 20, relations: 8, out_degree: 5, ood_fraction: 0.2, phi: 2.0}"
STUDY = f"""\
hypothesis: a perceptron learns nothing that it was not told
base:
  trainable: ./train.py:train
  data: {DATA}
  own: {{hidden: 16}}
  optim: {{lr: 0.01}}
  train: {{steps: 20, batch: 16, checkpoint_every: 5}}
  eval: {{every: 10, max_examples: 30}}
space:
  own.hidden: [8, 16]
events:
  memorised: {{metric: accuracy, split: train_ii, at_least: 0.9}}
  long: {{metric: embedding_norm, split: test_oo, at_least: 1}}
"""


def put(folder: Path, study: str = STUDY, code: str = COUNTING) -> Path:
    """A study and its training function; returns the study's file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(code)
    (folder / "own.yaml").write_text(study)
    return folder / "own.yaml"


def config_of(folder: Path, code: str = COUNTING, **train: Any) -> RunConfig:
    put(folder, code=code)
    name = plugins.from_file("./train.py:train", folder)
    config = RunConfig.from_dict({
        "data": yaml.safe_load(DATA), "trainable": Trainable.of(name).to_json(),
        "train": {"steps": 12, "batch": 16, "checkpoint_every": 3, **train}, "eval": {"every": 4, "max_examples": 20},
    })  # fmt: skip
    assert config.problems() == []
    return config


def launched(study: Study, root: Path, kind: str = "local") -> None:
    Driver(study, store := Store(root)).train(
        lambda runs: Executor(kind, 1, False).launch(study, runs, store, lambda _: None, print)
    )


def finished(config: RunConfig, folder: Path, keep: Keep = KEEP) -> RunDir:
    pack = FunctionPack(config, Store(folder), "cpu", keep=keep)
    pack.advance(math.inf)
    assert pack.finished
    return RunDir(Store(folder), config.run_id)


def rows(run: RunDir, *without: str) -> dict[str, list[dict[str, Any]]]:
    tables = {table: records.read(run, table).drop([*without]) for table in ("steps", "evals", "probes")}
    return {table: found.to_pylist() for table, found in tables.items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the study, trained on this machine without Ray."""
    folder = tmp_path_factory.mktemp("own")
    launched(load_study(put(folder / "study")), folder / "root")
    return folder


def said(*words: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == code, done.output
    return done.output


@pytest.mark.slow
def test_its_tables_hold_every_row_and_its_own_columns(trained: Path) -> None:
    tables = load(trained / "root", "own")
    steps = tables.steps.collect()
    assert steps.height == 2 * 20
    assert steps["seen"].to_list() == [16 * (step + 1) for step in steps["step"]]
    assert steps["seen"].dtype == pl.Int64
    assert steps["grad_norm"].null_count() == steps.height, "what it does not know is missing, not 0"
    assert tables.evals.collect().group_by("trial_id", "step").len()["len"].to_list() == [7] * 2 * 3
    assert {*tables.probes.collect()["probe"]} == {"embedding_norm"}
    found = tables.events.filter(event="long").select("state", "time").collect()
    assert found.rows() == [("observed", 0.0)] * 2, found
    for words in (("verify",), ("compact",), ("verify",)):
        said(*words, "--root", trained / "root")
    query = "SELECT max(seen) AS most, max(lr) AS lr FROM steps"
    assert json.loads(said("query", query, "--study", "own", "--json", "--root", trained / "root")) == [
        {"most": 320, "lr": None}
    ]


@pytest.mark.slow
def test_a_plan_measures_it_and_a_longer_run_goes_on(trained: Path) -> None:
    path, root = trained / "study/own.yaml", trained / "root"
    plan = json.loads(said("plan", path, "--root", root, "--set", "train.steps=30", "--json"))
    assert (plan["steps_needed"], plan["steps_todo"], plan["parameters"]) == (60, 20, None)
    assert plan["checkpoint_bytes"] > 0
    assert plan["code"]["./train.py:train"]["options"] == {"own.hidden": "varied"}
    launched(load_study(path, ["train.steps=30"]), root)
    attempts = load(root, "own").steps.group_by("trial_id", "attempt").len().sort("attempt").collect()
    assert attempts["len"].to_list() == [20, 20, 10, 10]


@pytest.mark.slow
def test_on_ray_it_is_the_same(trained: Path, tmp_path: Path) -> None:
    launched(load_study(put(tmp_path / "study")), tmp_path / "root", "ray")
    for path in sorted((tmp_path / "root/runs").iterdir()):
        ray, local = (RunDir(Store(root), path.name) for root in (tmp_path / "root", trained / "root"))
        losses = [records.read(run, "steps")["loss"].to_pylist()[:20] for run in (ray, local)]
        assert losses[0] == losses[1]


def test_interrupted_anywhere_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    whole = rows(finished(config, tmp_path / "whole"), "attempt")
    assert [row["step"] for row in whole["steps"]] == list(range(12))
    for stop in range(0, 12, 2):
        for asked in (True, False):
            root = tmp_path / f"{stop}-{asked}"
            pack = FunctionPack(config, Store(root), "cpu")
            while pack.step < stop:
                pack.advance(0.0)
            if asked:
                pack.checkpoint_now()
            else:
                pack.writer.flush()  # what a process that dies here has written
            again = FunctionPack(config, Store(root), "cpu")
            assert again.step == (stop if asked else stop // 3 * 3)
            again.advance(math.inf)
            assert rows(RunDir(Store(root), config.run_id), "attempt") == whole


@pytest.mark.parametrize("column", ["step", "attempt", "loss"])
def test_what_no_run_leaves_out_is_no_part_where_it_is_missing(column: str, tmp_path: Path) -> None:
    run = finished(config_of(tmp_path), tmp_path / "root")
    rows = records.read_part(run, "steps", 0)
    values = [None, *rows[column].to_pylist()[1:]]
    torn = rows.set_column(rows.schema.names.index(column), column, pa.array(values, rows.schema.field(column).type))
    run.store.write(run.part("steps", 0), records.encode(torn))
    with pytest.raises(DamagedError, match="cannot be read"):
        records.read_part(run, "steps", 0)


def test_a_run_that_diverges_ends_there(tmp_path: Path) -> None:
    code = COUNTING.replace("loss=loss.item(),", "loss=loss.item() if step < 5 else float('nan'),")
    run = finished(config_of(tmp_path, code), tmp_path / "root")
    done = run.read("DONE.json") or {}
    assert (done["step"], done["reason"]) == (5, "diverged")
    assert records.read(run, "steps").num_rows == 5


def test_where_an_event_begins_its_state_is_kept(tmp_path: Path) -> None:
    event = Event(metric="embedding_norm", split=("test_oo",), at_least=0.0)
    run = finished(config_of(tmp_path, steps=8, checkpoint_every=1000), tmp_path / "root", Keep((event,), None, False))
    assert checkpoint.steps(run) == [8]  # it begins at step 0, which a seed gives
    code = COUNTING.replace("model[0].weight.norm().item(), split", "float(step), split")
    late = Event(metric="embedding_norm", split=("test_oo",), at_least=3.0)
    config = config_of(tmp_path / "late", code, steps=12, checkpoint_every=1000)
    assert checkpoint.steps(finished(config, tmp_path / "root", Keep((late,), None, False))) == [4, 12]


def test_frozen_it_keeps_a_checkpoint_and_ends_its_thread(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    pack = FunctionPack(config, Store(tmp_path / "root"), "cpu")
    while pack.step < 5:
        pack.advance(0.0)
    pack.freeze([config.run_id])
    assert (pack.finished, pack.progress()[0].outcome, pack.progress()[0].step) == (True, "frozen", 5)
    assert checkpoint.steps(RunDir(Store(tmp_path / "root"), config.run_id)) == [3, 5]
    assert pack._thread is not None
    pack._thread.join(10)
    assert not pack._thread.is_alive()


def test_a_loop_of_its_own_may_ask_for_itself(tmp_path: Path) -> None:
    """As callbacks of a Trainer do, which cannot be turned inside out."""
    own = """\
    step = run.step
    while True:
        run.checkpoint(step, save)
        if run.evaluates(step):
            evaluate(step)
        if step == run.horizon or run.should_stop:
            return
        batch = run.batch(step)
        loss = F.cross_entropy(model(batch.inputs_MBx[0]), batch.target_MBAx[0, :, 0])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        run.log(step, loss=loss.item())
        step += 1
"""
    code = MLP[: MLP.index("    for step in run.steps")] + own
    turned = finished(config_of(tmp_path / "turned", MLP), tmp_path / "root")
    plain = finished(config_of(tmp_path / "plain", code), tmp_path / "root")
    assert rows(plain) == rows(turned)


LOOP = "        run.log(step, loss=loss.item(), seen=(step + 1) * config.train.batch)\n"
EVALUATE = "            run.evaluate(step, name, accuracy=right, loss=F.cross_entropy(logits, target).item())\n"
MEASURE = '            run.measure(step, "embedding_norm", model[0].weight.norm().item(), split=name)\n'
SAVE = '        return {"model": model.state_dict(), "optimiser": optimiser.state_dict()}\n'
BROKEN = {
    "an update is not logged": (LOOP, "        pass\n", "update 0 was not logged; call run.log(0, loss=...) for it"),
    "an update is logged twice": (LOOP, LOOP + LOOP, "log(0): 1 of 12 updates were logged so far"),
    "a column is not declared": (LOOP, LOOP.replace("seen", "sene"), "log: sene is no column; declare it"),
    "a column is of another type": (LOOP, LOOP.replace("(step + 1) * config.train.batch", "'many'"), "log(0): "),
    "a split is forgotten": (
        EVALUATE, EVALUATE.replace("            run", "            if name != 'test_oo': run"),
        "step 0: run.evaluate was not called for test_oo",
    ),
    "a split does not exist": (EVALUATE, EVALUATE.replace("name,", "'oo',"), "'oo' is no split; there are train_ii"),
    "per cent": (EVALUATE, EVALUATE.replace("accuracy=right", "accuracy=50.0"), "accuracy 50.0 is no share"),
    "NaN": (EVALUATE, EVALUATE.replace("accuracy=right", "accuracy=float('nan')"), "accuracy nan is no share"),
    "evaluated when nothing is due": (
        LOOP, f"        run.evaluate(step, 'test_oo', accuracy=1.0)\n{LOOP}", "evaluate(1): no evaluation is due then",
    ),
    "another measurement": (MEASURE, MEASURE.replace("embedding_norm", "norm"), "measure: 'norm' is not declared"),
    "measured now and then": (
        MEASURE, MEASURE.replace("            run", "            if step or name != 'test_oo': run"),
        "is measured at some evaluations only; give None where it is not defined",
    ),
    "a state that cannot be read back": (
        SAVE, SAVE.replace('{"model"', '{"order": [__import__("numpy").zeros(3)], "model"'),
        "save()['order'][0] is ndarray; a checkpoint holds tensors, numbers, words and None",
    ),
    "it returns too early": (LOOP, f"{LOOP}        if step == 3: return\n", "it returned after 4 of 12 updates"),
    "an error of its own": (LOOP, f"        {{}}['nothing']\n{LOOP}", "'nothing'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_a_function_does_wrong_is_told(name: str, tmp_path: Path) -> None:
    old, new, message = BROKEN[name]
    assert old in COUNTING
    config = config_of(tmp_path, COUNTING.replace(old, new))
    pack = FunctionPack(config, Store(tmp_path / "root"), "cpu")
    with pytest.raises((ValueError, TypeError, KeyError), match=re.escape(message)) as caught:
        pack.advance(math.inf)
    if "returned" not in message:
        assert plugins.at_fault(caught.value), "told with the frames of whoever wrote it"


DECLARED = {
    "no declaration": (
        "@trainable(Options,",
        "@(lambda *_, **__: lambda f: f)(Options,",
        "it does not say what it needs",
    ),
    "options that are none": ("@trainable(Options,", "@trainable(int,", "its Options are no dataclass"),
    "a column of ours": ('"seen": int', '"loss": float', "'loss' cannot be a column of its own"),
    "a column of lists": ('"seen": int', '"seen": list', "column seen is list; a column is float, int or str"),
    "a measurement of ours": ('"embedding_norm",), columns', '"iia",), columns', "iia is measured by ours already"),
    "uses what there is not": ('"optim.lr"', '"optim.rate"', "uses optim.rate, which is no option"),
}


@pytest.mark.parametrize("name", DECLARED)
def test_what_a_function_declares_wrongly_is_told_at_its_place(name: str, tmp_path: Path) -> None:
    old, new, message = DECLARED[name]
    assert old in COUNTING
    with pytest.raises(StudyError) as caught:
        load_study(put(tmp_path, code=COUNTING.replace(old, new)))
    found = [mistake for mistake in caught.value.mistakes if message in mistake.message]
    assert [(mistake.line, mistake.key) for mistake in found] == [(3, "base.trainable")], caught.value


STUDIES = {
    "an option that it does not use": (
        "optim: {lr: 0.01}", "optim: {lr: 0.01, beta2: 0.9}", 6, "base.optim.beta2",
        "means nothing for ./train.py:train",
    ),
    "a probe of ours": (
        "max_examples: 30}", "max_examples: 30, probes: [lens]}", 8, "base.eval.probes", "look into models of ours",
    ),
    "an unknown option of its own": (
        "own: {hidden: 16}", "own: {hiden: 16}", 5, "base.own.hiden", "did you mean base.own.hidden?",
    ),
    "an impossible one": ("own.hidden: [8, 16]", "own.hidden: [8, 0]", 10, "space.own.hidden[1]", "at least 1"),
    "no function": (
        "trainable: ./train.py:train", "trainable: mlp", 3, "base.trainable",
        "'mlp' is unknown; write ./train.py:train",
    ),
    "options of none": ("  trainable: ./train.py:train\n", "", 4, "base.own", "are options of a training function"),
    "an event on what nobody measures": (
        "embedding_norm, split", "iia, split", 13, "events.long.metric", "nothing measures iia",
    ),
    "an axis of functions": (
        "own.hidden: [8, 16]", "trainable: [a, b]", 10, "space.trainable", "a study has one trainable, in base",
    ),
    "weights of another run": (
        "space:\n", "space:\n  start_from: {after: {study: other, step: 5}}\n", 10, "space.start_from",
        "is for the built-in loop",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STUDIES)
def test_what_a_study_says_wrongly_is_told_at_its_place(name: str, tmp_path: Path) -> None:
    old, new, line, key, message = STUDIES[name]
    assert old in STUDY
    with pytest.raises(StudyError) as caught:
        load_study(put(tmp_path, STUDY.replace(old, new)))
    assert [(m.line, m.key) for m in caught.value.mistakes if message in m.message] == [(line, key)], caught.value


def test_edited_code_is_another_run_and_ids_hold_without_it(tmp_path: Path) -> None:
    first = config_of(tmp_path / "a")
    assert first.run_id != config_of(tmp_path / "b", COUNTING.replace("GELU", "ReLU")).run_id
    assert first.run_id != RunConfig.from_dict({**first.to_dict(), "own": {"hidden": 33}}).run_id
    assert first.run_id == first.with_steps(99).run_id, "it says that it is prefix-stable"
    stranger = first.to_dict()
    stranger["trainable"]["function"] = "./train.py:train@0123456789abcdef"
    kept = RunConfig.from_dict(stranger)
    assert kept.to_dict() == stranger
    assert kept.run_id == RunConfig.from_dict(json.loads(json.dumps(kept.to_dict()))).run_id
    assert [problem.key for problem in kept.problems()] == ["trainable"]


def test_editors_know_its_options(tmp_path: Path) -> None:
    study = load_study(put(tmp_path))
    schema = study_schema(study)
    jsonschema.validate(yaml.safe_load(STUDY), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(STUDY.replace("own: {hidden", "own: {hiden")), schema)


def test_new_writes_one_that_keeps_its_promises(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    assert "trainable: ./train.py:train" in said("new", "--trainable", path)
    told = said("check", f"{path}:train")
    assert told.count("ok ") == 5
    assert "BROKEN" not in told
    forgetful = MLP.replace('        optimiser.load_state_dict(run.restored["optimiser"])\n', "")
    path.write_text(forgetful)
    told = said("check", f"{path}:train", code=1)
    assert "BROKEN interrupted, it goes on as if it had not been: the loss of update" in told


@pytest.mark.slow
def test_gpt2_of_hugging_face_learns_like_the_built_in_decoder(tmp_path: Path) -> None:
    """Loss over windows of 25 steps, of 2 seeds, against 3 seeds of the decoder in its shape."""
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    curves = {}
    for name, seeds in (("builtin", 3), ("gpt2", 2)):
        study = load_study(EXAMPLE / f"{name}.yaml", ["train.steps=150", "eval.every=150"])
        launched(study, tmp_path)
        steps = load(tmp_path, name).steps.filter(pl.col("seed") < seeds).sort("seed", "step").collect()
        curves[name] = steps["loss"].to_numpy().reshape(-1, 6, 25).mean(axis=2)
    ours, theirs = curves["builtin"], curves["gpt2"]
    spread = np.ptp(ours, axis=0)
    assert (theirs > ours.min(axis=0) - spread).all(), (ours, theirs)
    assert (theirs < ours.max(axis=0) + spread).all(), (ours, theirs)
