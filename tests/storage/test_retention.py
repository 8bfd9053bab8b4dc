"""Checkpoints that stay: where events begin, log-spaced, within a budget; and what they cost the rows: nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import train_to

from grokstudy.analysis.events import SERIES, find_events
from grokstudy.orchestrator.root.verify import verify
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.events import Event, Site
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage import checkpoint, records
from grokstudy.trainables.storage.checkpoint import surplus
from grokstudy.trainables.storage.retention import Keep, Watch
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.pack import Pack

Small = Callable[..., RunConfig]
DENSE = {"train": {"steps": 300, "checkpoint_every": 70}, "eval": {"every": 10, "probes": ["logit_lens"]}}
FALLS = Event(metric="loss", split=("train_ii", "test_ii"), at_most=3.0)
SEEN = Event(metric="bridge_prob", split=("train_ii",), at_least=0.0, for_=1)


def train(configs: list[RunConfig], store: Store, keep: Keep, to: int = 10**9) -> list[RunDir]:
    pack = Pack(configs, store, keep=keep)
    train_to(pack, to)
    pack.writer.flush()
    return [RunDir(store, config.run_id) for config in configs]


def events(run: RunDir) -> list[int]:
    names = [Path(name).name for name in run.store.list(run.checkpoints)]
    return [int(name.split("-")[1]) for name in names if name.startswith("event-")]


def began(run: RunDir, rule: Event) -> int:
    """What the rows of the run say."""
    rows = records.read(run, "evals").to_pylist()
    steps = sorted({row["step"] for row in rows})
    worst = {step: max(r["loss"] for r in rows if r["step"] == step and r["split"] in rule.split) for step in steps}
    hits = [worst[step] <= rule.threshold for step in steps]
    return int(next(s for i, s in enumerate(steps) if len(hits[i : i + 3]) == 3 and all(hits[i : i + 3])))


def same_rows(run: RunDir, other: RunDir) -> bool:
    read = [{name: records.read(r, name).drop_columns(["attempt"]) for name in TABLES} for r in (run, other)]
    return all(read[0][name].equals(read[1][name]) for name in TABLES)


def test_a_checkpoint_is_kept_where_an_event_begins(small: Small, tmp_path: Path) -> None:
    config = small(**DENSE)
    (plain,) = train([config], Store(tmp_path / "plain"), Keep())
    (run,) = train([config], Store(tmp_path / "kept"), Keep((FALLS,)))
    step = began(run, FALLS)
    assert step % 70, "or an ordinary checkpoint would do"
    assert events(run) == [step]
    assert same_rows(run, plain)
    found, _ = checkpoint.newest(run, step)
    assert found is not None
    assert found.step == step
    train([config], plain.store, Keep(), to=400)
    assert [fault.kind for fault in verify(run.store)] == ["orphan"]


@pytest.mark.parametrize("stop", [30, 250])
@pytest.mark.parametrize("again", [Keep((FALLS,)), Keep(), Keep((SEEN,))])
def test_an_interruption_changes_no_row_and_no_kept_step(small: Small, tmp_path: Path, stop: int, again: Keep) -> None:
    config = small(**DENSE)
    (whole,) = train([config], Store(tmp_path / "whole"), Keep((FALLS,)))
    store = Store(tmp_path / "cut")
    train([config], store, Keep((FALLS,)), to=stop)
    (run,) = train([config], store, again)
    assert same_rows(run, whole)
    if FALLS in again.events:
        assert events(run) == events(whole)
    elif stop > events(whole)[0] + 10:
        assert events(whole)[0] in events(run), "another study's attempt leaves it"
    ours, theirs = (run.store.read(run.store.list(run.checkpoints)[-1]) for run in (run, whole))
    assert ours == theirs


def test_a_pack_goes_on_together_although_one_member_has_a_newer_one(small: Small, tmp_path: Path) -> None:
    configs = [small(**DENSE, seed=seed) for seed in (0, 1)]
    wholes = train(configs, Store(tmp_path / "whole"), Keep((FALLS,)))
    first = min(events(run)[0] for run in wholes)
    store = Store(tmp_path / "cut")
    train(configs, store, Keep((FALLS,)), to=first + 1)
    pack = Pack(configs, store, keep=Keep((FALLS,)))
    assert 0 < pack.step == first // 70 * 70 < first
    while not pack.finished:
        pack._segment()
    for config, whole in zip(configs, wholes, strict=True):
        run = RunDir(store, config.run_id)
        assert same_rows(run, whole)
        assert events(run) == events(whole)


VALUES = st.lists(st.one_of(st.none(), st.sampled_from([0.0, 0.4, 0.5, 0.9])), max_size=12)


@settings(max_examples=200, deadline=None)
@given(VALUES, st.integers(1, 3), st.booleans())
def test_an_event_begins_where_the_analysis_says(values: list[float | None], consecutive: int, rising: bool) -> None:
    least, most = (0.5, None) if rising else (None, 0.5)
    rule = Event(metric="accuracy", split=("test_oo",), at_least=least, at_most=most, for_=consecutive)
    watch, standing = Watch([rule]), set[int]()
    for step, value in enumerate(values):
        begins, vain = watch.look(step, {("accuracy", "test_oo", None, None): value})
        standing = (standing | ({step} if begins else set())) - vain
    rows = [("t", "e", step, value, None) for step, value in enumerate(values)]
    found = find_events(pl.LazyFrame(rows, schema=SERIES, orient="row"), {"e": rule}).collect()["upper"].to_list()
    assert len(standing) <= 1
    if found and found[0] is not None:
        assert standing == set(found)


def test_the_worst_split_decides_and_what_is_not_measured_is_no_evaluation() -> None:
    rule = Event(metric="circuit_strength", split=("test_oo", "test_oi"), at_least=0.5, for_=1, layer=2, position="r1")
    site = ("circuit_strength", "test_oo", 2, "r1"), ("circuit_strength", "test_oi", 2, "r1")
    assert rule.hit({site[0]: 0.5, site[1]: 0.6}) is True
    assert rule.hit({site[0]: 0.5, site[1]: 0.4}) is False
    assert rule.hit({site[0]: 0.5}) is None
    assert rule.hit({site[0]: 0.5, site[1]: float("nan")}) is None
    stored: dict[Site, float | None] = {("accuracy", "x", None, None): 0.949999988079071}
    assert Event(metric="accuracy", split=("x",), at_least=0.95).hit(stored) is True, "compared as float32"


def test_the_budget_takes_the_oldest_first_and_never_the_newest_two() -> None:
    def name(kind: str, step: int) -> str:
        return f"runs/r/checkpoints/{kind}-{step:09d}-{'0' * 16}.pt"

    sizes = {name("step", step): 10 for step in (100, 200, 400, 1000)} | {name("event", 150): 10, name("event", 90): 10}

    def dropped(budget: int | None) -> list[str]:
        return surplus(sizes, budget)

    assert dropped(None) == []
    assert dropped(60) == []
    assert dropped(59) == [name("step", 100)]
    assert dropped(40) == [name("step", 100), name("step", 200)]
    assert dropped(25) == [name("step", 100), name("step", 200), name("event", 90), name("event", 150)]
    assert dropped(0) == dropped(25)


def test_where_all_are_kept_the_budget_takes_first_what_the_rules_would() -> None:
    sizes = {f"runs/r/checkpoints/step-{step:09d}-{'0' * 16}.pt": 10 for step in range(100, 700, 100)}
    assert surplus(sizes, None, every=True) == surplus(sizes, 60, every=True) == []
    steps = [int(name.split("-")[1]) for name in surplus(sizes, 20, every=True)]
    assert steps == [300, 100, 200, 400], "300 lies in the quarter of a decade that 200 begins"


def test_a_run_keeps_to_its_budget(small: Small, store: Store) -> None:
    config = small(train={"steps": 400, "checkpoint_every": 20}, eval={"every": 10, "probes": []})
    (run,) = train([config], store, Keep((FALLS,)), to=100)
    one = len(store.read(store.list(run.checkpoints)[0]))
    assert len(checkpoint.steps(run)) > 3
    (run,) = train([config], store, Keep((FALLS,), budget=3 * one))
    assert checkpoint.steps(run)[-2:] == [380, 400]
    assert events(run) == [began(run, FALLS)]
    assert len(checkpoint.steps(run)) == 3
