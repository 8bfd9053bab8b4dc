"""Study files that are right: what they mean, their hash, their JSON, and the editor's schema; and a fuzz."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grokstudy.orchestrator.runs.trials import all_trials, runs_of
from grokstudy.orchestrator.schedulers.asha import AshaOptions
from grokstudy.orchestrator.study.errors import StudyError
from grokstudy.orchestrator.study.json_schema import study_schema
from grokstudy.orchestrator.study.load import load_study
from grokstudy.orchestrator.study.sections import AUTO_RESOURCES, Resources
from grokstudy.orchestrator.study.yaml import read_source
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.tasks import TASKS

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "studies").glob("*.yaml"))
FULL = """
hypothesis: Sharing blocks matters.
base:
  task: two_hop
  data: {entities: 60, phi: "0.7 * data.out_degree"}
  model: {layers: 2, loops: 2}
  eval: {grid: log, probes: [logit_lens]}
space:
  data.exposure: [natural, first_hop]
  optim.weight_decay: {log: [1e-2, 1.0], points: 3}
  depth:
    shared: {model.layers: 2, model.loops: 2}
    untied: {model.layers: 4, model.loops: 1}
seeds: [0, 2]
search: {kind: grid}
scheduler: {kind: asha, grace_steps: 1000, reduction_factor: 4}
events:
  generalised: {metric: accuracy, split: [test_oo, test_oi], at_least: 0.5, for: 2, stable: true}
  used: {metric: lens_bridge_hit, split: test_oo, layer: 2, position: r1, at_least: 0.85}
resources: {cpu: 2, gpu: 0.25, workers: 3, max_failures: 0}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "asked.yaml"
    path.write_text(text)
    return path


def test_a_full_study_is_read_as_written(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, FULL))
    assert study.name == "asked"
    assert study.seeds == (0, 2)
    assert study.columns == ["data.exposure", "optim.weight_decay", "depth"]
    assert study.scheduler == AshaOptions(split="test_oo", grace_steps=1000, reduction_factor=4)
    assert study.resources == Resources(cpu=2.0, gpu=0.25, workers=3, max_failures=0)
    assert study.events["used"].to_json() == {
        "metric": "lens_bridge_hit", "split": ["test_oo"], "layer": 2, "position": "r1",
        "at_least": 0.85, "at_most": None, "for": 3, "stable": False,
    }  # fmt: skip
    assert len(all_trials(study)) == 2 * 3 * 2 * 2
    assert study.config_at({"data.exposure": "natural", "optim.weight_decay": 0.1, "depth": "untied"}, 2).depth == 4


EARLIER = {
    **{name: event for name, event in TASKS["two_hop"].events.items() if name != "mediated"},
    **TASKS["two_hop"].earlier_events,
}
"""Events of a study that leaves the probes to their default, as it always had them."""


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, "hypothesis: nothing in particular\n"))
    assert study.config_at({}, 0) == RunConfig()
    assert (study.seeds, study.search_kind, study.scheduler_kind) == ((0,), "grid", "fifo")
    assert study.events == EARLIER
    assert study.resources == Resources(cpu=1.0, gpu=0.0, workers="auto", max_failures=2)


def test_resources_may_be_left_to_the_machine(tmp_path: Path) -> None:
    assert load_study(write(tmp_path, "resources: auto\n")).resources == AUTO_RESOURCES


def test_events_given_replace_the_default_ones(tmp_path: Path) -> None:
    assert load_study(write(tmp_path, "events: {}\n")).events == {}


def test_default_events_that_nothing_measures_are_left_out(tmp_path: Path) -> None:
    without = load_study(write(tmp_path, "base: {eval: {probes: []}}\n"))
    assert sorted(without.events) == ["generalised", "memorised"]
    arms = "space: {inside: {seen: {eval.probes: [logit_lens]}, unseen: {}}}"
    some = load_study(write(tmp_path, f"base: {{eval: {{probes: []}}}}\n{arms}\n"))
    assert sorted(some.events) == ["decodable", "generalised", "memorised"]
    assert load_study(write(tmp_path, "seeds: [0]\n")).events == EARLIER
    now = "base: {eval: {probes: [logit_lens, capacity, mediation, circuit]}}\n"
    assert load_study(write(tmp_path, now)).events == TASKS["two_hop"].events


def test_default_events_of_a_task_are_on_splits_of_its_own(tmp_path: Path) -> None:
    for task in TASKS:
        probes = "eval: {probes: [logit_lens, capacity, mediation]}, " if "capacity" in TASKS[task].probes else ""
        model = f"model: {{family: {TASKS[task].families[0]}}}"
        study = load_study(write(tmp_path, f"base: {{{probes}task: {task}, {model}}}\n"))
        assert {split for event in study.events.values() for split in event.split} <= set(TASKS[task].splits)
        assert len(study.events) == len(TASKS[task].events) >= 3


