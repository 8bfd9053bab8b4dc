"""Copying and retrieval: every answer against a solver of the test's own, lengths, padding, packs, free running."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scripted import Scripted
from small_runs import finish, train, train_to
from torch import Tensor

from grokstudy.trainables.config import Model, RunConfig
from grokstudy.trainables.models import build
from grokstudy.trainables.probes.splits import SplitBatch, stack_splits
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage import checkpoint, records
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.tasks.base import Batch, StoredRows
from grokstudy.trainables.tasks.copy_retrieve import BOS, EOS, PAD, SEP, SPECIAL, CopyOptions, CopyRetrieve
from grokstudy.trainables.training import program
from grokstudy.trainables.training.batches import Drawn, TrainingSet
from grokstudy.trainables.training.evaluate import evaluate
from grokstudy.trainables.training.pack import Pack
from grokstudy.trainables.words import fresh

RETRIEVAL = ["UL", "UR", "NLFirst", "NRFirst", "NLLast", "NRLast"]
COPYING = ["UF", "UB", "NF", "NB"]
CPU = torch.device("cpu")
RANGES = {"x1": (3, 8), "x2": (9, 16), "x3": (17, 24)}


def options(kind: str, **changes: Any) -> CopyOptions:
    found = CopyOptions(**{"kind": kind, "vocabulary": 24 if kind in COPYING else 5, "shortest": 3, **changes})
    assert found.problems() == []
    return found


def rows(kind: str, split: str, most: int = 200, seed: int = 0, **changes: Any) -> StoredRows:
    found = CopyRetrieve.build(options(kind, **changes), seed, most).splits[split]
    assert isinstance(found, StoredRows)
    return found


def parsed(tokens: list[int], vocabulary: int) -> tuple[list[int], list[int]]:
    """The context, and what follows the separator, of an example that must be well formed."""
    end = tokens.index(vocabulary + PAD) if vocabulary + PAD in tokens else len(tokens)
    assert set(tokens[end:]) <= {vocabulary + PAD}
    sep = tokens.index(vocabulary + SEP)
    assert tokens[0] == vocabulary + BOS
    context, behind = tokens[1:sep], tokens[sep + 1 : end]
    assert all(0 <= token < vocabulary for token in context + behind)
    return context, behind


def solved(kind: str, context: list[int], query: int) -> int:
    """A neighbour of the query, by counting through the context."""
    places = [i for i, symbol in enumerate(context) if symbol == query]
    place = places[-1] if kind.endswith("Last") else places[0]
    other = place - 1 if kind[1] == "L" else place + 1
    assert 0 <= other < len(context), "the published mistake: a neighbour beyond the edge"
    return context[other]


@pytest.mark.parametrize("split", RANGES)
@pytest.mark.parametrize("kind", RETRIEVAL)
def test_a_neighbour_is_what_a_solver_finds(kind: str, split: str) -> None:
    examples, lengths = rows(kind, split), set()
    found = examples.mechanism.look
    columns = (examples.inputs.tolist(), examples.at[:, 0], examples.target[:, 0], found["answer"], found["same"])
    for tokens, at, target, look, same in zip(*columns, strict=True):
        context, (query,) = parsed(tokens, 5)
        assert target == solved(kind, context, query)
        assert at == len(context) + 2
        assert context.count(query) == 1 if kind.startswith("U") else context.count(query) >= 2
        (holder,) = np.flatnonzero(look[0])
        assert tokens[holder] == target
        (asked_of,) = np.flatnonzero(same[0])
        assert tokens[asked_of] == query
        assert asked_of == holder + (1 if kind[1] == "L" else -1)
        if split != "x1":
            assert query not in context[len(context) // 2 :], "far: the query is in the first half"
        lengths.add(len(context))
    assert (min(lengths), max(lengths)) == RANGES[split]
    assert examples.weight is None


@pytest.mark.parametrize("split", RANGES)
@pytest.mark.parametrize("kind", COPYING)
def test_a_copy_is_what_a_solver_copies(kind: str, split: str) -> None:
    examples, lengths = rows(kind, split), set()
    assert examples.weight is not None
    look = examples.mechanism.look
    for i, tokens in enumerate(examples.inputs.tolist()):
        context, behind = parsed(tokens, 24)
        n = len(context)
        wanted = context if kind[1] == "F" else context[::-1]
        assert behind == wanted
        assert examples.target[i, : n + 1].tolist() == [*wanted, 24 + EOS]
        assert examples.at[i, : n + 1].tolist() == list(range(n + 1, 2 * n + 2))
        assert examples.weight[i].tolist() == [1.0] * (n + 1) + [0.0] * (len(examples.weight[i]) - n - 1)
        held = [tokens[place] for place in look["answer"][i].argmax(-1)[:n]]
        assert held == wanted
        assert look["answer"][i].sum(-1).tolist() == [1] * n + [0] * (len(examples.weight[i]) - n)
        assert [tokens[place] for place in look["same"][i].argmax(-1)[1:n]] == wanted[:-1]
        assert look["same"][i].sum(-1).tolist() == [0] + [1] * (n - 1) + [0] * (len(examples.weight[i]) - n)
        assert look["before"][i].argmax(-1)[:n].tolist() == list(range(n, 2 * n))
        assert kind.startswith("N") or len(set(context)) == n
        lengths.add(n)
    assert (min(lengths), max(lengths)) == RANGES[split]


def test_without_far_the_query_is_anywhere_and_with_few_symbols_the_last_one_is_near() -> None:
    def distance(far: bool) -> float:
        examples = rows("NRLast", "x3", far=far)
        return float(np.mean(examples.at[:, 0] - examples.mechanism.look["answer"][:, 0].argmax(-1)))

    assert distance(far=False) < 8 < 12 < distance(far=True)


def test_first_left_never_asks_for_the_neighbour_of_the_first_symbol() -> None:
    """The published generator answers there with the last symbol: in one of five training examples."""
    for split in RANGES:
        examples = rows("NLFirst", split, 1000)
        assert (examples.inputs[:, 1] != examples.inputs[np.arange(1000), examples.at[:, 0]]).all()


@pytest.mark.parametrize("kind", ["UR", "NRFirst"])
def test_a_model_that_knows_nothing_is_right_by_chance(kind: str) -> None:
    """Every symbol is the answer equally often, so no constant answer is better than any other."""
    counts = np.bincount(rows(kind, "x1", 4000).target[:, 0], minlength=5) / 4000
    assert counts == pytest.approx([0.2] * 5, abs=0.03)
    data = {0: CopyRetrieve.build(options(kind), 0, 1000)}
    model = build(MODEL, CopyRetrieve.shape(options(kind)))
    weights = model.unpack(model.initial(0)[None])
    accuracy = evaluate(model, weights, stack_splits(list(data.values()), CPU), CopyRetrieve, 10)[0].accuracy_M
    assert accuracy.item() == pytest.approx(0.2, abs=0.08)


def test_the_data_of_a_seed_stay_what_they_are() -> None:
    again, other = (CopyRetrieve.build(options("NRFirst"), seed, 50).hash for seed in (0, 1))
    hashes = {kind: CopyRetrieve.build(options(kind), 0, 50).hash for kind in ("NRFirst", "UB")}
    assert hashes["NRFirst"] == again != other
    told = "the data of a seed has changed: raise config.NUMERICS, put the hash here"
    assert hashes == {"NRFirst": "728aa858981021a6", "UB": "8a3290ead6ef06b4"}, told


@pytest.mark.parametrize(
    ("changes", "key", "fragment"),
    [
        ({"kind": "UF", "vocabulary": 23}, "data.vocabulary", "24 distinct ones are copied in split x3"),
        ({"kind": "NRLast", "shortest": 2}, "data.shortest", "must be at least 3"),
        ({"kind": "UL", "shortest": 1}, "data.shortest", "must be at least 2"),
        ({"kind": "NLFirst", "shortest": 3, "longest": 4}, "data.longest", "must be at least 5"),
        ({"shortest": 9}, "data.longest", "8 is less than data.shortest = 9"),
        ({"per": "example"}, "data.per", "has one answer"),
        ({"kind": "NF", "far": False}, "data.far", "has no query"),
    ],
)
def test_impossible_options_are_named(changes: dict[str, Any], key: str, fragment: str) -> None:
    found = CopyOptions(**changes).problems()
    assert any(problem.key == key and fragment in problem.message for problem in found), found


@pytest.mark.parametrize("kind", [*RETRIEVAL, *COPYING])
def test_the_shortest_trained_lengths_that_are_allowed_can_be_drawn(kind: str) -> None:
    """Every refused length has a reason, and none that is not refused fails."""
    drawn = 0
    for shortest in range(1, 6):
        for longest in range(shortest, 7):
            asked = CopyOptions(kind=kind, vocabulary=24, shortest=shortest, longest=longest)  # type: ignore[arg-type]
            if asked.problems():
                continue
            for examples in CopyRetrieve.build(asked, 0, 50).splits.values():
                for tokens, target in zip(examples.inputs.tolist(), examples.target[:, 0], strict=True):
                    context, behind = parsed(tokens, 24)
                    if kind in RETRIEVAL:
                        assert target == solved(kind, context, behind[0])
                drawn += 1
    assert drawn >= 15


WORDS = fresh(torch.tensor([[1], [2]]), torch.arange(40))


def source(asked: list[CopyOptions]) -> Drawn:
    return Drawn(CopyRetrieve, asked, list(range(len(asked))), CPU)


def fields(batch: Batch, member: int) -> list[Tensor]:
    found = [batch.inputs_MBx, batch.at_MBA, batch.target_MBAx, batch.weight_MBA]
    return [x[member] for x in found if x is not None]


@pytest.mark.parametrize("kinds", [["UR", "NRLast"], ["NLFirst", "UL"], ["UF", "NB"], ["NF", "UB"]])
def test_a_pack_of_kinds_draws_what_each_draws_alone(kinds: list[str]) -> None:
    asked = [options(kind, vocabulary=24, shortest=3 + i) for i, kind in enumerate(kinds)]
    assert CopyRetrieve.shape(asked[0]) == CopyRetrieve.shape(asked[1])
    together = source(asked)(WORDS)
    for member, one in enumerate(asked):
        alone = source([one])(WORDS[member : member + 1])
        for left, right in zip(fields(together, member), fields(alone, 0), strict=True):
            assert torch.equal(left, right)
    kept = source(asked)
    kept.keep(torch.tensor([1]))
    assert torch.equal(kept(WORDS[1:]).inputs_MBx[0], together.inputs_MBx[1])


def test_an_example_depends_on_its_own_word_alone() -> None:
    draw = source([options("NRFirst")])
    whole = draw(WORDS[:1])
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draw(WORDS[:1, order]).inputs_MBx, whole.inputs_MBx[:, order])
    assert torch.equal(draw(WORDS[:1, 7:8]).inputs_MBx, whole.inputs_MBx[:, 7:8])


MODEL = Model(layers=2, loops=1, width=16, heads=2)
SHORT = {"steps": 12, "batch": 8, "checkpoint_every": 4}


def run(kind: str, seed: int = 0, positions: str = "learned", **data: Any) -> RunConfig:
    return RunConfig.from_dict(
        {
            "task": "copy_retrieve",
            "seed": seed,
            "data": dataclasses.asdict(options(kind, **data)),
            "model": {"layers": 2, "loops": 1, "width": 16, "heads": 2, "positions": positions},
            "train": SHORT,
            "eval": {"every": 6, "max_examples": 20, "generated": 5, "probes": ["attention_mass", "head_ablation"]},
        }
    )


@pytest.mark.parametrize("positions", ["learned_offset", "rope"])
def test_a_step_drawn_alone_is_the_step_drawn_in_a_chunk(positions: str) -> None:
    training = TrainingSet.of([config := run("UB", positions=positions)], [built(config)], CPU)
    chunk = training.words(3, 9, 8)
    for k, step in enumerate(range(3, 9)):
        alone, within = training.batch(training.words(step, step + 1, 8)[0]), training.batch(chunk[k])
        for left, right in zip(fields(alone, 0), fields(within, 0), strict=True):
            assert torch.equal(left, right)


def built(config: RunConfig) -> Any:
    return CopyRetrieve.build(config.data, config.seed, 5)


def table(run_: RunDir, name: str) -> Any:
    return records.read(run_, name).drop_columns(["attempt"])


@pytest.mark.parametrize(
    ("kinds", "positions"), [(["UR", "NRLast"], "rope"), (["UB", "NF"], "learned_offset"), (["UF", "NB"], "none")]
)
def test_packed_kinds_train_as_they_do_alone(kinds: list[str], positions: str, tmp_path: Path) -> None:
    configs = [run(kind, seed, positions, vocabulary=24) for seed, kind in enumerate(kinds)]
    pack = Pack(configs, packed := Store(tmp_path / "packed"))
    while not pack.finished:
        pack.advance(60.0)
    for config in configs:
        alone, together = finish(config, Store(tmp_path / "solo")), RunDir(packed, config.run_id)
        for name in TABLES:
            assert table(together, name).equals(table(alone, name)), name
        (ours, _), (theirs, _) = checkpoint.newest(together), checkpoint.newest(alone)
        assert ours is not None
        assert theirs is not None
        assert torch.equal(ours.flat_P, theirs.flat_P)


@pytest.mark.parametrize(("kind", "positions"), [("NRFirst", "rope"), ("UB", "learned_offset")])
def test_interrupted_is_uninterrupted(kind: str, positions: str, tmp_path: Path) -> None:
    config = run(kind, positions=positions)
    whole = finish(config, Store(tmp_path / "whole"))
    broken = Store(tmp_path / "broken")
    pack = Pack([config], broken)
    train_to(pack, 5)
    pack.writer.flush()
    again = finish(config, broken)
    for name in TABLES:
        assert table(again, name).equals(table(whole, name)), name
    measured = set(table(whole, "probes")["probe"].to_pylist())
    assert measured == {"each", "exact", "mass_answer", "mass_same", "mass_before", "ablated_loss", "ablated_accuracy"}


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize(("kind", "positions"), [("NRFirst", "rope"), ("UB", "learned_offset")])
def test_a_compiled_step_draws_and_trains_as_a_plain_one(
    kind: str, positions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a break, else a warning would be an error here."""
    monkeypatch.setattr(program, "_compiled", {})
    monkeypatch.setattr(program, "_made", lambda graph, *_: graph)
    config = run(kind, positions=positions)
    plain, compiled = train(config, Store(tmp_path / "a")), train(config, Store(tmp_path / "b"), engine="compile")
    asked, found = (np.asarray(table(done, "steps")["loss"]) for done in (plain, compiled))
    np.testing.assert_allclose(found, asked, rtol=1e-4)


