"""Registry of model families. A family is one file and one line here; contract tests run over every entry."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from grokstudy.trainables.config import Model
from grokstudy.trainables.registry import Registry

if TYPE_CHECKING:
    from grokstudy.trainables.models.network import Network

MODELS: Registry[type[Network]] = Registry(
    "model family", {"decoder": "trainables.models.decoder:Transformer", "mixer": "trainables.models.mixer:Mixer"}
)


def build(options: Model, vocabulary: int) -> Network:
    """The network of a configuration."""
    return MODELS[options.family](options, vocabulary)


@functools.cache
def parameter_count(options: Model, vocabulary: int) -> int:
    """Number of parameters of one member."""
    return sum(parameter.size for parameter in MODELS[options.family].layout(options, vocabulary))


def step_flops(options: Model, vocabulary: int, batch: int) -> float:
    """Floating-point operations of one training step of one member, matrix products alone."""
    return MODELS[options.family].step_flops(options, vocabulary, batch)
