"""Registry of model families. A family is one file and one line here; contract tests run over every entry."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from grokstudy.trainables.config import Model
from grokstudy.trainables.registry import Registry
from grokstudy.trainables.tasks.base import Shape

if TYPE_CHECKING:
    from grokstudy.trainables.models.network import Network

MODELS: Registry[type[Network]] = Registry(
    "model family",
    {
        "decoder": "trainables.models.decoder:Transformer",
        "mixer": "trainables.models.mixer:Mixer",
        "attention": "trainables.models.attention:Attention",
    },
)


def build(options: Model, shape: Shape) -> Network:
    """The network of a configuration, for examples of a task's shape."""
    return MODELS[options.family](options, shape)


@functools.cache
def parameter_count(options: Model, shape: Shape) -> int:
    """Number of parameters of one member."""
    return sum(parameter.size for parameter in MODELS[options.family].layout(options, shape))


def step_flops(options: Model, shape: Shape, batch: int) -> float:
    """Floating-point operations of one training step of one member, matrix products alone."""
    return MODELS[options.family].step_flops(options, shape, batch)