@pytest.mark.parametrize("kind", ["NRFirst", "UB"])
@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_padding_changes_no_answer(kind: str, positions: str) -> None:
    """Each example alone, cut to its own length, against all of them padded to one."""
    examples, shape = rows(kind, "x2", 10), CopyRetrieve.shape(options(kind))
    model = build(dataclasses.replace(MODEL, positions=positions), shape)  # type: ignore[arg-type]
    flat_P = model.initial(0)
    weights = model.unpack((flat_P + 0.1 * torch.randn(flat_P.shape, generator=torch.Generator().manual_seed(1)))[None])
    batch = SplitBatch.stack([examples], CPU).batch()
    padded = model.answer_logits(weights, batch.inputs_MBx, batch.at_MBA)
    pad = shape.fields[0] - SPECIAL + PAD
    for i in range(10):
        length = int((batch.inputs_MBx[0, i] != pad).sum())
        own = model.answer_logits(weights, batch.inputs_MBx[:, i : i + 1, :length], batch.at_MBA[:, i : i + 1])
        torch.testing.assert_close(padded[:, i : i + 1], own)


def test_examples_that_weigh_the_same_have_weights_that_add_up_to_one() -> None:
    even, per_answer = rows("NF", "x1", per="example"), rows("NF", "x1")
    assert even.weight is not None
    assert even.weight.sum(1) == pytest.approx(1.0)
    assert np.array_equal(even.weight > 0, per_answer.weight == 1)


