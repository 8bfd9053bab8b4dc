"""Real and synthetic facts: answers by brute force over tokens, arms at equal numbers, and states in models by hand."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from handmade import Written, values

from grokstudy.trainables import plugins
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.probes.lens import lens
from grokstudy.trainables.probes.splits import stack_splits
from grokstudy.trainables.probes.subject import Subject
from grokstudy.trainables.probes.swap import swap
from grokstudy.trainables.tasks.base import StoredRows, TaskData
from grokstudy.trainables.tasks.synthetic_facts import Drawn, SyntheticFacts, SyntheticFactsOptions
from grokstudy.trainables.tasks.triples import TRIPLES, distilled

ARMS = ("true", "false_consistent", "false_conflicting", "false_rule")
COMPARISON: dict[str, Any] = {
    "real_entities": 30, "synthetic_entities": 40, "relations": 3, "values": 5, "ood_fraction": 0.4, "phi": 4.0,
}  # fmt: skip
COMPOSITION: dict[str, Any] = {
    "form": "composition", "real_entities": 14, "synthetic_entities": 40, "relations": 6, "phi": 1.5, "types": 4,
}  # fmt: skip
PAPER: dict[str, dict[str, Any]] = {
    "comparison": {},
    "composition": {"form": "composition", "real_entities": 20, "synthetic_entities": 60, "relations": 10, "phi": 6.25},
}
FORMS = pytest.mark.parametrize("form", [COMPARISON, COMPOSITION], ids=["comparison", "composition"])
Fact = tuple[int, int]


def options(form: dict[str, Any], **changes: Any) -> SyntheticFactsOptions:
    return SyntheticFactsOptions(**{**form, **changes})


def build(form: dict[str, Any], seed: int = 0, most: int = 10_000, **changes: Any) -> TaskData:
    return SyntheticFacts.build(options(form, **changes), seed, most)


class Reader:
    """Reads tokens by the documented order: entities (real, synthetic), relations, values, labels, padding."""

    def __init__(self, o: SyntheticFactsOptions) -> None:
        self.real, self.e = o.real_entities, o.real_entities + o.synthetic_entities
        self.r, self.compares = o.relations, o.form == "comparison"
        self.v = o.values if self.compares else 0
        self.k = 0 if not self.compares else 3 if o.labels == "order" else 2
        self.padding = self.e + self.r + self.v + self.k * self.r

    def is_fact(self, row: list[int]) -> bool:
        return row[2] == self.padding

    def fact(self, row: list[int]) -> Fact:
        return row[0], row[1] - self.e

    def first(self, row: list[int]) -> Fact:
        """The fact that a chain begins with."""
        return (row[1], row[0] - self.e) if self.compares else (row[0], row[1] - self.e)

    def label(self, r: int, v1: int, v2: int) -> int:
        way = (v1 > v2) - (v1 < v2)
        return self.e + self.r + self.v + self.k * r + (way + 1 if self.k == 3 else int(way != 0))

    def both(self, row: list[int], tail: dict[Fact, int]) -> tuple[Fact, Fact]:
        """The two facts of a chain."""
        if self.compares:
            return self.first(row), (row[2], row[0] - self.e)
        return self.first(row), (tail[self.first(row)], row[2] - self.e)

    def answer(self, row: list[int], tail: dict[Fact, int]) -> int:
        """What follows from facts whose tails are tokens."""
        one, two = self.both(row, tail)
        return self.label(row[0] - self.e, tail[one], tail[two]) if self.compares else tail[two]


def lines(rows: Any) -> list[tuple[list[int], int]]:
    return list(zip(rows.inputs.tolist(), rows.target[:, 0].tolist(), strict=True))


def real_facts(data: TaskData, read: Reader) -> dict[Fact, int]:
    """The table of the real facts: what the split that asks for them says."""
    return {read.fact(row): answer for row, answer in lines(data.splits["atomic_real"])}


def stated(data: TaskData, read: Reader, tail: dict[Fact, int]) -> dict[Fact, int]:
    """What synthetic facts say, real entities among the heads where they are contradicted."""
    said: dict[Fact, int] = {}
    for row, answer in lines(data.train):
        if read.is_fact(row) and (read.fact(row) not in tail or tail[read.fact(row)] != answer):
            said[read.fact(row)] = answer
    return said


def chains(data: TaskData, read: Reader, split: str | None = None) -> list[tuple[list[int], int]]:
    rows = data.train if split is None else data.splits[split]
    return [(row, answer) for row, answer in lines(rows) if not read.is_fact(row)]


def is_synthetic(read: Reader, row: list[int]) -> bool:
    return any(read.real <= token < read.e for token in row)


@FORMS
@pytest.mark.parametrize("arm", ["none", *ARMS])
def test_answers_follow_from_the_facts_that_are_said(form: dict[str, Any], arm: Any) -> None:
    data, read = build(form, synthetic=arm, noise=0.5), Reader(options(form))
    tail = real_facts(data, read)
    assert set(tail) == set(product(range(read.real), range(read.r)))
    said = stated(data, read, tail)
    assert bool(said) == (arm != "none")
    for row, answer in [line for name in data.splits for line in chains(data, read, name) if "synthetic" not in name]:
        assert answer == read.answer(row, tail)
    wrong = 0
    trained = chains(data, read)
    for row, answer in trained:
        synthetic = is_synthetic(read, row)
        right = answer == read.answer(row, {**tail, **said} if synthetic else tail)
        assert right or (synthetic and arm == "false_rule")
        wrong += not right
    assert wrong == (round(0.5 * data.sizes["trained_synthetic"]) if arm == "false_rule" else 0)
    kinds = Counter(is_synthetic(read, row) for row, _ in trained)
    assert (kinds[False], kinds[True]) == (data.sizes["trained_real"], data.sizes["trained_synthetic"])


@pytest.mark.parametrize("size", [COMPARISON, COMPOSITION, *PAPER.values()], ids=["c", "k", "paper c", "paper k"])
@pytest.mark.parametrize("purity", [0.0, 0.8])
def test_arms_are_matched_to_the_chain_in_every_relation(size: dict[str, Any], purity: float) -> None:
    """At the paper's size too; there the conflicting arm of compositions cannot reach phi, and says so."""
    o, found = options(size, purity=purity), []
    for arm in ARMS:
        changed = options(size, purity=purity, synthetic=arm)
        if size is PAPER["composition"] and arm == "false_conflicting":
            (problem,) = SyntheticFacts.check(changed, 0)
            assert problem.key == "data.phi"
            continue
        drawn, last = Drawn.of(changed, 0), Reader(o).r
        assert drawn.lacking == []
        facts = drawn.infer.facts
        chained = np.concatenate([drawn.real.relation, drawn.synthetic.relation])
        found.append((np.bincount(facts.relation, minlength=last), np.bincount(chained, minlength=last)))
    for n_facts, n_chains in found:
        np.testing.assert_array_equal(n_facts, found[0][0])
        np.testing.assert_array_equal(n_chains, np.rint(o.phi * n_facts))


