"""Transformers whose weights are set by hand, so that the true answer of every probe is known.

All have two blocks, one head, ReLU, RMSNorm without effect on what is computed (norms are known), and keep tokens,
positions, what attention brought, and answers in separate parts of the residual stream. Units are active at one
place only:
- `circuit`: block 1 at r1 looks the bridge up from (h, r1), block 2 at r2 reads it and looks the answer up from
  (b, r2). `first` and `second` say which facts each hop knows.
- `lookup`: r2 fetches r1 in block 1 and h in block 2, and looks the whole chain up. No bridge anywhere.
- `keyed_lookup`: block 1 at r1 writes which fact (h, r1) is, block 2 at r2 looks the whole chain up by it. The answer
  runs through r1, and there is no bridge.
- `overridden`: `circuit`, but for some (h, r2) block 1 at r2 shouts a wrong answer.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grokstudy.trainables.config import Model
from grokstudy.trainables.models import parameter_count
from grokstudy.trainables.models.decoder import Transformer
from grokstudy.trainables.probes.base import Measurement, Scene
from grokstudy.trainables.probes.lookup import Lookup
from grokstudy.trainables.probes.queries import Queries
from grokstudy.trainables.tasks.base import Shape
from grokstudy.trainables.tasks.graph import Examples, GraphData, chain_shape
from grokstudy.trainables.tasks.two_hop import TwoHop, TwoHopOptions

Facts = NDArray[np.bool_]
SHARP = 30.0
"""Scale of attention scores and of the unembedding: softmax is all but a choice."""


def graph(seed: int = 0, **changes: object) -> GraphData:
    """A small graph with some twenty test chains of each class."""
    options = TwoHopOptions(entities=16, relations=8, out_degree=5, ood_fraction=0.25, phi=1.0, mixed_holdout=0.4)
    return TwoHop.build(dataclasses.replace(options, **changes), seed, 1000)  # type: ignore[arg-type]


@dataclass
class Written:
    """A model and one row of weights, written part by part."""

    model: Transformer
    weights: dict[str, Tensor]
    keys: int
    """Size of the part of the residual stream that says which fact something is."""

    @staticmethod
    def blank(shape: Shape, keys: int = 0, layers: int = 2) -> tuple[Transformer, dict[str, Tensor], int]:
        """Embeddings, positions, unembedding; blocks that do nothing."""
        width = 4 * shape.classes + shape.length + keys
        plain = Model(loops=1, heads=1, mlp_ratio=6, activation="relu", tied=False, bias=True)
        options = dataclasses.replace(plain, layers=layers, width=width)
        model = Transformer(options, shape)
        weights = {
            name: value.clone() for name, value in model.unpack(torch.zeros(1, parameter_count(options, shape))).items()
        }
        for name, weight in weights.items():
            if name.endswith(("norm1", "norm2", "norm_final")):
                weight[:] = 1.0
        made = Written(model, weights, keys)
        weights["embed"][0][:, made.part("token")] = torch.eye(shape.classes)
        weights["position"][0][:, made.part("position")] = torch.eye(shape.length)
        weights["unembed"][0][made.part("out")] = SHARP * torch.eye(shape.classes)
        return model, weights, keys

    def part(self, name: str) -> slice:
        """Dimensions of the residual stream that hold one thing."""
        v, places = self.model.shape.classes, self.model.shape.length
        starts = {"token": 0, "brought": v, "fetched": 2 * v, "out": 3 * v, "position": 4 * v, "fact": 4 * v + places}
        size = {"position": places, "fact": self.keys}.get(name, v)
        return slice(starts[name], starts[name] + size)

    def attend(self, block: int, source: dict[int, int], what: str, into: str, norm: float) -> None:
        """Block's attention: place p looks at source[p] and copies one part into another; others look at themselves.

        `norm` is the length of the states that it reads, which RMSNorm divides by.
        """
        width = self.model.options.width
        qkv, out = self.weights[f"{block}.qkv"][0], self.weights[f"{block}.out"][0]
        query, key, value = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
        position = self.part("position").start
        for place in range(self.model.shape.length):
            query[position + place, place] = SHARP
            key[position + source.get(place, place), place] = SHARP
        scale = math.sqrt(width) / norm
        size = self.part(what).stop - self.part(what).start
        value[self.part(what), self.part(what)] = torch.eye(size) / scale
        out[self.part(what), self.part(into)] = torch.eye(size)

    def look_up(
        self, block: int, inputs: list[tuple[str, NDArray[np.int64]]], answer: object, norm: float,
        into: str = "out", first: int = 0, loud: float = 1.0,
    ) -> None:  # fmt: skip
        """Block's MLP from unit `first` on: one per entry, active when all its inputs are there, writes the answer."""
        entries = torch.as_tensor(answer)
        units = first + torch.arange(len(entries))
        up, down = self.weights[f"{block}.up"][0], self.weights[f"{block}.down"][0]
        assert first + len(units) <= up.shape[1]
        scale = math.sqrt(self.model.options.width) / norm
        for part, tokens in inputs:
            up[self.part(part).start + torch.as_tensor(tokens), units] = 1.0
        self.weights[f"{block}.up.bias"][0][units] = -(len(inputs) - 0.5) * scale
        down[units, self.part(into).start + entries] = 2.0 * loud / scale


