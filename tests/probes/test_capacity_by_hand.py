"""Capacity and mediation of a trained run, computed again one query at a time in plain numpy, sharing no code that runs
the model; and the partners that they are computed with, checked against plain sets of chains.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import erf
from small_runs import train_to

from grokstudy.trainables import probes
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.probes.base import Measurement, Scene
from grokstudy.trainables.probes.exchanges import LEAST
from grokstudy.trainables.probes.partners import MOST, Partners
from grokstudy.trainables.probes.queries import Queries
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.tasks import TASKS
from grokstudy.trainables.tasks.graph import GraphData
from grokstudy.trainables.training.pack import Pack

Floats = NDArray[np.float64]
Chain = tuple[int, int, int]

DATA: dict[str, Any] = {
    "entities": 30, "relations": 8, "out_degree": 6, "ood_fraction": 0.3, "phi": 2.8, "exposure": "both_hops",
    "holdout": 0.3, "mixed_holdout": 0.4,
}  # fmt: skip
CONFIG = {
    "seed": 1,
    "data": DATA,
    "model": {"layers": 2, "loops": 2, "width": 32, "heads": 2},
    "train": {"steps": 2000, "batch": 128, "checkpoint_every": 2000},
    "eval": {"every": 2000, "probe_examples": 90, "probes": ["capacity", "mediation"]},
}  # fmt: skip


class Plain:
    """The decoder of one member, one chain at a time, in float64."""

    def __init__(self, scene: Scene) -> None:
        self.w = {name: value[0].double().numpy() for name, value in scene.weights.items()}
        self.options = scene.model.options
        self.entities = scene.entities

    def norm(self, name: str, x: Floats) -> Floats:
        normed: Floats = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * self.w[name]
        return normed

    def block(self, name: str, x_TD: Floats) -> Floats:
        heads, width = self.options.heads, self.options.width
        q, k, v = np.split(self.norm(f"{name}.norm1", x_TD) @ self.w[f"{name}.qkv"], 3, axis=1)
        mixed = np.zeros_like(x_TD)
        for head in range(heads):
            part = slice(head * width // heads, (head + 1) * width // heads)
            for t in range(len(x_TD)):
                score = k[: t + 1, part] @ q[t, part] / np.sqrt(width // heads)
                pattern = np.exp(score - score.max())
                mixed[t, part] = pattern / pattern.sum() @ v[: t + 1, part]
        x_TD = x_TD + mixed @ self.w[f"{name}.out"]
        hidden = self.norm(f"{name}.norm2", x_TD) @ self.w[f"{name}.up"]
        out_TD: Floats = x_TD + (hidden * 0.5 * (1 + erf(hidden / np.sqrt(2)))) @ self.w[f"{name}.down"]
        return out_TD

    def states(self, chain: Chain, depth: int | None = None, state: Floats | None = None) -> list[Floats]:
        """States at every depth, with one written at r1 at a depth."""
        x = self.w["embed"][list(chain)] + self.w["position"]
        path = [x]
        for after in range(1, self.options.depth + 1):
            x = self.block(str((after - 1) % self.options.layers), x)
            if after == depth:
                x = x.copy()
                x[1] = state
            path.append(x)
        return path

    def answer(self, chain: Chain, depth: int | None = None, state: Floats | None = None) -> int:
        """The entity that is said."""
        last = self.states(chain, depth, state)[-1][2]
        return int((self.norm("norm_final", last) @ self.w["embed"].T)[: self.entities].argmax())


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A run that has begun to generalise, at its end."""
    config = RunConfig.from_dict(CONFIG)
    pack = Pack([config], Store(tmp_path_factory.mktemp("by_hand")))
    train_to(pack, 1999)
    assert pack.queries is not None
    return Scene(pack.model, pack.engine.evaluated(), pack.queries, config.data.entities)


@pytest.fixture(scope="module")
def product(scene: Scene) -> dict[tuple[Any, ...], tuple[float, int]]:
    """(value, n) by measurement, split and layer."""
    with torch.no_grad():
        found: list[Measurement] = [m for name in ("capacity", "mediation") for m in probes.PROBES[name](scene)]
    return {(m.probe, m.split, m.layer): (float(m.value_M[0]), int(m.n_M[0])) for m in found}