def test_aliases_may_repeat_a_value(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, "base: {data: {phi: &phi 2}}\nspace: {data.phi: [*phi, 3]}\n"))
    assert [trial.config.data.phi for trial in all_trials(study)] == [2.0, 3.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1e-3", 1e-3), ("+1.", 1.0), (".5", 0.5), ("1E2", 100.0), ("1 # a comment", 1.0), ("1", 1.0), ("0.0", 0.0)],
)
def test_numbers_are_read_as_in_yaml_1_2(tmp_path: Path, text: str, expected: float) -> None:
    study = load_study(write(tmp_path, f"base:\n  optim:\n    weight_decay: {text}\n"))
    decay = study.config_at({}, 0).optim.weight_decay
    assert decay == expected
    assert type(decay) is float


def test_null_empties_what_may_be_empty(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, "base: {optim: {clip: null}}\nspace: {data.exposure_k: [null, 3]}\n"))
    assert [trial.config.data.exposure_k for trial in all_trials(study)] == [None, 3]


def test_the_hash_covers_the_question_and_not_the_writing(tmp_path: Path) -> None:
    def spec_hash(text: str) -> str:
        return load_study(write(tmp_path, text)).spec_hash

    original = spec_hash(FULL)
    same = ["# noted\n" + FULL, FULL.replace("cpu: 2", "cpu: 1"), FULL.replace("[1e-2, 1.0]", "[0.01, 1]")]
    other = [
        FULL.replace("seeds: [0, 2]", "seeds: [0, 1]"),
        FULL.replace("points: 3", "points: 4"),
        FULL.replace("entities: 60", "entities: 61"),
        FULL.replace("0.7 *", "0.6 *"),
        FULL.replace("for: 2", "for: 3"),
        FULL.replace("reduction_factor: 4", "reduction_factor: 3"),
        FULL.replace("untied: {model.layers: 4", "untied: {model.layers: 5"),
    ]
    assert {spec_hash(text) for text in same} == {original}
    assert len({original, *(spec_hash(text) for text in other)}) == len(other) + 1