def test_counts_at_the_papers_size_are_the_papers() -> None:
    for size, facts, chained, real in (("comparison", 1000, 8000, (120, 60)), ("composition", 800, 5000, (200, 100))):
        sizes = build(PAPER[size], most=50).sizes
        assert sizes["real"] + sizes["synthetic"] == facts
        assert sizes["trained_real"] + sizes["trained_synthetic"] == chained
        assert (sizes["real"], sizes["trained_real"]) == real
        config = RunConfig.from_dict({
            "task": "synthetic_facts", "data": PAPER[size],
            "model": {"layers": 8, "loops": 1, "width": 768, "heads": 12},
        })  # fmt: skip
        assert config.problems() == []


@FORMS
def test_no_tested_chain_is_trained_and_o_facts_are_in_none(form: dict[str, Any]) -> None:
    for arm in ("none", *ARMS):
        data, read = build(form, synthetic=arm), Reader(options(form))
        tail = real_facts(data, read)
        ood = {read.fact(row) for row, _ in lines(data.splits["atomic_ood"])}
        by_relation = Counter(r for _, r in ood)
        assert set(by_relation.values()) == {round(options(form).ood_fraction * read.real)}
        trained = {tuple(row) for row, _ in chains(data, read)}
        if read.compares:
            trained |= {(r, e2, e1) for r, e1, e2 in trained}
        used: set[Fact] = set()
        said = {**tail, **stated(data, read, tail)}
        for row, _ in chains(data, read):
            if not is_synthetic(read, row):
                used |= {*read.both(row, tail)}
            elif not read.compares:
                assert read.both(row, said)[1] not in ood, "an O fact is the second hop of nothing that is trained"
        assert not used & ood
        for split in ("test_id", "near_id", "test_oo", "near_oo"):
            for row, _ in chains(data, read, split):
                assert tuple(row) not in trained
                assert {*read.both(row, tail)} <= (used if split.endswith("id") else ood)
        oo = {tuple(row) for row, _ in chains(data, read, "test_oo")}
        pairs = product(ood, ood)
        if read.compares:
            every = {(read.e + r, x, y) for (x, r), (y, s) in pairs if r == s and x != y}
        else:
            every = {(h, read.e + r, read.e + s) for (h, r), (b, s) in pairs if tail[h, r] == b}
        assert oo == every