def rows(scene: Scene, split: str) -> Iterator[int]:
    index = scene.queries.splits.index(split)
    for s in range(scene.queries.tokens_MST.shape[1]):
        if scene.queries.split_S[s] == index and scene.queries.real_MS[0, s]:
            yield s


def chain(tensor: torch.Tensor, *index: int) -> Chain:
    h, r1, r2 = tensor[0][index].tolist()
    return h, r1, r2


def agree(product: tuple[float, int], hits: list[float]) -> None:
    """The same mean over as many, up to one flip of a tie by rounding; null below LEAST."""
    value, n = product
    assert n == len(hits)
    if n < LEAST:
        assert np.isnan(value)
    else:
        assert value == pytest.approx(np.mean(hits), abs=1.01 / n)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("split", ["test_ii", "test_oo"])
def test_capacity_one_query_at_a_time(scene: Scene, product: Any, split: str, depth: int) -> None:
    p, q, plain = scene.queries.partners, scene.queries, Plain(scene)
    assert p is not None
    writers: list[float] = []
    readers: list[float] = []
    both: list[float] = []
    products: list[float] = []
    for s in rows(scene, split):
        own = plain.states(chain(q.tokens_MST, s))[depth][1]
        writes = [
            plain.answer(chain(p.writing_MSNT, s, n), depth, own) == int(p.writing_answer_MSN[0, s, n])
            for n in range(MOST)
            if p.writing_answer_MSN[0, s, n] >= 0
        ]
        reads = []
        for n in range(MOST):
            if p.reading_answer_MSN[0, s, n] >= 0:
                donor = plain.states(chain(p.donor_MSNT, s, n))[depth][1]
                reads.append(plain.answer(chain(p.reading_MSNT, s, n), depth, donor) == int(q.answer_MS[0, s]))
        writers += [float(np.mean(writes))] if writes else []
        readers += [float(np.mean(reads))] if reads else []
        if writes and reads:
            both.append(float(np.mean(writes) >= 0.5 and np.mean(reads) >= 0.5))
            products.append(float(np.mean(writes) * np.mean(reads)))
    for name, hits in {"writer": writers, "reader": readers, "capacity": both, "capacity_mean": products}.items():
        agree(product[name, split, depth], hits)
    assert len(both) >= LEAST


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("split", ["test_ii", "test_oo"])
def test_mediation_one_pair_at_a_time(scene: Scene, product: Any, split: str, depth: int) -> None:
    p, q, plain = scene.queries.partners, scene.queries, Plain(scene)
    assert p is not None
    every = [plain.states(chain(q.tokens_MST, s))[depth][1] for name in q.splits for s in rows(scene, name)]
    mean = np.mean(every, axis=0)
    swaps, right, lost = [], [], []
    for s in rows(scene, split):
        query = chain(q.tokens_MST, s)
        if plain.answer(query) == int(q.answer_MS[0, s]):
            lost.append(float(plain.answer(query, depth, mean) != int(q.answer_MS[0, s])))
        for n in range(MOST):
            target = int(p.swap_answer_MSN[0, s, n])
            if target < 0:
                continue
            donor = chain(p.swap_MSNT, s, n)
            right.append(float(plain.answer(donor) == target))
            if right[-1]:
                swaps.append(float(plain.answer(query, depth, plain.states(donor)[depth][1]) == target))
    agree(product["iia", split, depth], swaps)
    agree(product["donor_right", split, None], right)
    agree(product["necessity", split, depth], lost)


def test_the_site_is_where_swaps_succeed_on_trained_queries(scene: Scene, product: Any) -> None:
    success = scene.exchanges.pair_means(scene.exchanges.swap.hit_KMSN, scene.exchanges.swap.used_MSN)[0][:, 0, 0]
    depth = 1 + int(success.argmax())
    assert product["capacity_depth", "train_ii", None][0] == product["mediation_depth", "train_ii", None][0] == depth
    for name in ("writer", "reader", "capacity", "iia", "necessity"):
        np.testing.assert_equal(product[name, "test_ii", None], product[name, "test_ii", depth])


OPTIONS: dict[str, dict[str, Any]] = {"two_hop": DATA, "two_hop_transfer": {**DATA, "new_facts": 30, "retained": 200}}


