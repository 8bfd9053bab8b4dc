"""Every probe on transformers whose weights are set by hand: the true answer is known."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from handmade import circuit, graph, lookup, values

from grokstudy.trainables import probes
from grokstudy.trainables.probes.base import Scene

TESTS = ("test_ii", "test_io", "test_oi", "test_oo")
TWO_HOP = ("train_ii", *TESTS)
DATA = graph()
ID = ~DATA.graph.ood
NONE = np.zeros(len(ID), bool)


@functools.cache
def scene(name: str) -> Scene:
    """A hand-made model by name."""
    return {
        "circuit": lambda: circuit(DATA),
        "lookup": lambda: lookup(DATA),
        "no_reader": lambda: circuit(DATA, second=NONE),
        "hop1_id_only": lambda: circuit(DATA, first=ID),
        "hop2_id_only": lambda: circuit(DATA, second=ID),
    }[name]().scene()


@functools.cache
def measured(model: str, probe: str) -> dict[tuple[str, str, int | None, str | None], float]:
    return values(list(probes.PROBES[probe](scene(model))))


def summary(model: str, probe: str, name: str, splits: tuple[str, ...] = TWO_HOP) -> list[float]:
    return [round(measured(model, probe)[name, split, None, None], 4) for split in splits]


def site(model: str, probe: str, name: str, position: str, layer: int = 1) -> list[float]:
    return [round(measured(model, probe)[name, split, layer, position], 4) for split in TWO_HOP]


def accuracy(model: str) -> list[float]:
    s = scene(model)
    return s.means(s.correct_MS, s.queries.real_MS)[0][0].tolist()


def test_the_models_answer_what_they_are_made_to_answer() -> None:
    assert accuracy("circuit") == [1, 1, 1, 1, 1]
    assert accuracy("lookup") == [1, 1, 1, 1, 1]
    assert accuracy("no_reader") == [0, 0, 0, 0, 0]
    assert accuracy("hop1_id_only") == [1, 1, 1, 0, 0]
    assert accuracy("hop2_id_only") == [1, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("model", "hits"),
    [
        ("circuit", [1, 1, 1, 1, 1]),
        ("lookup", [0, 0, 0, 0, 0]),
        ("no_reader", [1, 1, 1, 1, 1]),
        ("hop1_id_only", [1, 1, 1, 0, 0]),
        ("hop2_id_only", [1, 1, 1, 1, 1]),
    ],
)
def test_the_lens_sees_the_bridge_where_it_is(model: str, hits: list[float]) -> None:
    assert summary(model, "logit_lens", "bridge_hit") == hits
    assert summary(model, "logit_lens", "bridge_hit_any") == hits
    assert max(summary(model, "logit_lens", "bridge_hit_permuted")) < 0.3
    assert site(model, "logit_lens", "lens_bridge_hit", "r1") == hits
    assert max(site(model, "logit_lens", "lens_bridge_hit", "h", layer=0)) == 0


def test_the_lens_sees_the_answer_after_the_second_hop() -> None:
    assert site("circuit", "logit_lens", "lens_answer_hit", "r2", layer=2) == [1, 1, 1, 1, 1]
    assert max(site("circuit", "logit_lens", "lens_answer_hit", "r2", layer=1)) == 0
    assert min(site("circuit", "logit_lens", "lens_bridge_prob", "r1")) > 0.99


@pytest.mark.parametrize(
    ("model", "success"),
    [
        ("circuit", [1, 1, 1, 1, 1]),
        ("lookup", [0, 0, 0, 0, 0]),
        ("no_reader", [0, 0, 0, 0, 0]),
        ("hop1_id_only", [1, 1, 1, 0, 0]),
        ("hop2_id_only", [1, 1, 0, 1, 0]),
    ],
)
def test_cqsp_needs_the_bridge_and_its_reader(model: str, success: list[float]) -> None:
    assert summary(model, "cqsp", "cqsp") == success
    assert summary(model, "cqsp", "site_depth", ("train_ii",)) == [1]


@pytest.mark.parametrize(
    ("model", "writes", "reads"),
    [
        ("circuit", [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]),
        ("lookup", [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]),
        ("no_reader", [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]),
        ("hop1_id_only", [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]),
        ("hop2_id_only", [1, 1, 1, 1, 1], [1, 1, 0, 1, 0]),
    ],
)
def test_the_halves_of_the_circuit_are_told_apart(model: str, writes: list[float], reads: list[float]) -> None:
    assert summary(model, "circuit", "hop1_writer") == writes
    assert summary(model, "circuit", "hop2_reader") == reads
    both = [min(pair) for pair in zip(writes, reads, strict=True)]
    assert summary(model, "circuit", "circuit_strength") == both


def test_patching_finds_the_state_that_the_answer_hangs_on() -> None:
    assert site("circuit", "patching", "patch_effect", "r1") == [1, 1, 1, 1, 1]
    assert site("circuit", "patching", "patch_effect", "h") == [0, 0, 0, 0, 0]
    assert site("circuit", "patching", "patch_effect", "h", layer=0) == [1, 1, 1, 1, 1]
    assert site("circuit", "patching", "patch_effect_ld", "r1") == [1, 1, 1, 1, 1]
    assert site("circuit", "patching", "patch_effect_ld", "h") == [0, 0, 0, 0, 0]
    assert site("lookup", "patching", "patch_effect", "r1") == [0, 0, 0, 0, 0]
    assert site("lookup", "patching", "patch_effect", "h") == [1, 1, 1, 1, 1]
    for name in ("causal_strength", "causal_strength_ld", "causal_strength_all"):
        assert summary("circuit", "patching", name) == [1, 1, 1, 1, 1]
        assert summary("lookup", "patching", name) == [0, 0, 0, 0, 0]


def test_causal_strength_is_undefined_where_nothing_is_answered() -> None:
    assert np.isnan(summary("no_reader", "patching", "causal_strength")).all()
    assert np.isnan(summary("no_reader", "patching", "causal_strength_ld")).all()
    assert summary("no_reader", "patching", "causal_strength_all") == [1, 1, 1, 1, 1]


def test_restoration_brings_the_answer_back_at_the_bridge_only() -> None:
    assert summary("circuit", "restoration", "restoration") == [1, 1, 1, 1, 1]
    assert summary("circuit", "restoration", "restoration_ld") == [1, 1, 1, 1, 1]
    assert site("circuit", "restoration", "restore", "h") == [0, 0, 0, 0, 0]
    assert site("circuit", "restoration", "restore", "r2") == [0, 0, 0, 0, 0]
    assert summary("lookup", "restoration", "restoration") == [0, 0, 0, 0, 0]
    assert np.isnan(summary("no_reader", "restoration", "restoration")).all()


def test_states_of_one_bridge_are_alike_if_there_is_a_bridge() -> None:
    margin = {
        model: summary(model, "cosine", "cohesion_margin", ("atomic_id",))
        + summary(model, "cosine", "alignment_margin", ("atomic_ood",))
        for model in ("circuit", "lookup", "hop1_id_only")
    }
    assert min(margin["circuit"]) > 0.2
    assert max(np.abs(margin["lookup"])) < 0.15
    assert margin["hop1_id_only"][0] > 0.2
    assert abs(margin["hop1_id_only"][1]) < 0.15


def test_consistency_tells_whether_hits_and_answers_are_the_same_queries() -> None:
    assert summary("circuit", "consistency", "consistency_hit_given_correct") == [1, 1, 1, 1, 1]
    assert summary("lookup", "consistency", "consistency_hit_given_correct") == [0, 0, 0, 0, 0]
    assert summary("no_reader", "consistency", "consistency_correct_given_hit") == [0, 0, 0, 0, 0]
    assert np.isnan(summary("circuit", "consistency", "consistency_phi")).all()


def test_phi_is_one_when_the_queries_with_a_bridge_are_the_answered_ones() -> None:
    half = np.zeros(len(ID), bool)
    half[::2] = True
    found = values(list(probes.PROBES["consistency"](circuit(DATA, first=half).scene())))
    assert found["consistency_phi", "test_ii", None, None] == pytest.approx(1.0)


def test_probes_have_enough_queries_to_mean_something() -> None:
    assert min(len(DATA.splits[name]) for name in TESTS) >= 10