@FORMS
def test_real_facts_and_tests_are_the_same_whatever_is_synthetic(form: dict[str, Any]) -> None:
    base = build(form, synthetic="none")
    changed: list[dict[str, Any]] = [*({"synthetic": arm} for arm in ARMS), {"synthetic_entities": 30, "phi": 1.5}]
    for changes in changed:
        data, shift = build(form, **changes), options(form, **changes).entities - options(form).entities
        for name, rows in base.splits.items():
            assert isinstance(rows, StoredRows)
            if not shift:
                np.testing.assert_array_equal(rows.inputs, data.splits[name].inputs)
                np.testing.assert_array_equal(rows.target, data.splits[name].target)
            else:
                entity = rows.inputs < options(form).real_entities
                np.testing.assert_array_equal(rows.inputs[entity], data.splits[name].inputs[entity])


@FORMS
@pytest.mark.parametrize("purity", [0.0, 1.0])
def test_arms_say_what_they_are_called(form: dict[str, Any], purity: float) -> None:
    read, facts = Reader(options(form)), {}
    for arm in ARMS:
        data = build(form, synthetic=arm, purity=purity)
        facts[arm] = stated(data, read, real_facts(data, read))
    true, consistent, conflicting = (facts[arm] for arm in ARMS[:3])
    assert facts["false_rule"] == true
    assert set(consistent) == set(true) == set(product(range(read.real, read.e), range(read.r)))
    assert all(consistent[fact] != true[fact] for fact in true)
    tail = real_facts(build(form, synthetic="none", purity=purity), read)
    data = build(form, synthetic="none", purity=purity)
    known = set(tail) - {read.fact(row) for row, _ in lines(data.splits["atomic_ood"])}
    about_real = {fact for fact in conflicting if fact[0] < read.real}
    assert about_real == known, "every I fact is contradicted"
    assert all(conflicting[fact] != tail[fact] for fact in about_real)
    trained = [row for row, _ in chains(build(form, synthetic="false_conflicting", purity=purity), read)]
    through = [row for row in trained if is_synthetic(read, row)
               and about_real & {*read.both(row, {**tail, **conflicting})}]  # fmt: skip
    assert len(through) > 0.1 * len(trained), "chains run over contradictions"


def test_where_there_is_no_structure_true_and_false_are_of_one_law_and_with_structure_they_are_not() -> None:
    """How often entities of a type agree about a relation: 1/N of the time, unless tails follow from types."""
    for purity, expected in ((0.0, (0.2, 0.2)), (1.0, (1.0, 0.25))):
        agreed = []
        for arm in ("true", "false_consistent"):
            o = options(COMPARISON, synthetic_entities=200, types=2, purity=purity, synthetic=arm, phi=1.0)
            facts = Drawn.of(o, 0).infer.facts
            tail = facts.tail[~facts.real].reshape(200, 3)
            same = [tail[i] == tail[j] for i in range(0, 200, 2) for j in range(0, i, 2)]
            agreed.append(float(np.mean(same)))
        assert agreed == pytest.approx(expected, abs=0.03), purity


