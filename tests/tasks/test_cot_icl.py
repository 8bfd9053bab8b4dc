"""Chain of thought in context, against numpy written from the paper's formulas, and against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.models import build
from grokstudy.trainables.probes.attention import attention_mass
from grokstudy.trainables.probes.splits import stack_splits
from grokstudy.trainables.probes.subject import Subject
from grokstudy.trainables.tasks.base import Rows
from grokstudy.trainables.tasks.cot_icl import CoTICL, CoTOptions
from grokstudy.trainables.training.batches import TrainingSet
from grokstudy.trainables.training.evaluate import evaluate

CPU = torch.device("cpu")
P, K = 6, 3
SMALL: dict[str, Any] = {"patterns": P, "steps": K, "examples": 8, "tau": 0.9, "most_examples": 20}
Array = NDArray[Any]


def options_of(**changes: Any) -> CoTOptions:
    return CoTOptions(**{**SMALL, **changes})


def config_of(**changes: Any) -> RunConfig:
    model = {"family": "attention", "heads": 1, "attention_std": 0.05}
    return RunConfig.from_dict({"task": "cot_icl", "data": {**SMALL, **changes}, "model": model})


def patterns_of(split: str) -> Array:
    """The patterns by the module's documentation."""
    plain = np.eye(P)
    if "tsr" not in split:
        return plain
    pairs = [(0.6 * plain[i] + 0.8 * plain[i + 1], 0.8 * plain[i] - 0.6 * plain[i + 1]) for i in range(0, P, 2)]
    return np.concatenate([np.stack(pair) for pair in pairs])


def read(rows: Rows, split: str, row: int) -> list[tuple[int, int, int]]:
    """Columns as (input pattern, told pattern, step), each an exact pattern and code."""
    patterns, found = patterns_of(split), []
    for column in rows.inputs[row]:
        x, y, code = np.split(column, [P, 2 * P])
        number_x, number_y = (int(np.argmax(patterns @ v)) for v in (x, y))
        np.testing.assert_allclose(np.concatenate([patterns[number_x], patterns[number_y]]), column[: 2 * P], atol=1e-6)
        assert sorted(code) == [*[0] * (K - 1), 1]
        found.append((number_x, number_y, int(np.argmax(code))))
    return found


@pytest.mark.parametrize("split", ["clean_5", "tsr_5", "clean_20"])
def test_every_step_follows_one_permutation_per_prompt_and_step(split: str) -> None:
    rows, size = CoTICL.build(options_of(), 3, 40).splits[split], int(split.rpartition("_")[2])
    for row in range(len(rows)):
        table: dict[tuple[int, int], int] = {}
        columns = read(rows, split, row)
        assert len(columns) == (size + 1) * K
        for number, (x, y, step) in enumerate(columns):
            assert step == number % K
            assert table.setdefault((step, x), y) == y, "one answer for each input of a step"
            if step:
                assert x == columns[number - 1][1], "a step begins where the one before it ended"
        for step in range(K):
            ends = [y for (of, _), y in table.items() if of == step]
            assert len(ends) == len(set(ends)), "a permutation"
        assert rows.at[row].tolist() == [size * K + step for step in range(K)]
        told = [columns[at][1] for at in rows.at[row]]
        np.testing.assert_allclose(rows.target[row], patterns_of(split)[told], atol=1e-6)


def test_direct_prompts_have_the_ends_alone_under_the_code_of_the_first_step() -> None:
    options = options_of(steps=2, tau=0.85)
    rows = CoTICL.build(options, 3, 300).splits["direct_clean_20"]
    assert rows.inputs.shape == (300, 21, 2 * P + 2)
    assert (rows.inputs[..., 2 * P] == 1).all()
    assert (rows.inputs[..., 2 * P + 1] == 0).all()
    assert (rows.at == 20).all()
    x, y = rows.inputs[:, :20, :P].argmax(-1), rows.inputs[:, :20, P : 2 * P].argmax(-1)
    query, answer = rows.inputs[:, 20, :P].argmax(-1), rows.target[:, 0].argmax(-1)
    there = x == query[:, None]
    assert (y[there] == np.broadcast_to(answer[:, None], y.shape)[there]).all()
    assert there.mean() == pytest.approx(0.4, abs=0.02), "alpha"
    others = np.bincount(((x - query[:, None]) % P)[~there], minlength=P)[1:]
    np.testing.assert_allclose(others / others.sum(), 1 / (P - 1), atol=0.03)


