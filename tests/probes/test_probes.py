"""The contract of every probe, over the registry: pure, bounded, the same in a pack as alone. And their queries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from grokstudy.trainables import probes
from grokstudy.trainables.config import Model
from grokstudy.trainables.measurements import NEEDS
from grokstudy.trainables.models import build
from grokstudy.trainables.models.members import keep_members
from grokstudy.trainables.probes.base import Measurement, Scene
from grokstudy.trainables.probes.lookup import Lookup
from grokstudy.trainables.probes.queries import Queries
from grokstudy.trainables.tasks import known_splits
from grokstudy.trainables.tasks.graph import GraphData, chain_shape
from grokstudy.trainables.tasks.two_hop import TwoHop, TwoHopOptions

MODELS = {
    "looped": Model(width=16, heads=2),
    "one_block": Model(width=16, heads=2, layers=1, loops=1),
    "post_norm": Model(width=16, heads=2, norm_place="post", activation="relu", tied=False),
    "injected": Model(width=16, heads=2, layers=1, loops=3, input_injection=True),
    "mixer": Model(family="mixer", width=16, layers=1, thinks=2, slots=2),
}
SEEDS = [3, 4, 5]
CPU = torch.device("cpu")


def data(seed: int) -> GraphData:
    options = TwoHopOptions(entities=20, relations=8, out_degree=5, ood_fraction=0.2, phi=2.0)
    return TwoHop.build(options, seed, 60)


DATA = [data(seed) for seed in SEEDS]


def scene(options: Model, rows: list[int]) -> Scene:
    """An untrained model with large weights, so that states differ, on the data of some seeds."""
    model = build(options, chain_shape(DATA[0].vocabulary, DATA[0].entities))
    scale = 10.0 if options.family == "decoder" else 1.0
    flat_MP = torch.stack([scale * model.initial(SEEDS[row]) for row in rows])
    queries = Queries.build([DATA[row] for row in rows], [SEEDS[row] for row in rows], 40, CPU)
    return Scene(model, model.unpack(flat_MP), queries, DATA[0].entities)


def measure(name: str, where: Scene) -> list[Measurement]:
    with torch.no_grad():
        return list(probes.PROBES[name](where))


def site(m: Measurement) -> tuple[str, str, int | None, str | None]:
    return m.probe, m.split, m.layer, m.position


@pytest.fixture(params=list(NEEDS))
def probe(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=MODELS)
def options(request: pytest.FixtureRequest) -> Model:
    return MODELS[request.param]


def test_leaves_weights_queries_and_random_state_untouched(probe: str, options: Model) -> None:
    where = scene(options, [0, 1])
    tensors = {**where.weights, **{k: v for k, v in vars(where.queries).items() if isinstance(v, torch.Tensor)}}
    before = {name: value.clone() for name, value in tensors.items()}
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"]
    first = measure(probe, where)
    assert all(torch.equal(before[name], value) for name, value in tensors.items())
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state(legacy=False)["state"]["key"])
    again = measure(probe, scene(options, [0, 1]))
    assert all(torch.equal(a.value_M.nan_to_num(), b.value_M.nan_to_num()) for a, b in zip(first, again, strict=True))


def test_is_the_same_in_any_order(probe: str) -> None:
    shared = scene(MODELS["looped"], [0, 1])
    for other in NEEDS:
        measure(other, shared)
    alone = {site(m): m for m in measure(probe, scene(MODELS["looped"], [0, 1]))}
    for m in measure(probe, shared):
        assert torch.equal(m.value_M.nan_to_num(), alone[site(m)].value_M.nan_to_num())


def test_packed_equals_solo(probe: str, options: Model) -> None:
    together = measure(probe, scene(options, [0, 1, 2]))
    for row in range(3):
        alone = measure(probe, scene(options, [row]))
        assert [site(m) for m in alone] == [site(m) for m in together]
        for a, t in zip(alone, together, strict=True):
            torch.testing.assert_close(
                t.value_M[row], a.value_M[0], rtol=1e-3, atol=1e-4, equal_nan=True, msg=str(site(a))
            )
            assert t.n_M[row] == a.n_M[0], site(a)


def test_a_member_that_leaves_changes_nothing_for_the_others(probe: str) -> None:
    whole = scene(MODELS["looped"], [0, 1, 2])
    fewer = scene(MODELS["looped"], [0, 2])
    fewer.queries = keep_members(whole.queries, torch.tensor([0, 2]))
    for a, b in zip(measure(probe, whole), measure(probe, fewer), strict=True):
        torch.testing.assert_close(a.value_M[[0, 2]], b.value_M, rtol=1e-3, atol=1e-4, equal_nan=True)
        assert torch.equal(a.n_M[[0, 2]], b.n_M)


def bounds(name: str) -> tuple[float, float]:
    """What a measurement can be, by its name."""
    if name.endswith("_ld"):
        return -math.inf, math.inf
    if name.endswith(("_rank", "_depth", "_choices")):
        return 0, math.inf
    if name.endswith("_margin"):
        return -2, 2
    if name in ("cohesion", "alignment", "separation", "consistency_phi"):
        return -1, 1
    return 0, 1


def test_values_are_in_range_and_sites_exist(probe: str, options: Model) -> None:
    where = scene(options, [0, 1])
    found = measure(probe, where)
    assert found
    for m in found:
        low, high = bounds(m.probe)
        finite = m.value_M[m.value_M.isfinite()]
        assert ((finite >= low - 1e-4) & (finite <= high + 1e-4)).all(), (site(m), m.value_M)
        assert not m.value_M.isinf().any(), site(m)
        assert m.value_M.shape == m.n_M.shape == (2,)
        assert (m.n_M == m.n_M.round()).all()
        assert (m.n_M >= 0).all()
        assert m.split in known_splits()
        assert (m.layer is None) == (m.position is None)
        assert m.layer is None or (0 <= m.layer <= where.model.depth and m.position in where.positions)


def test_the_bridge_is_looked_for_where_the_tail_of_a_fact_is_said(options: Model) -> None:
    where = scene(options, [0, 1])
    fact_MST = where.queries.tokens_MST[:, :, :2]
    said_MSV = where.model.answer_logits(where.weights, fact_MST, torch.ones_like(fact_MST[:, :, 0]))
    final_MSTD = where.model.residual(where.weights, fact_MST)
    there_MSV = where.model.unembed(where.weights, final_MSTD[:, :, where.bridge_place])
    torch.testing.assert_close(there_MSV, said_MSV)
    assert where.positions[where.bridge_place] == ("r2" if options.family == "mixer" else "r1")
    for name in ("capacity", "mediation", "cqsp"):
        places = {m.position for m in measure(name, where) if m.layer is not None}
        assert places == {where.positions[where.bridge_place]}


def test_a_probe_measures_what_its_line_in_the_registry_says(probe: str) -> None:
    found = [site(m) for m in measure(probe, scene(MODELS["looped"], [0]))]
    said = probes.MEASURED[probe]
    assert {name for name, _, layer, _ in found if layer is None} == set(said.summaries)
    assert {name for name, _, layer, _ in found if layer is not None} == set(said.sites)


def test_no_two_rows_of_the_whole_set_are_of_the_same_thing() -> None:
    where = scene(MODELS["looped"], [0])
    sites = [site(m) for name in NEEDS for m in measure(name, where)]
    assert len(sites) == len(set(sites))
    assert len(sites) <= 1500, "rows of one evaluation with every probe: what a run writes to disk each time"


def test_partners_of_queries_are_what_they_should_be() -> None:
    q, d = Queries.build([DATA[0]], [SEEDS[0]], 40, CPU), DATA[0]
    table, n = Lookup(d), d.entities
    facts = {(int(h), int(r)): (int(t), bool(o)) for h, r, t, o in zip(
        d.graph.head, d.graph.relation, d.graph.tail, d.graph.ood, strict=True)}  # fmt: skip
    assert all(table.fact_ER[key] >= 0 for key in facts)

    def chain(tokens: list[int]) -> tuple[int, int, bool]:
        h, r1, r2 = tokens[0], tokens[1] - n, tokens[2] - n
        bridge, ood1 = facts[h, r1]
        answer, ood2 = facts[bridge, r2]
        return bridge, answer, ood1 or ood2

    for s in range(q.tokens_MST.shape[1]):
        tokens, answer = q.tokens_MST[0, s].tolist(), int(q.answer_MS[0, s])
        assert chain(tokens)[:2] == (int(q.bridge_MS[0, s]), answer)
        for place, other in enumerate(q.corrupted_answer_MSP[0, s].tolist()):
            changed = q.corrupted_MSPT[0, s, place].tolist()
            if other >= 0:
                assert chain(changed)[1] == other != answer
                assert [a != b for a, b in zip(tokens, changed, strict=True)] == [place == p for p in range(3)]
            else:
                assert changed == tokens
        if q.context_answer_MS[0, s] >= 0:
            context = q.context_MST[0, s].tolist()
            bridge, other, any_ood = chain(context)
            assert context[2] == tokens[2]
            assert other == int(q.context_answer_MS[0, s]) != answer
            assert bridge != q.bridge_MS[0, s]
            assert not any_ood
        if q.onward_answer_MS[0, s] >= 0:
            onward = q.onward_MST[0, s].tolist()
            bridge, other, any_ood = chain(onward)
            aim = int(q.onward_answer_MS[0, s])
            assert onward[2] != tokens[2]
            assert facts[int(q.bridge_MS[0, s]), onward[2] - n] == (aim, False)
            assert other != aim
            assert bridge != q.bridge_MS[0, s]
            assert not any_ood
    assert (q.onward_answer_MS >= 0).float().mean() > 0.9
    assert (q.corrupted_answer_MSP >= 0).float().mean() > 0.9
    assert (q.context_answer_MS >= 0).float().mean() > 0.9


def test_facts_of_a_group_lead_to_one_bridge() -> None:
    q, d = Queries.build([DATA[0]], [SEEDS[0]], 40, CPU), DATA[0]
    table, n = Lookup(d), d.entities
    fact = q.fact_MFT[0].numpy()
    rows = table.fact(fact[:, 0], fact[:, 1] - n)
    group = q.fact_group_MF[0].numpy()
    assert np.array_equal(d.graph.ood[rows], q.fact_ood_MF[0].numpy())
    bridge_of = {int(g): int(d.graph.tail[row]) for g, row in zip(group, rows, strict=True)}
    assert all(bridge_of[int(g)] == d.graph.tail[row] for g, row in zip(group, rows, strict=True))
    assert sorted(bridge_of) == list(range(q.groups))
    for s in range(q.tokens_MST.shape[1]):
        if q.group_MS[0, s] >= 0:
            assert bridge_of[int(q.group_MS[0, s])] == q.bridge_MS[0, s]
        if q.own_fact_MS[0, s] >= 0:
            assert fact[q.own_fact_MS[0, s], :2].tolist() == q.tokens_MST[0, s, :2].tolist()


def test_a_query_keeps_its_partners_when_more_are_asked_for() -> None:
    few, many = (Queries.build([DATA[0]], [SEEDS[0]], cap, CPU) for cap in (10, 40))
    first = [int((many.split_S == j).nonzero()[0]) for j in range(5)]
    for j, start in enumerate(first):
        mine = few.split_S == j
        count = int(mine.sum())
        for name in ("tokens_MST", "corrupted_MSPT", "context_MST", "onward_MST"):
            assert torch.equal(getattr(few, name)[:, mine], getattr(many, name)[:, start : start + count])


def test_resuming_from_any_depth_gives_the_same_answer(options: Model) -> None:
    where = scene(options, [0, 1])
    with torch.no_grad():
        tokens = where.queries.tokens_MST
        at = torch.full_like(tokens[:, :, 0], 2)
        whole = where.model.answer_logits(where.weights, tokens, at)
        for depth in range(where.model.depth + 1):
            resumed = where.model.resume(where.weights, tokens, where.clean[: depth + 1], at)
            torch.testing.assert_close(resumed, whole)


@pytest.mark.parametrize("place", range(3))
def test_patching_at_a_site_equals_editing_the_whole_run(options: Model, place: int) -> None:
    where = scene(options, [0, 1])
    with torch.no_grad():
        q = where.queries
        at = torch.full_like(q.tokens_MST[:, :, 0], 2)
        for depth in range(where.model.depth):
            donor_MSD = where.context[depth][:, :, place]

            def write(now: int, resid_MSTD: torch.Tensor, *, depth: int = depth) -> torch.Tensor:
                changed = resid_MSTD.clone()
                changed[:, :, place] = where.context[depth][:, :, place]
                return changed if now == depth else resid_MSTD

            whole = where.model.answer_logits(where.weights, q.tokens_MST, at, write)
            torch.testing.assert_close(where.patched(q.tokens_MST, where.clean, depth, place, donor_MSD), whole)