@pytest.mark.parametrize("labels", ["order", "same"])
def test_guessing_on_near_pairs_gives_what_the_module_says(labels: Any) -> None:
    o = options(COMPARISON, real_entities=200, values=10, labels=labels, phi=0.6)
    data, read = SyntheticFacts.build(o, 0, 3000), Reader(o)
    tail = real_facts(data, read)
    rows = chains(data, read, "near_oo")
    known = np.array([[tail[fact] for fact in read.both(row, tail)] for row, _ in rows])
    v1, v2 = known.T - read.e - read.r
    label = np.array([answer for _, answer in rows]) - read.e - read.r - read.v
    label -= np.array([read.k * (row[0] - read.e) for row, _ in rows])
    assert Counter(label.tolist()) == {k: len(rows) // read.k for k in range(read.k)}
    assert label[: read.k].tolist() == list(range(read.k)), "in turn, so that a probe's first rows are balanced"
    if labels == "order":
        assert np.abs(v1 - v2).max() <= 1
        one = np.where(v1 < 9, 0, 2)
        assert np.mean(label == one) == pytest.approx(10 / 27, abs=0.03)
    else:
        best = sum(max(Counter(label[v1 == v].tolist()).values()) for v in range(10)) / len(rows)
        assert best == pytest.approx(0.5, abs=0.06)
        trained = [answer for row, answer in chains(data, read)]
        counts = Counter((answer - read.e - read.r - read.v) % 2 for answer in trained)
        assert counts[0] / len(trained) > 0.4, "same as often as different, as far as there are any"


def test_one_answer_per_relation_is_rarely_right_on_near_compositions() -> None:
    data, read = build(COMPOSITION), Reader(options(COMPOSITION))
    rows = chains(data, read, "near_oo")
    by_relation = Counter((row[2], answer) for row, answer in rows)
    assert max(by_relation.values()) == 1
    assert {row[2] for row, _ in rows} == {row[2] for row, _ in chains(data, read, "test_oo")}


@FORMS
@pytest.mark.parametrize("arm", ["true", "false_conflicting"])
def test_donors_stand_for_another_intermediate_of_the_kind_that_is_named(form: dict[str, Any], arm: Any) -> None:
    data, read = build(form, synthetic=arm), Reader(options(form))
    tail = real_facts(data, read)
    said = stated(data, read, tail)
    ood = {read.fact(row) for row, _ in lines(data.splits["atomic_ood"])}
    trained = {tuple(row) for row, _ in chains(data, read)}
    for split in ("train_real", "train_synthetic", "test_id", "test_oo", "near_id", "near_oo"):
        mechanism, synthetic = data.splits[split].mechanism, split == "train_synthetic"
        for kind in SyntheticFacts.swaps:
            there = 0
            rows = zip(chains(data, read, split), mechanism.donor[kind].tolist(), mechanism.swap[kind], strict=True)
            for (row, answer), donor, (place, expected) in rows:
                assert place == 1
                if expected < 0:
                    assert donor == row
                    continue
                there += 1
                assert tuple(donor) not in trained
                real = synthetic != (kind == "same_kind")
                one, fact = read.first(row), read.first(donor)
                assert (fact[0] < read.real) == real
                assert fact[0] != one[0]
                known = tail if real else {**tail, **said}
                own = {**tail, **said} if synthetic else tail
                assert (fact in ood) == (one in ood if real and not synthetic else False)
                assert expected != answer or (synthetic and arm == "false_rule")
                if read.compares:
                    assert (fact[1] != one[1], donor[2]) == (True, row[2])
                    assert expected == read.label(one[1], known[fact], own[row[2], one[1]])
                else:
                    assert donor[2] == row[2]
                    assert expected == known[known[fact], row[2] - read.e]
            assert there > 0.8 * len(mechanism.swap[kind]), (split, kind)


def test_latents_are_the_values_or_the_bridge() -> None:
    data, read = build(COMPARISON), Reader(options(COMPARISON))
    tail = real_facts(data, read)
    rows = zip(chains(data, read, "near_oo"), *data.splits["near_oo"].mechanism.latent.values(), strict=True)
    for (row, _), first, second in rows:
        assert [first.tolist(), second.tolist()] == [[i + 1, tail[f]] for i, f in enumerate(read.both(row, tail))]
    data, read = build(COMPOSITION), Reader(options(COMPOSITION))
    tail, latent = real_facts(data, read), data.splits["test_oo"].mechanism.latent
    assert set(latent) == {"first"}
    for (row, _), (place, bridge) in zip(chains(data, read, "test_oo"), latent["first"].tolist(), strict=True):
        assert (place, bridge) == (1, tail[read.first(row)])


TINY = options(
    {}, real_entities=9, synthetic_entities=8, relations=2, values=4, ood_fraction=0.45, phi_real=1.0, phi=2.0
)


def by_hand(parts: str) -> tuple[Written, TaskData]:
    """A model that knows the facts: with `values` it compares the values that it looks up; with `entities` it knows
    every comparison by heart; with `real values` the values of real entities alone are compared."""
    data, read = SyntheticFacts.build(TINY, 0, 500), Reader(TINY)
    tail = real_facts(data, read)
    tail = {**tail, **stated(data, read, tail)}
    made = Written(*Written.blank(SyntheticFacts.shape(TINY)))
    fact = np.array(list(tail))
    entity, relation, value = fact[:, 0], read.e + fact[:, 1], np.array(list(tail.values()))
    if parts == "entities":
        r, e1, e2 = (np.array(x) for x in zip(*product(range(2), range(read.e), range(read.e)), strict=True))
        label = [read.label(r_, tail[a, r_], tail[b, r_]) for r_, a, b in zip(r, e1, e2, strict=True)]
        made.attend(0, {2: 0}, "token", "brought", norm=math.sqrt(2))
        made.attend(1, {2: 1}, "token", "fetched", norm=math.sqrt(3))
        made.look_up(1, [("brought", read.e + r), ("fetched", e1), ("token", e2)], label, norm=2.0)
        return made, data
    if parts == "real values":
        known = entity < read.real
        entity, relation, value = entity[known], relation[known], value[known]
    made.attend(0, {1: 0, 2: 0}, "token", "brought", norm=math.sqrt(2))
    made.look_up(0, [("brought", relation), ("token", entity)], value, math.sqrt(3))
    made.attend(1, {2: 1}, "out", "fetched", norm=2.0)
    first = read.e + read.r
    r, v1, v2 = (np.array(x) for x in zip(*product(range(2), range(4), range(4)), strict=True))
    label = [read.label(*x) for x in zip(r.tolist(), v1.tolist(), v2.tolist(), strict=True)]
    inputs = [("brought", read.e + r), ("fetched", first + v1), ("out", first + v2)]
    made.look_up(1, inputs, label, math.sqrt(5), loud=4.0)
    return made, data


def measured(parts: str) -> dict[tuple[str, str, int | None, str | None], float]:
    made, data = by_hand(parts)
    subject = Subject(made.model, made.weights, stack_splits([data], torch.device("cpu")), 500)
    return values([*swap(subject), *lens(subject)])


def test_a_model_that_compares_values_follows_those_of_either_kind() -> None:
    found = measured("values")
    for split in ("train_real", "train_synthetic", "test_id", "test_oo", "near_oo"):
        for kind in SyntheticFacts.swaps:
            assert found[f"swap_{kind}", split, None, None] == 1.0
            assert found[f"swap_{kind}", split, 2, f"at_{kind}"] == 0.0, "nobody looks after the last block"
        assert found["lens_first", split, None, None] == 1.0


def test_a_model_that_knows_comparisons_by_heart_follows_no_value() -> None:
    found = measured("entities")
    for split in ("train_real", "train_synthetic", "test_oo"):
        assert max(found[f"swap_{kind}", split, None, None] for kind in SyntheticFacts.swaps) < 0.6
        assert found["lens_first", split, None, None] < 0.6


def test_a_circuit_of_real_values_alone_takes_no_synthetic_one() -> None:
    """So the two exchanges tell a shared circuit from one of each kind."""
    found = measured("real values")
    assert found["swap_same_kind", "test_oo", None, None] == 1.0
    assert found["swap_other_kind", "test_oo", None, None] < 0.5


@pytest.mark.parametrize(
    ("changes", "key", "fragment"),
    [
        ({"purity": 0.5, "types": 31}, "data.types", "31 types need as many"),
        ({"ood_fraction": 0.03}, "data.ood_fraction", "0.03 of 30 entities leaves no pair"),
        ({"phi": 0.4}, "data.phi", "0.4 is below data.phi_real"),
    ],
)
def test_impossible_options_are_told(changes: dict[str, Any], key: str, fragment: str) -> None:
    raw = {"task": "synthetic_facts", "data": {**COMPARISON, **changes}}
    (problem,) = RunConfig.from_dict(raw).problems()
    assert problem.key == key
    assert fragment in problem.message


@pytest.mark.parametrize(
    ("changes", "fragment"), [({"phi": 60.0}, "data.phi: 60 is above"), ({"phi_real": 20.0}, "data.phi_real: 20 is")]
)
def test_more_chains_than_a_world_has_are_told_before_and_while_it_is_built(
    changes: dict[str, float], fragment: str
) -> None:
    o = options(COMPARISON, **{"phi": 60.0, **changes})
    assert fragment in str(SyntheticFacts.check(o, 0)[0])
    with pytest.raises(ValueError, match=r"data\.phi.*for seed 0"):
        SyntheticFacts.build(o, 0, 10)
    with pytest.raises(ValueError, match=r"near_oo is empty for seed 0; .*take fewer values"):
        build(COMPARISON, values=500)


def test_data_is_the_same_on_every_machine() -> None:
    found = [build(form, synthetic=arm, purity=0.5).hash for form in (COMPARISON, COMPOSITION) for arm in ARMS[:3]]
    assert found == GOLDEN, "the data of a seed has changed: raise config.NUMERICS, then put the new hashes here"


GOLDEN = [
    "09161913a06d2f83", "b5a619f6555fade4", "844c65e77643dd81",
    "4ed3602c9619a64e", "f7871121cc8b8afe", "d05ff33386948b02",
]  # fmt: skip


# ---- a file of triples


def questions(n: int = 40) -> list[dict[str, Any]]:
    """Questions as 2WikiMultiHopQA publishes them: films, their directors and countries, directors' countries."""
    records = []
    for i in range(n):
        film, director, country = f"Film {i}", f"Director {i % 12}", f"Country {i % 12 % 5}"
        steps = [[film, "director", director], [director, "country of citizenship", country],
                 [director, "place of birth", f"Town {i % 12 % 7}"]]  # fmt: skip
        records.append({
            "_id": f"{i:08x}", "type": "compositional", "question": f"Which country is the director of {film} from?",
            "context": [[film, [f"{film} is a film."]]], "entity_ids": "Q1_Q2", "supporting_facts": [[film, 0]],
            "evidences": steps, "answer": country,
        })  # fmt: skip
        steps = [[film, "country of origin", f"Country {i % 4}"],
                 [f"Film {(i + 4) % n}", "country of origin", f"Country {(i + 4) % n % 4}"]]  # fmt: skip
        records.append({**records[-1], "type": "comparison", "evidences": steps, "answer": "yes"})
    return records


def named(folder: Path, records: Any) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "2wiki.json").write_text(json.dumps(records), encoding="utf-8")
    return plugins.from_data("./2wiki.json", folder, TRIPLES)


