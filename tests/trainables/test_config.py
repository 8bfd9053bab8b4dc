"""Identity of runs, impossible configurations, evaluation grids."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokstudy.trainables.__main__ import main
from grokstudy.trainables.config import Eval, RunConfig, eval_steps

Small = Callable[..., RunConfig]


def test_identity_leaves_out_only_what_does_not_change_the_numbers(small: Small) -> None:
    same = {small().run_id, small(train={"steps": 7}).run_id, small(train={"checkpoint_every": 5}).run_id}
    assert len(same) == 1
    others = [
        small(seed=1), small(data={"phi": 1.5}), small(model={"loops": 3}), small(optim={"lr": 0.1}),
        small(train={"batch": 8}), small(eval={"every": 5}), small(train={"precision": "bf16"}),
    ]  # fmt: skip
    assert len({*same, *(config.run_id for config in others)}) == len(others) + 1


def test_run_id_is_golden() -> None:
    assert RunConfig().run_id == "84a493a4128d4f33", (
        "the identity of the default configuration has changed, so no finished run would be found again: "
        "raise config.NUMERICS if the numbers changed too, then put the new id here"
    )


def test_configuration_survives_json(small: Small) -> None:
    config = small(eval={"probes": ["logit_lens"]}, optim={"clip": 1.0})
    again = RunConfig.from_dict(config.to_dict())
    assert again == config
    assert again.run_id == config.run_id


@pytest.mark.parametrize(
    ("changes", "key", "fragment"),
    [
        ({"model": {"heads": 3}}, "model.heads", "do not divide width 16"),
        ({"data": {"phi": 99.0}}, "data.phi", "above its maximum"),
        ({"data": {"out_degree": 9}}, "data.out_degree", "only 8 exist"),
        ({"data": {"ood_fraction": 1.5}}, "data.ood_fraction", "less than 1"),
        ({"optim": {"lr": 0.0}}, "optim.lr", "more than 0"),
        ({"optim": {"schedule": "cosine", "warmup": 60}}, "optim.warmup", "not shorter than train.steps"),
        ({"eval": {"probes": ["logit_lense"]}}, "eval.probes", "did you mean 'logit_lens'"),
        ({"seed": -1}, "seed", "at least 0"),
        ({"train": {"loss": "stablemax"}}, "train.loss", "did you mean 'answer_stablemax'"),
        ({"train": {"steps": True}}, "train.steps", "a whole number"),
        ({"train": {"batch": 8.0}}, "train.batch", "a whole number"),
        ({"optim": {"lr": float("nan")}}, "optim.lr", "a number"),
        ({"optim": {"lr": 10**400}}, "optim.lr", "a number"),
        ({"optim": {"clip": "much"}}, "optim.clip", "a number or null"),
        ({"data": {"phi": None}}, "data.phi", "a number"),
        ({"eval": {"probes": "logit_lens"}}, "eval.probes", "a list of words"),
    ],
)
def test_each_impossibility_is_one_problem(small: Small, changes: dict[str, object], key: str, fragment: str) -> None:
    (problem,) = small(**changes).problems()
    assert problem.key == key
    assert fragment in problem.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting property name"),
        ("[1]", "[1] is no configuration; it must be a mapping of sections"),
        ('{"model": 5}', "model: 5 is not possible"),
        ('{"seed": "a"}', "seed: 'a' is not possible; it must be a whole number"),
        ('{"task": ["a"]}', "task: ['a'] is unknown"),
        ('{"train": {"loss": "stablemax"}}', "train.loss: 'stablemax' is unknown"),
    ],
)
def test_a_file_that_is_no_configuration_ends_in_one_line_and_trains_nothing(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    assert main(["train", "--config", str(path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{path}: {message}")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_unknown_key_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(ValueError, match=r"model.loop is unknown; did you mean 'loops'"):
        RunConfig.from_dict({"model": {"loop": 2}})


@given(st.sampled_from(["linear", "log", "thinning"]), st.integers(1, 50), st.integers(1, 30), st.integers(1, 3000))
def test_grid_of_a_shorter_run_is_a_prefix(grid: str, every: int, per_decade: int, last: int) -> None:
    options = Eval(grid=grid, every=every, per_decade=per_decade)  # type: ignore[arg-type]
    steps = eval_steps(options, last)
    assert steps[0] == 0
    assert steps[-1] == last
    longer = eval_steps(options, last + 1000)
    assert set(steps[:-1]) <= set(longer)
    assert [step for step in longer if step < last] == steps[:-1]


@given(st.integers(1, 500), st.integers(1, 2_000_000))
def test_the_thinning_grid_is_dense_early_and_a_twentieth_apart_late(every: int, last: int) -> None:
    steps = eval_steps(Eval(grid="thinning", every=every), last)[:-1]
    assert steps[:41] == [*range(0, last, every)][:41]
    for one, another in itertools.pairwise(steps[41:]):
        assert another % every == 0
        assert 1.034 * one <= another <= 1.05 * one
    assert len(eval_steps(Eval(grid="thinning", every=100), 100_000)) == 112  # 1,001 on the linear one


def test_an_id_does_not_depend_on_what_was_named_before() -> None:
    """2 and 2.0 are equal and read alike; their texts differ, whichever came first."""
    whole, real = RunConfig.from_dict({"data": {"phi": 2}}), RunConfig.from_dict({"data": {"phi": 2.0}})
    first = [whole.run_id, real.run_id]
    again = [RunConfig.from_dict({"data": {"phi": phi}}).run_id for phi in (2.0, 2)]
    assert first == again[::-1]
    assert dataclasses.replace(real, seed=1).to_dict() == {**real.to_dict(), "seed": 1}


@pytest.mark.parametrize(
    ("optim", "keys"),
    [
        ({"name": "sgd", "momentum": 0.9}, []),
        ({"name": "sgd", "beta1": 0.8, "eps": 1e-6}, ["optim.beta1", "optim.eps"]),
        ({"name": "adamw", "momentum": 0.9}, ["optim.momentum"]),
        ({"name": "adamw", "beta2": 0.99}, []),
    ],
)
def test_options_of_the_other_optimiser_are_refused(optim: dict[str, Any], keys: list[str]) -> None:
    assert [problem.key for problem in RunConfig.from_dict({"optim": optim}).problems()] == keys
