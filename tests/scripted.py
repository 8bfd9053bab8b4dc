"""A model that says what a function of the tokens so far says, with certainty: for scores of what is fed back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grokstudy.trainables.config import Model
from grokstudy.trainables.models.network import Network
from grokstudy.trainables.tasks.base import Shape


class Scripted(Network):
    """Says what a function of the tokens so far says, with certainty."""

    def __init__(self, options: Model, shape: Shape, say: Callable[[list[int]], int]) -> None:
        super().__init__(options, shape)
        self.say = say

    @staticmethod
    def layout(options: Model, shape: Any) -> list[Any]:
        return []

    @staticmethod
    def step_flops(options: Model, shape: Any, batch: int) -> float:
        return 0.0

    def residual(self, *_: Any, **__: Any) -> Tensor:
        raise NotImplementedError

    def unembed(self, *_: Any) -> Tensor:
        raise NotImplementedError

    def answer_logits(self, weights: Any, inputs_MBx: Tensor, at_MBx: Tensor, edit: Any = None) -> Tensor:
        said = torch.zeros(*at_MBx.shape, self.shape.classes)
        for index in np.ndindex(*at_MBx.shape):
            seen = inputs_MBx[index[0], index[1], : at_MBx[index] + 1].tolist()
            said[(*index, self.say(seen))] = 10.0
        return said