@pytest.mark.parametrize(("kind", "tau"), [("noisy", 0.9), ("noisy_bad", 0.6)])
@pytest.mark.parametrize("steps", [2, 3])
def test_noise_makes_steps_and_ends_wrong_as_often_as_it_says(kind: str, tau: float, steps: int) -> None:
    """Of the examples that begin with the query's pattern. In `noisy_bad` all wrong ends of a prompt are the same."""
    rows = CoTICL.build(options_of(steps=steps), 3, 400).splits[f"{kind}_20"]
    inputs = rows.inputs[:, : 20 * steps].reshape(400, 20, steps, -1)
    x, y = inputs[..., :P].argmax(-1), inputs[..., P : 2 * P].argmax(-1)
    query, chain = rows.inputs[:, 20 * steps, :P].argmax(-1), rows.target.argmax(-1)
    alike = x[:, :, 0] == query[:, None]
    ends = y[:, :, -1]
    assert np.mean((y[:, :, 0] == chain[:, None, 0])[alike]) == pytest.approx(tau, abs=0.03)
    second = alike & (x[:, :, 1] == chain[:, None, 0])
    assert np.mean((y[:, :, 1] == chain[:, None, 1])[second]) == pytest.approx(tau, abs=0.03)
    right = np.mean((ends == chain[:, -1:])[alike])
    if kind == "noisy_bad":
        assert right == pytest.approx(tau**steps, abs=0.03)
        for row in range(400):
            assert len({end for end in ends[row][alike[row]].tolist() if end != chain[row, -1]}) <= 1
    else:
        assert right >= tau**steps - 0.03
    direct = CoTICL.build(options_of(steps=steps), 3, 400).splits[f"direct_{kind}_20"]
    assert np.mean(direct.target[:, 0].argmax(-1) == direct.inputs[:, 0, P : 2 * P].argmax(-1)) < 0.7


def test_training_asks_one_uniform_step_and_nothing_behind_the_question_or_told_by_it_is_seen() -> None:
    config = config_of()
    training = TrainingSet.of([config], [CoTICL.build(config.data, 0, 5)], CPU)
    batch = training.batch(training.words(0, 1, 600)[0])
    step = batch.at_MBA[0, :, 0] - 8 * K
    np.testing.assert_allclose(torch.bincount(step, minlength=K) / 600, 1 / K, atol=0.06)
    told = batch.inputs_MBx[0, torch.arange(600), batch.at_MBA[0, :, 0], P : 2 * P]
    torch.testing.assert_close(batch.target_MBAx[0, :, 0], told)
    model = build(config.model, config.example)
    weights = model.unpack(torch.randn(1, len(model.initial(0)), generator=torch.Generator().manual_seed(0)))
    changed = batch.inputs_MBx.clone()
    behind = torch.arange(changed.shape[2]) >= batch.at_MBA
    changed[..., P : 2 * P][behind] = 7.0
    changed[..., :P][torch.arange(changed.shape[2]) > batch.at_MBA] = 7.0
    before, after = (model.answer_logits(weights, x, batch.at_MBA) for x in (batch.inputs_MBx, changed))
    torch.testing.assert_close(before, after)


def rolled_out(rows: Rows, split: str, row: int, q: Array, v: Array) -> list[bool]:
    """Which steps are right, by the paper: the query column is (z; 0), the answer the nearest pattern, appended."""
    patterns, begin = patterns_of(split), int(rows.at[row, 0])
    context, z, right = rows.inputs[row, :begin].astype(float), rows.inputs[row, begin, :P].astype(float), []
    for step, at in enumerate(rows.at[row]):
        code = rows.inputs[row, at, 2 * P :]
        asked = np.concatenate([z, np.zeros(P), code])
        score = context @ q @ asked
        share = np.exp(score - score.max())
        output = (share / share.sum()) @ context @ v
        said = patterns[np.argmin(((patterns - output) ** 2).sum(axis=1))]
        right.append(np.allclose(said, rows.target[row, step], atol=1e-6))
        context = np.concatenate([context, np.concatenate([z, said, code])[None]])
        z = said
    return right


@pytest.mark.parametrize("split", ["clean_5", "tsr_5", "noisy_bad_20", "direct_noisy_20"])
def test_a_models_own_steps_are_fed_back_as_the_paper_does(split: str) -> None:
    config = config_of()
    data = CoTICL.build(config.data, 1, 60)
    rows = data.splits[split]
    model = build(config.model, config.example)
    random = torch.Generator().manual_seed(0)
    channels = 2 * P + K
    good = torch.zeros(channels, channels)
    good[:P, :P], good[2 * P :, 2 * P :] = 2.0 * torch.eye(P), 2.0 * torch.eye(K)
    q = good + 0.7 * torch.randn(channels, channels, generator=random)
    v = torch.cat([torch.zeros(P, P), torch.eye(P), torch.zeros(K, P)])
    v = v + 0.2 * torch.randn(channels, P, generator=random)
    weights = {"scores": q[None, None], "values": v[None, None]}
    with torch.no_grad():
        (found,) = evaluate(model, weights, {split: stack_splits([data], CPU)[split]}, CoTICL, 60)
    steps = np.array([rolled_out(rows, split, row, q.numpy(), v.numpy()) for row in range(60)])
    assert 0.05 < steps.mean() < 0.99, "some are right and some are wrong"
    assert float(found.scores["exact"]) == pytest.approx(steps.all(axis=1).mean())
    assert float(found.scores["step_error_rate"]) == pytest.approx(1 - steps.mean())
    assert float(found.accuracy_M) >= float(found.scores["exact"]) - 1e-6 or split.startswith("noisy")