def test_study_json_is_plain_and_has_what_readers_need(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, FULL))
    plain = json.loads(json.dumps(study.to_json()))
    assert set(plain) == {"name", "hypothesis", "spec_hash", "events", "axes", "seeds", "base"}
    assert plain["base"]["data"] == {"entities": 60, "phi": "0.7 * data.out_degree"}
    assert plain["base"]["eval"]["probes"] == ["logit_lens"]
    assert plain["events"]["generalised"]["split"] == ["test_oo", "test_oi"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_studies_are_right(path: Path) -> None:
    study = load_study(path)
    assert len(study.hypothesis) > 40
    asked = {"two_hop": {"memorised", "generalised", "circuit"}, "two_hop_transfer": {"learnt", "new_old", "old_new"}}
    assert asked.get(study.task, {"generalised", "circuit"}) <= set(study.events)
    assert study.text.startswith("# yaml-language-server: $schema=../docs/study.schema.json\n")


def test_quickstart_is_two_regimes_in_minutes() -> None:
    runs = runs_of(all_trials(load_study(ROOT / "studies" / "quickstart.yaml")))
    assert [run.config.data.exposure for run in runs] == ["first_hop", "both_hops"]
    assert {(run.config.train.steps, run.config.eval.every, run.config.data.phi) for run in runs} == {(2200, 100, 6.8)}


def test_phase_diagram_pays_only_for_the_longest_training() -> None:
    trials = all_trials(load_study(ROOT / "studies" / "phase_diagram.yaml"))
    runs = runs_of(trials)
    assert len(trials) == 3 * len(runs)
    assert {run.config.train.steps for run in runs} == {10_000}


def test_the_checked_in_schema_is_up_to_date() -> None:
    written = (ROOT / "docs" / "study.schema.json").read_text()
    assert written == json.dumps(study_schema(), indent=1) + "\n", "run: grokstudy schema > docs/study.schema.json"


def validator() -> Any:
    schema = study_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("text", [FULL, *(path.read_text() for path in SHIPPED)])
def test_right_studies_pass_the_schema(tmp_path: Path, text: str) -> None:
    errors = list(validator().iter_errors(read_source(write(tmp_path, text)).data))
    assert [error.message for error in errors] == []


@pytest.mark.parametrize(
    "text",
    [
        "bases: {}",
        "base: {model: {layrs: 2}}",
        "base: {model: {layers: 0}}",
        "base: {model: {layers: two}}",
        "base: {model: {norm: batchnorm}}",
        "space: {model.layers: 2}",
        "space: {model.layer: [2]}",
        "space: {optim.lr: {logg: [1, 2]}}",
        "space: {depth: {a: {model.lyers: 2}}}",
        "search: {kind: grid, trials: 3}",
        "scheduler: {kind: asha, mode: maximal}",
        "events: {a: {metric: accuracy, split: test_xx, at_least: 1}}",
        "resources: {gpu: -1}",
    ],
)
def test_wrong_studies_fail_the_schema_too(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    assert not validator().is_valid(read_source(path).data)
    with pytest.raises(StudyError):
        load_study(path)


def test_reading_a_study_imports_nothing_heavy() -> None:
    code = (
        "import sys; from grokstudy.orchestrator.study.load import load_study;"
        "from grokstudy.orchestrator.runs.trials import all_trials;"
        f"all_trials(load_study({str(SHIPPED[0])!r}));"
        "print(sorted({'torch', 'ray', 'mlflow', 'polars', 'optuna'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


def load_or_refuse(path: Path) -> None:
    """Only StudyError may come out, and every mistake is one line with a place in the file."""
    refused = refusal(path)
    if refused is not None:
        n_lines = len(path.read_text(encoding="utf-8", errors="replace").splitlines()) + 1
        assert refused.mistakes
        assert len(str(refused).splitlines()) == len(refused.mistakes)
        assert all(0 <= mistake.line <= n_lines and mistake.message for mistake in refused.mistakes)


def refusal(path: Path) -> StudyError | None:
    try:
        load_study(path)
    except StudyError as error:
        return error
    return None


INPUTS = int(os.environ.get("GROKSTUDY_FUZZ", "100"))
FUZZ = settings(max_examples=INPUTS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = "{ } [ ] : - &a *a !!set ' \" # | > ? % @ ~ null true no -1 0 1e9 3.5 kind model.layers data phi seeds é"
TOKENS = st.sampled_from([*WORDS.split(), ": ", ", ", "\n", "  ", "\t", "\u2028", "1 / 0"])


@FUZZ
@given(text=st.text(max_size=80) | st.lists(TOKENS, max_size=25).map("".join))
def test_any_text_is_a_study_or_a_study_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "asked.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    load_or_refuse(path)


@FUZZ
@given(data=st.data())
def test_any_mutation_of_a_study_is_a_study_or_a_study_error(tmp_path: Path, data: st.DataObject) -> None:
    text = FULL
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        stop = start + data.draw(st.sampled_from([0, 0, 1, 2, 8]))
        text = text[:start] + data.draw(TOKENS | st.text(max_size=3)) + text[stop:]
    path = tmp_path / "asked.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    load_or_refuse(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**17) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@FUZZ
@given(data=st.data())
def test_any_value_anywhere_is_a_study_or_a_study_error(tmp_path: Path, data: st.DataObject) -> None:
    study: Any = read_source(write(tmp_path, FULL)).data
    parent, key = study, data.draw(st.sampled_from(sorted(study)))
    while isinstance(parent[key], dict) and data.draw(st.booleans()):
        parent, key = parent[key], data.draw(st.sampled_from(sorted(parent[key])))
    parent[key] = data.draw(VALUES)
    path = tmp_path / "asked.yaml"
    path.write_text(json.dumps(study))
    load_or_refuse(path)


def test_a_search_and_a_scheduler_look_at_the_headline_split_of_the_task(tmp_path: Path) -> None:
    regression = "base: {task: icl_regression, model: {family: attention}}\nspace: {data.lipschitz: {log: [1, 8]}}\n"
    rules = "search: {kind: tpe, trials: 2}\nscheduler: {kind: asha, metric: accuracy}\n"
    study = load_study(write(tmp_path, f"{regression}{rules}"))
    assert (study.search.objective.split, study.scheduler.split) == ("fresh", "fresh")
    given = rules.replace("trials: 2", "trials: 2, objective: {split: noisy}").replace(
        "accuracy", "accuracy, split: long"
    )
    study = load_study(write(tmp_path, f"{regression}{given}"))
    assert (study.search.objective.split, study.scheduler.split) == ("noisy", "long")
    plain = load_study(write(tmp_path, f"space: {{optim.lr: {{log: [0.001, 0.01]}}}}\n{rules}"))
    assert (plain.search.objective.split, plain.scheduler.split) == ("test_oo", "test_oo")