@dataclass
class Handmade(Written):
    """Such a model for the chains of a graph."""

    data: GraphData

    @classmethod
    def empty(cls, data: GraphData) -> Handmade:
        """Blocks that do nothing."""
        return cls(*cls.blank(chain_shape(data.vocabulary, data.entities), len(data.graph.head)), data)

    def scene(self, cap: int = 200) -> Scene:
        """This model on up to so many queries of each split."""
        queries = Queries.build([self.data], [0], cap, torch.device("cpu"))
        return Scene(self.model, self.weights, queries, self.data.entities)


def circuit(data: GraphData, first: Facts | None = None, second: Facts | None = None) -> Handmade:
    """Hop 1 at r1 in block 1, hop 2 at r2 in block 2."""
    made, facts = Handmade.empty(data), data.graph
    everything = np.ones(len(facts.head), bool)
    first = everything if first is None else first
    second = everything if second is None else second
    relation = data.entities + facts.relation
    made.attend(0, {1: 0}, "token", "brought", norm=math.sqrt(2))
    made.look_up(0, [("brought", facts.head[first]), ("token", relation[first])], facts.tail[first], math.sqrt(3))
    made.attend(1, {2: 1}, "out", "fetched", norm=2.0)
    made.look_up(1, [("fetched", facts.head[second]), ("token", relation[second])], facts.tail[second], norm=2.0)
    return made


def lookup(data: GraphData) -> Handmade:
    """Every chain is looked up as a whole at r2; r1 never knows the bridge."""
    made = Handmade.empty(data)
    first, second = data.graph.chains()
    chains = data.graph.two_hop(first, second)
    h, r1, r2 = chains.tokens.T
    made.attend(0, {2: 1}, "token", "brought", norm=math.sqrt(2))
    made.attend(1, {2: 0}, "token", "fetched", norm=math.sqrt(3))
    made.look_up(1, [("fetched", h), ("brought", r1), ("token", r2)], chains.answer, norm=2.0)
    return made


def keyed_lookup(data: GraphData, chains: Examples) -> Handmade:
    """These chains are looked up by the state at r1, which says which fact (h, r1) is."""
    made, facts = Handmade.empty(data), data.graph
    relation = data.entities + facts.relation
    every = np.arange(len(facts.head))
    made.attend(0, {1: 0}, "token", "brought", norm=math.sqrt(2))
    made.look_up(0, [("brought", facts.head), ("token", relation)], every, math.sqrt(3), into="fact")
    made.attend(1, {2: 1}, "fact", "fact", norm=2.0)
    h, r1, r2 = chains.tokens.T
    made.look_up(1, [("fact", Lookup(data).fact(h, r1 - data.entities)), ("token", r2)], chains.answer, norm=2.0)
    return made


def overridden(data: GraphData, queries: Examples) -> Handmade:
    """A circuit whose answer is drowned wherever the head and the second relation are those of one of these queries."""
    made = circuit(data)
    made.attend(0, {1: 0, 2: 0}, "token", "brought", norm=math.sqrt(2))
    pairs = np.unique(queries.tokens[:, [0, 2]], axis=0)
    wrong = [int(min(set(range(data.entities)) - set(_answers(queries, h, r2)))) for h, r2 in pairs]
    inputs = [("brought", pairs[:, 0]), ("token", pairs[:, 1]), ("position", np.full(len(pairs), 2))]
    made.look_up(0, inputs, wrong, math.sqrt(3), first=len(data.graph.head), loud=8.0)
    return made


def _answers(queries: Examples, h: int, r2: int) -> list[int]:
    here = (queries.tokens[:, 0] == h) & (queries.tokens[:, 2] == r2)
    return [int(answer) for answer in queries.answer[here]]


def values(measured: list[Measurement]) -> dict[tuple[str, str, int | None, str | None], float]:
    """Value of the first member by (probe, split, layer, position)."""
    return {(m.probe, m.split, m.layer, m.position): float(m.value_M[0]) for m in measured}
