"""The knowledge graph and its splits: sizes, disjointness, shared randomness, golden hash."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from grokstudy.trainables.randomness import Stream
from grokstudy.trainables.tasks.graph import GraphData
from grokstudy.trainables.tasks.two_hop import TwoHop, TwoHopOptions

PAPER = TwoHopOptions(
    entities=2000, relations=200, out_degree=20, ood_fraction=0.05, holdout=0.005, phi=18.0, mixed_holdout=0.05
)
EXPOSURES = ("natural", "first_hop", "second_hop", "both_hops")


def build(seed: int = 0, **options: object) -> GraphData:
    return TwoHop.build(dataclasses.replace(TwoHopOptions(), **options), seed, 10_000)  # type: ignore[arg-type]


def rows(data: GraphData, split: str | None = None) -> set[tuple[int, ...]]:
    examples = data.train if split is None else data.splits[split]
    return {tuple(row) for row in examples.tokens.tolist()}


def test_paper_graph_has_the_published_sizes() -> None:
    sizes = TwoHop.build(PAPER, 0, 3000).sizes
    assert sizes["atomic"] == 40_000
    assert sizes["atomic_ood"] == 2_000
    # Expectations of arXiv 2601.09049 appendix B; a class size varies by less than 3% between seeds.
    expected = {"chains_ii": 722_000, "chains_io": 37_700, "chains_oi": 38_000, "chains_oo": 2_000}
    for name, count in expected.items():
        assert sizes[name] == pytest.approx(count, rel=0.05), name
    assert sum(sizes[name] for name in expected) == 800_000
    assert sizes["trained_ii"] == 18 * 38_000


def test_data_is_the_same_on_every_machine() -> None:
    found = (build().hash, build(seed=1).hash, build(exposure="both_hops").hash)
    golden = ("5e159a92a24d41b6", "0f3e1094bb62bb00", "e4ba558ff3d60be7")
    assert found == golden, "the data of a seed has changed: raise config.NUMERICS, then put the new hashes here"


def test_answers_are_reached_by_composing_facts() -> None:
    data = build(exposure="both_hops")
    graph = data.graph
    facts = zip(graph.head.tolist(), graph.relation.tolist(), graph.tail.tolist(), strict=True)
    tail = {(head, relation): tail for head, relation, tail in facts}
    for name, examples in data.splits.items():
        for (h, r1, r2), answer, bridge in zip(examples.tokens, examples.answer, examples.bridge, strict=True):
            first = tail[int(h), int(r1) - data.entities]
            if name.startswith("atomic"):
                assert (first, -1) == (answer, bridge)
            else:
                assert bridge == first
                assert answer == tail[int(first), int(r2) - data.entities]


@pytest.mark.parametrize("exposure", EXPOSURES)
def test_no_test_chain_is_trained_on(exposure: str) -> None:
    data = build(exposure=exposure)
    trained = rows(data)
    for split in ("test_ii", "test_io", "test_oi", "test_oo"):
        assert not trained & rows(data, split), split
    assert rows(data, "train_ii") <= trained


@pytest.mark.parametrize("exposure", EXPOSURES)
def test_splits_do_not_depend_on_the_regime(exposure: str) -> None:
    natural, other = build(), build(exposure=exposure)
    for split in natural.splits:
        np.testing.assert_array_equal(natural.splits[split].tokens, other.splits[split].tokens)


def test_letters_of_a_split_say_which_hop_is_out_of_distribution() -> None:
    data = build()
    graph = data.graph
    number = {(h, r): i for i, (h, r) in enumerate(zip(graph.head.tolist(), graph.relation.tolist(), strict=True))}
    for split in ("test_ii", "test_io", "test_oi", "test_oo"):
        examples = data.splits[split]
        for (h, r1, r2), bridge in zip(examples.tokens.tolist(), examples.bridge.tolist(), strict=True):
            letters = "".join(
                "o" if graph.ood[number[head, relation - data.entities]] else "i"
                for head, relation in ((h, r1), (bridge, r2))
            )
            assert letters == split.removeprefix("test_")


def test_smaller_phi_trains_on_a_subset() -> None:
    small, large = build(phi=3.0), build(phi=6.0)
    assert rows(small) < rows(large)
    assert small.sizes["trained_ii"] == 3 * small.sizes["atomic_id"]


def test_exposure_adds_chains_with_one_unseen_fact_and_none_with_two() -> None:
    natural = rows(build())
    first, second, both = (rows(build(exposure=e)) - natural for e in EXPOSURES[1:])
    assert first
    assert second
    assert both == first | second
    assert not both & rows(build(), "test_oo")


def test_exposure_takes_at_most_k_chains_per_fact_and_the_share_of_facts() -> None:
    natural = build()
    n_all = build(exposure="first_hop").sizes["exposed"]
    limited = build(exposure="first_hop", exposure_k=2, exposure_ratio=0.5)
    extra = rows(limited) - rows(natural)
    per_fact: dict[tuple[int, int], int] = {}
    for h, r1, _ in extra:
        per_fact[h, r1] = per_fact.get((h, r1), 0) + 1
    universe = {tuple(row[:2]) for row in natural.splits["test_oo"].tokens.tolist()}
    assert set(per_fact) <= universe
    assert max(per_fact.values()) == 2
    assert len(per_fact) <= round(0.5 * len(universe))
    assert limited.sizes["exposed"] == len(extra) < n_all


def test_phi_above_what_the_graph_has_is_told_with_the_limit() -> None:
    limit = TwoHop.phi_limit(TwoHopOptions(), 0)
    options = TwoHopOptions(phi=limit + 0.01)
    (problem,) = TwoHop.check(options, 0)
    assert f"{limit:.4g}" in problem.message
    with pytest.raises(ValueError, match=r"data.phi"):
        TwoHop.build(options, 0, 100)
    assert TwoHop.build(TwoHopOptions(phi=limit - 0.01), 0, 100)


def test_streams_draw_what_they_say() -> None:
    draws = Stream(0, "a").integers(10, 100_000)
    np.testing.assert_allclose(np.bincount(draws, minlength=10) / 100_000, 0.1, atol=0.005)
    assert sorted(Stream(1, "b").permutation(50).tolist()) == list(range(50))
    normal = Stream(2, "c").normal(200_000)
    assert abs(float(normal.mean())) < 0.01
    assert float(normal.std()) == pytest.approx(1.0, abs=0.01)
    assert Stream(0, "a").raw(4).tolist() != Stream(0, "b").raw(4).tolist()
    assert Stream(0, "a").raw(4).tolist() != Stream(1, "a").raw(4).tolist()