def successor(seen: list[int]) -> int:
    """The symbol behind the one that was told last: it goes on from its own mistakes."""
    context, told = seen[1 : seen.index(24 + SEP)], seen[seen.index(24 + SEP) + 1 :]
    following = dict(zip(context, [*context[1:], 24 + EOS], strict=True))
    return following.get(told[-1], 24 + EOS) if told else context[0]


def late(seen: list[int]) -> int:
    """As `successor`, but it begins with the second symbol."""
    return successor(seen) if seen[-1] != 24 + SEP else seen[2]


def scored(asked: CopyOptions, say: Callable[[list[int]], int]) -> dict[str, tuple[float, float, float]]:
    splits = stack_splits([CopyRetrieve.build(asked, 0, 30)], CPU)
    found = evaluate(Scripted(MODEL, CopyRetrieve.shape(asked), say), {}, splits, CopyRetrieve, 10)
    return {b.split: (b.accuracy_M.item(), b.scores["each"].item(), b.scores["exact"].item()) for b in found}


def test_free_running_of_a_model_that_knows_the_task_and_of_one_that_does_not() -> None:
    assert set(scored(options("UF"), successor).values()) == {(1.0, 1.0, 1.0)}
    assert set(scored(options("UF"), lambda _: 0).values()).isdisjoint({(1.0, 1.0, 1.0)})
    for accuracy, each, exact in scored(options("UF"), late).values():
        assert accuracy == exact == 0
        assert 0.7 < each < 1, "all but the first answer are right when the true ones are given"
    reader = scored(options("NRFirst"), lambda seen: solved("NRFirst", seen[1 : seen.index(5 + SEP)], seen[-1]))
    assert set(reader.values()) == {(1.0, 1.0, 1.0)}
    assert scored(options("NRFirst"), lambda seen: seen[-1])["x2"][2] < 0.5


