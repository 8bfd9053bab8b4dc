"""Transformers whose weights are set by hand, so that the true answer of every probe is known.

All have two blocks, one head, ReLU, RMSNorm without effect on what is computed (norms are known), and keep tokens,
positions, what attention brought, and answers in separate parts of the residual stream. Units are active at one
place only:
- `circuit`: block 1 at r1 looks the bridge up from (h, r1), block 2 at r2 reads it and looks the answer up from
  (b, r2). `first` and `second` say which facts each hop knows.
- `lookup`: r2 fetches r1 in block 1 and h in block 2, and looks the whole chain up. No bridge anywhere.
"""

from __future__ import annotations

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
from grokstudy.trainables.probes.queries import Queries
from grokstudy.trainables.tasks.graph import TaskData
from grokstudy.trainables.tasks.two_hop import TwoHop, TwoHopOptions

Facts = NDArray[np.bool_]
SHARP = 30.0
"""Scale of attention scores and of the unembedding: softmax is all but a choice."""


def graph(seed: int = 0) -> TaskData:
    """A small graph with some twenty test chains of each class."""
    options = TwoHopOptions(entities=16, relations=8, out_degree=5, ood_fraction=0.25, phi=1.0, mixed_holdout=0.4)
    return TwoHop.build(options, seed, 1000)


@dataclass
class Handmade:
    """A model and one row of weights, written part by part."""

    data: TaskData
    model: Transformer
    weights: dict[str, Tensor]

    @classmethod
    def empty(cls, data: TaskData) -> Handmade:
        """Embeddings, positions, unembedding; blocks that do nothing."""
        vocabulary = data.vocabulary
        width = 4 * vocabulary + 3
        options = Model(layers=2, loops=1, width=width, heads=1, mlp_ratio=6, activation="relu", tied=False, bias=True)
        model = Transformer(options, vocabulary)
        weights = {
            name: value.clone()
            for name, value in model.unpack(torch.zeros(1, parameter_count(options, vocabulary))).items()
        }
        for name in ("0.norm1", "0.norm2", "1.norm1", "1.norm2", "norm_final"):
            weights[name][:] = 1.0
        made = cls(data, model, weights)
        weights["embed"][0][:, made.part("token")] = torch.eye(vocabulary)
        weights["position"][0][:, made.part("position")] = torch.eye(3)
        weights["unembed"][0][made.part("out")] = SHARP * torch.eye(vocabulary)
        return made

    def part(self, name: str) -> slice:
        """Dimensions of the residual stream that hold one thing."""
        v = self.data.vocabulary
        starts = {"token": 0, "brought": v, "fetched": 2 * v, "out": 3 * v, "position": 4 * v}
        return slice(starts[name], starts[name] + (3 if name == "position" else v))

    def attend(self, block: int, source: dict[int, int], what: str, into: str, norm: float) -> None:
        """Block's attention: place p looks at source[p] and copies one part into another; others look at themselves.

        `norm` is the length of the states that it reads, which RMSNorm divides by.
        """
        width = self.model.options.width
        qkv, out = self.weights[f"{block}.qkv"][0], self.weights[f"{block}.out"][0]
        query, key, value = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
        position = self.part("position").start
        for place in range(3):
            query[position + place, place] = SHARP
            key[position + source.get(place, place), place] = SHARP
        scale = math.sqrt(width) / norm
        value[self.part(what), self.part(what)] = torch.eye(self.data.vocabulary) / scale
        out[self.part(what), self.part(into)] = torch.eye(self.data.vocabulary)

    def look_up(self, block: int, inputs: list[tuple[str, NDArray[np.int64]]], answer: object, norm: float) -> None:
        """Block's MLP: one unit per entry, active when all its input tokens are there, writes the answer."""
        entries = torch.as_tensor(answer)
        units = torch.arange(len(entries))
        up, down = self.weights[f"{block}.up"][0], self.weights[f"{block}.down"][0]
        assert len(units) <= up.shape[1]
        scale = math.sqrt(self.model.options.width) / norm
        for part, tokens in inputs:
            up[self.part(part).start + torch.as_tensor(tokens), units] = 1.0
        self.weights[f"{block}.up.bias"][0][units] = -(len(inputs) - 0.5) * scale
        down[units, self.part("out").start + entries] = 2.0 / scale

    def scene(self) -> Scene:
        """This model on up to 200 queries of each split."""
        queries = Queries.build([self.data], [0], 200, torch.device("cpu"))
        return Scene(self.model, self.weights, queries, self.data.entities)


def circuit(data: TaskData, first: Facts | None = None, second: Facts | None = None) -> Handmade:
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


def lookup(data: TaskData) -> Handmade:
    """Every chain is looked up as a whole at r2; r1 never knows the bridge."""
    made = Handmade.empty(data)
    first, second = data.graph.chains()
    chains = data.graph.two_hop(first, second)
    h, r1, r2 = chains.tokens.T
    made.attend(0, {2: 1}, "token", "brought", norm=math.sqrt(2))
    made.attend(1, {2: 0}, "token", "fetched", norm=math.sqrt(3))
    made.look_up(1, [("fetched", h), ("brought", r1), ("token", r2)], chains.answer, norm=2.0)
    return made


def values(measured: list[Measurement]) -> dict[tuple[str, str, int | None, str | None], float]:
    """Value of the first member by (probe, split, layer, position)."""
    return {(m.probe, m.split, m.layer, m.position): float(m.value_M[0]) for m in measured}
