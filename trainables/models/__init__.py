"""Registry of model families. A family is one file and one line here; contract tests run over every entry."""

from __future__ import annotations

import functools

from grokstudy.trainables.config import Model
from grokstudy.trainables.models import decoder as model
from grokstudy.trainables.models import mixer
from grokstudy.trainables.models.network import Network, Parameter


def build(options: Model, vocabulary: int) -> Network:
    """The network of a configuration."""
    families: dict[str, type[model.Transformer] | type[mixer.Mixer]] = {
        "decoder": model.Transformer, "mixer": mixer.Mixer,
    }  # fmt: skip
    return families[options.family](options, vocabulary)


@functools.cache
def parameter_count(options: Model, vocabulary: int) -> int:
    """Number of parameters of one member."""
    layouts = {"decoder": model.layout, "mixer": mixer.layout}
    parameters: list[Parameter] = layouts[options.family](options, vocabulary)
    return sum(parameter.size for parameter in parameters)


def step_flops(options: Model, vocabulary: int, batch: int) -> float:
    """Floating-point operations of one training step of one member, matrix products alone."""
    return {"decoder": model.step_flops, "mixer": mixer.step_flops}[options.family](options, vocabulary, batch)