def test_a_file_is_what_its_triples_are(tmp_path: Path) -> None:
    name = named(tmp_path, questions())
    assert plugins.word_of(name) == "./2wiki.json"
    assert named(tmp_path / "shuffled", questions()[::-1]) == name, "order, contexts and questions do not count"
    assert named(tmp_path / "again", json.loads(plugins.text_of(name))) == name, "what was kept is read again"
    other = [*questions(), {"evidences": [["Film 99", "director", "Director 1"]]}]
    assert named(tmp_path / "other", other) != name
    assert "Director 0" in plugins.text_of(name)
    assert "question" not in plugins.text_of(name)


@pytest.mark.parametrize("form", ["comparison", "composition"])
@pytest.mark.parametrize("arm", ARMS)
def test_a_world_of_a_file_has_the_files_facts(tmp_path: Path, form: Any, arm: Any) -> None:
    name = named(tmp_path, questions())
    o = SyntheticFactsOptions(
        form=form, triples=name, labels="same", relations=4, synthetic_entities=60, synthetic=arm, phi=2.0
    )
    assert o.problems() == []
    drawn = Drawn.of(o, 0)
    facts = drawn.infer.facts
    triples = json.loads(plugins.text_of(name))
    assert Counter(r for _, r, _ in triples) == {
        "director": 40, "country of origin": 40, "country of citizenship": 12, "place of birth": 12,
    }  # fmt: skip
    real = facts.real
    assert sorted(np.bincount(facts.relation[real]).tolist()) == [12, 12, 40, 40]
    heads, tails = sorted({h for h, _, _ in triples}), sorted({t for _, _, t in triples})
    if form == "composition":
        heads = tails = sorted({*heads, *tails})
    relations = sorted({r for _, r, _ in triples}, key=lambda r: (-sum(t[1] == r for t in triples), r))
    columns = zip(facts.head[real], facts.relation[real], facts.tail[real], strict=True)
    assert sorted([heads[h], relations[r], tails[t]] for h, r, t in columns) == sorted(map(list, triples))
    limit = Drawn.limit(o, 0)
    np.testing.assert_array_equal(
        np.bincount(drawn.synthetic.relation, minlength=4),
        np.minimum(limit, np.rint(2.0 * np.bincount(facts.relation)) - np.bincount(drawn.real.relation, minlength=4)),
    )
    data = SyntheticFacts.build(o, 0, 50)
    assert all(len(rows) for rows in data.splits.values())
    if form == "composition" and arm == "true":
        for split in ("train_synthetic", "train_real"):
            expected = data.splits[split].mechanism.swap["same_kind"][:, -1]
            assert (expected >= 0).any(), "of a synthetic fact, too: its bridge is a real name"