def measured(score_pattern: float, score_step: float) -> dict[str, dict[str, float]]:
    """A model that reads what columns tell, and looks at the pattern and at the step as hard as it is told to."""
    config = config_of(steps=2, tau=0.85)
    model = build(config.model, config.example)
    splits = stack_splits([CoTICL.build(config.data, 0, 400)], CPU)
    channels = 2 * P + 2
    scores = torch.zeros(channels, channels)
    scores[:P, :P], scores[2 * P :, 2 * P :] = score_pattern * torch.eye(P), score_step * torch.eye(2)
    values = torch.cat([torch.zeros(P, P), torch.eye(P), torch.zeros(2, P)])
    weights = {"scores": scores[None, None], "values": values[None, None]}
    with torch.no_grad():
        found = {b.split: {"accuracy": float(b.accuracy_M), **{k: float(v) for k, v in b.scores.items()}}
                 for b in evaluate(model, weights, splits, CoTICL, 400)}  # fmt: skip
        for m in attention_mass(Subject(model, weights, splits, 400)):
            if m.layer is None:
                found[m.split][m.probe] = float(m.value_M)
    return found


def test_a_model_that_looks_at_pattern_and_step_is_right_where_an_example_tells_it() -> None:
    found = measured(100.0, 100.0)
    missing = 0.6**5  # prompts without one example of the query's pattern
    assert found["clean_5"]["mass_same_same"] == pytest.approx(1.0), "of the prompts that have one"
    assert found["clean_5"]["exact"] == pytest.approx(1 - missing, abs=0.05)
    for split in ("clean_20", "tsr_20", "direct_clean_20", "direct_tsr_20"):
        assert found[split]["exact"] == found[split]["accuracy"] == pytest.approx(1.0, abs=0.01), split
        assert found[split]["mass_same_same"] == pytest.approx(1.0, abs=0.01), split
        assert found[split]["step_error_rate"] <= 0.01, split
    assert found["noisy_bad_20"]["exact"] > found["direct_noisy_bad_20"]["exact"] + 0.2, "steps are right, ends are not"
    assert found["direct_noisy_bad_20"]["exact"] < 0.4
    assert found["direct_noisy_20"]["exact"] > 0.9


def test_a_model_that_looks_at_the_step_alone_or_at_nothing_has_the_masses_of_chance() -> None:
    step, nothing = measured(0.0, 100.0), measured(0.0, 0.0)
    assert step["clean_20"]["mass_same_same"] == pytest.approx(0.4, abs=0.02)
    assert step["clean_20"]["mass_diff_same"] == pytest.approx(0.6, abs=0.02)
    assert step["clean_20"]["mass_same_diff"] == pytest.approx(0.0, abs=0.001)
    assert nothing["clean_20"]["mass_same_same"] == pytest.approx(0.4 / 2, abs=0.02)
    assert "mass_same_diff" not in nothing["direct_clean_20"]


@pytest.mark.parametrize(
    ("changes", "key", "fragment"),
    [({"tau": 0.7}, "data.tau", "0.7 makes an end right with probability 0.343 in 3 steps"),
     ({"tau_bad": 0.8}, "data.tau_bad", "0.8 makes an end right with probability 0.512 in 3 steps"),
     ({"most_examples": 10}, "data.most_examples", "10 is not possible")],
)  # fmt: skip
def test_noise_that_is_not_what_a_split_is_called_is_refused(changes: dict[str, Any], key: str, fragment: str) -> None:
    (problem,) = config_of(**changes).problems()
    assert problem.key == key
    assert fragment in problem.message


def test_a_large_setting_is_possible_and_members_of_a_pack_may_differ_in_their_shares() -> None:
    large = config_of(patterns=20, steps=3, examples=30, most_examples=80)
    assert large.problems() == []
    assert CoTICL.build(large.data, 0, 2).splits["clean_80"].inputs.shape == (2, 81 * 3, 43)
    assert config_of(alpha=0.8).shape() == config_of(alpha=0.1).shape()
    rows = CoTICL.build(options_of(alpha=0.9, alpha_tested=0.4), 0, 400).splits["direct_clean_20"]
    same = (rows.inputs[:, :20, :P] == rows.inputs[:, 20:, :P]).all(-1)
    assert same.mean() == pytest.approx(0.4, abs=0.02)