@functools.cache
def drawn(task: str) -> tuple[Any, Queries, Partners]:
    data = TASKS[task].build(TASKS[task].Options(**OPTIONS[task]), 1, 1000)
    assert isinstance(data, GraphData)
    queries = Queries.build([data], [1], 60, torch.device("cpu"), ["capacity"])
    assert queries.partners is not None
    return data, queries, queries.partners


@pytest.mark.parametrize("task", list(OPTIONS))
def test_no_partner_was_trained_and_all_are_what_they_are_called(task: str) -> None:
    data, q, p = drawn(task)
    graph, e = data.graph, data.entities
    facts = {
        (int(h), int(r) + e): (int(t), bool(o))
        for h, r, t, o in zip(graph.head, graph.relation, graph.tail, graph.ood, strict=True)
    }
    trained = {tuple(row) for row in data.train.tokens[data.train.answer_at == 2].tolist()}
    trained |= {tuple(row) for row in data.composed.tokens.tolist()}
    counted = {"writing": 0, "reading": 0, "swap": 0}
    for s in range(q.tokens_MST.shape[1]):
        if not q.real_MS[0, s]:
            continue
        h, r1, r2 = chain(q.tokens_MST, s)
        b, t = int(q.bridge_MS[0, s]), int(q.answer_MS[0, s])
        if q.splits[int(q.split_S[s])].startswith(("test", "new", "old")):
            assert (h, r1, r2) not in trained
        for n in range(MOST):
            if (aim := int(p.writing_answer_MSN[0, s, n])) >= 0:
                counted["writing"] += 1
                h_, r1_, onward = chain(p.writing_MSNT, s, n)
                assert (h, r1, onward) not in trained
                assert onward != r2
                assert facts[b, onward] == (aim, False)
                bridge, ood = facts[h_, r1_]
                own, onward_ood = facts[bridge, onward]
                assert (ood, onward_ood) == (False, False)
                assert bridge != b
                assert own != aim
                assert int(p.writing_other_MSN[0, s, n]) not in (own, aim)
            if (aim := int(p.reading_answer_MSN[0, s, n])) >= 0:
                counted["reading"] += 1
                donor = chain(p.donor_MSNT, s, n)
                assert aim == t
                assert donor not in trained
                assert donor[2] == r2
                assert donor[:2] != (h, r1)
                assert facts[donor[:2]] == (b, False)
                h_, r1_, same = chain(p.reading_MSNT, s, n)
                assert same == r2
                bridge, ood = facts[h_, r1_]
                assert not ood
                assert bridge != b
                assert facts[bridge, r2][0] != t
                assert not facts[bridge, r2][1]
            if (aim := int(p.swap_answer_MSN[0, s, n])) >= 0:
                counted["swap"] += 1
                donor = chain(p.swap_MSNT, s, n)
                bridge, ood = facts[donor[:2]]
                assert donor not in trained
                assert donor[2] == r2
                assert bridge != b
                assert facts[bridge, r2][0] == aim != t
                assert (ood, facts[bridge, r2][1]) == (facts[h, r1][1], facts[b, r2][1])
                assert int(p.swap_other_MSN[0, s, n]) not in (t, aim)
    assert min(counted.values()) > 100, counted


def test_pairs_of_a_query_are_distinct() -> None:
    _, q, p = drawn("two_hop")
    for s in range(q.tokens_MST.shape[1]):
        swaps = [chain(p.swap_MSNT, s, n) for n in range(MOST) if p.swap_answer_MSN[0, s, n] >= 0]
        assert len(set(swaps)) == len(swaps)


def test_a_query_keeps_its_partners_when_more_are_asked_for() -> None:
    data, _, _ = drawn("two_hop")
    few, many = (Queries.build([data], [1], cap, torch.device("cpu"), ["capacity"]) for cap in (10, 60))
    assert few.partners is not None
    assert many.partners is not None
    for j in range(len(few.splits)):
        mine, theirs = few.split_S == j, (many.split_S == j).nonzero()[:, 0]
        for name, value in vars(few.partners).items():
            kept = theirs[: int(mine.sum())]
            assert torch.equal(value[:, mine], getattr(many.partners, name)[:, kept]), name