def test_arms_of_a_file_are_matched(tmp_path: Path) -> None:
    name = named(tmp_path, questions())
    for form in ("comparison", "composition"):
        sizes = []
        for arm in ARMS:
            o = SyntheticFactsOptions(
                form=form, triples=name, labels="same", relations=4, synthetic_entities=60, synthetic=arm  # type: ignore[arg-type]
            )  # fmt: skip
            sizes.append({k: v for k, v in SyntheticFacts.build(o, 1, 50).sizes.items() if k != "synthetic_real"})
        assert all(found == sizes[0] for found in sizes)


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b'[{"_id": "1", "question": "?"}]', "record 1 has no evidences (the test file has none"),
        (b'[{"evidences": [["a", "b"]]}]', "record 1: a list is no triple"),
        (b'{"evidences": []}', "holds dict, and should hold a list of questions"),
        (b"[]", "holds no triple"),
        (b"[1,", "is no JSON: line 1, column 4"),
        (b"PK\x03\x04\xff", "is not UTF-8; unpack the archive first"),
    ],
)
def test_what_is_no_such_file_is_told(content: bytes, fragment: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fragment)):
        distilled(content)


def test_orders_and_types_of_names_are_not_known(tmp_path: Path) -> None:
    name = named(tmp_path, questions())
    assert [p.key for p in SyntheticFactsOptions(triples=name).problems()] == ["data.labels"]
    assert [p.key for p in SyntheticFactsOptions(triples=name, labels="same", purity=0.5).problems()] == ["data.purity"]
    gone = {"task": "synthetic_facts", "data": {"triples": f"./gone.json@{'0' * 16}", "labels": "same"}}
    config = RunConfig.from_dict(gone)
    assert [problem.key for problem in config.problems()] == ["data.triples"]
    assert RunConfig.from_dict(config.to_dict()).run_id == config.run_id