def test_a_models_own_answers_are_fed_back_in_place_of_the_true_ones() -> None:
    asked = options("UF")
    batch = stack_splits([CopyRetrieve.build(asked, 0, 5)], CPU)["x1"].batch()
    model, said = Scripted(MODEL, CopyRetrieve.shape(asked), late), []
    for a in range(batch.at_MBA.shape[2]):
        said.append(model.answer_logits({}, batch.inputs_MBx, batch.at_MBA[:, :, a]).argmax(-1))
        batch = CopyRetrieve.feed(batch, a, said[-1])
    for i, tokens in enumerate(batch.inputs_MBx[0].tolist()):
        context = tokens[1 : tokens.index(24 + SEP)]
        shifted = [*context[1:], 24 + EOS]
        assert [int(answer[0, i]) for answer in said][: len(context)] == shifted
        assert tokens[len(context) + 2 :][: len(context)] == shifted
        assert set(tokens[2 * len(context) + 2 :]) <= {24 + PAD}


def test_drawn_answers_are_those_of_the_softmax_and_the_same_at_every_evaluation() -> None:
    """A model whose logits are the same everywhere: over many examples each symbol is said as often as it should be."""
    asked = options("UF")
    splits = stack_splits([CopyRetrieve.build(asked, 0, 2000)], CPU)
    logits_V = torch.full((Scripted(MODEL, CopyRetrieve.shape(asked), late).shape.width,), -torch.inf)
    logits_V[:3] = torch.tensor([0.0, 1.0, 2.0])

    class Flat(Scripted):
        def answer_logits(self, weights: Any, inputs_MBx: Tensor, at_MBx: Tensor, edit: Any = None) -> Tensor:
            return logits_V.expand(*at_MBx.shape, -1)

    said: list[Tensor] = []

    class Listening(CopyRetrieve):
        @staticmethod
        def judge(said_MSAx: Tensor, rows: Batch) -> dict[str, Tensor]:
            said.append(said_MSAx)
            return CopyRetrieve.judge(said_MSAx, rows)

    for temperature in (1.0, 1.0, 0.5, 0.0):
        evaluate(Flat(MODEL, CopyRetrieve.shape(asked), late), {}, {"x1": splits["x1"]}, Listening, 2000, temperature)
    assert torch.equal(said[0], said[1])
    for drawn, temperature in zip(said[:3], (1.0, 1.0, 0.5), strict=True):
        for a in range(drawn.shape[2]):
            seen = torch.bincount(drawn[0, :, a], minlength=3)[:3] / drawn.shape[1]
            expected = torch.softmax(logits_V[:3] / temperature, dim=0)
            assert (seen - expected).abs().max() < 4 * (0.25 / drawn.shape[1]) ** 0.5
    assert (said[0][0, :, 0] != said[0][0, :, 1]).any(), "each answer of an example is a draw of its own"
    assert set(said[3].flatten().tolist()) == {2}, "without a temperature the largest logit is said"


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"task": "two_hop", "eval": {"temperature": 1.0}}, "eval.temperature"),
        ({"task": "two_hop", "eval": {"generated": 7}}, "eval.generated"),
    ],
)
def test_how_answers_are_fed_back_is_refused_where_nothing_is(raw: dict[str, Any], key: str) -> None:
    assert [problem.key for problem in RunConfig.from_dict(raw).problems()] == [key]
