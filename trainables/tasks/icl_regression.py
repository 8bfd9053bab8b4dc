"""In-context regression of Lipschitz functions by one attention layer (arXiv 2507.20443).

A prompt is (x_1, f(x_1)), ..., (x_N, f(x_N)), (x, ?). Each x is one of K feature vectors v_k with a little noise, f is
drawn anew for each prompt, L-Lipschitz: f(x) = L sin(u x + b), or L u x, u uniform on the sphere, b uniform over the
circle. The prediction is the mean of the labels by attention, so a model can only learn to look at the examples that
have the query's feature. Everything is drawn as it is needed: no prompt is seen twice.

The paper gives the setting in words; K, N, the noise, the functions and L are chosen here. Feature vectors are the
columns of an orthogonal matrix of the seed. The optimiser matters: under AdamW a run no longer depends on L.

Axes: M member, B example, N context, D dimension, K feature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from grokstudy.trainables.events import Event
from grokstudy.trainables.options import Problem, option
from grokstudy.trainables.randomness import Stream
from grokstudy.trainables.tasks.base import Batch, Fresh, Mechanism, Shape

if TYPE_CHECKING:
    from torch import Tensor

NOISY, LONG = 4, 4
"""By what factor the noise, or the number of examples, of the splits with these names is larger."""


@dataclass(frozen=True, kw_only=True)
class RegressionOptions:
    """What prompts are made of."""

    features: int = option(8, "feature vectors K, orthonormal", ge=2)
    dimension: int = option(8, "dimension d of x; at least features", ge=2)
    context: int = option(64, "examples N in a prompt", ge=1)
    noise: float = option(0.05, "expected length of the noise that is added to a feature vector", ge=0)
    lipschitz: float = option(1.0, "Lipschitz constant L of the functions", gt=0)
    function: Literal["sin", "linear"] = option("sin", "L sin(u x + b), or L u x")
    tolerance: float = option(0.1, "largest error of a prediction that counts as right", gt=0)

    def problems(self) -> list[Problem]:
        """More orthonormal features than dimensions."""
        if self.features <= self.dimension:
            return []
        message = f"{self.features} orthonormal features do not fit into data.dimension = {self.dimension}"
        return [Problem("data.features", message)]


class ICLRegression(Fresh):
    """The task `icl_regression`."""

    Options = RegressionOptions
    splits: ClassVar[dict[str, str]] = {
        "fresh": "new prompts of the training distribution",
        "noisy": f"new prompts with {NOISY} times the noise",
        "long": f"new prompts with {LONG} times as many examples",
    }
    headline = "fresh"
    metrics: ClassVar[dict[str, str]] = {
        "absolute": "mean squared error",
        "relative": "mean squared error over that of the context's mean label",
    }
    looks: ClassVar[dict[str, str]] = {"feature": "examples that have the query's feature; chance is 1 / K"}
    families = ("attention", "decoder")
    events: ClassVar[dict[str, Event]] = {
        "circuit": Event(metric="mass_feature", split=("fresh",), at_least=0.9),
        "generalised_ii": Event(metric="relative", split=("fresh",), at_most=0.1),
        "generalised": Event(metric="relative", split=("noisy", "long"), at_most=0.1),
        "attends": Event(metric="mass_feature", split=("fresh",), at_least=0.5),
        "accurate": Event(metric="absolute", split=("fresh",), at_most=0.01),
    }
    """`circuit`, `attends`: nearly all of the attention, or half of it, is at the query's feature. `generalised` is
    relative to how labels vary; `accurate` is not, and so depends on L in another way."""
    default_probes = ("attention_mass",)

    @staticmethod
    def shape(options: RegressionOptions) -> Shape:
        """Columns (x; y), the query's label 0."""
        d, places = options.dimension, options.context + 1
        static = (options.features, options.function)
        return Shape(
            length=places, reals=d + 1, outputs=1, places=LONG * options.context + 1, query=(0, d), value=(d, d + 1),
            static=static,
        )  # fmt: skip

    @classmethod
    def values(cls, options: Sequence[RegressionOptions], seeds: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Feature vectors (M, K, D) of each seed, Lipschitz constants, noises and tolerances (M,)."""
        return {
            "feature_MKD": np.stack([_features(o, seed) for o, seed in zip(options, seeds, strict=True)]),
            "lipschitz_M": np.array([o.lipschitz for o in options], np.float32),
            "noise_M": np.array([o.noise for o in options], np.float32),
            "tolerance_M": np.array([o.tolerance for o in options], np.float32),
        }

    @classmethod
    def draw(
        cls, options: RegressionOptions, values: Mapping[str, Tensor], split: str | None, word_MB: Tensor
    ) -> Batch:
        """Prompts of these words."""
        import torch

        from grokstudy.trainables.words import choice, normal, several, uniform

        d, n = options.dimension, options.context * (LONG if split == "long" else 1)
        feature_MKD, noise_M = values["feature_MKD"], values["noise_M"] * (NOISY if split == "noisy" else 1)
        kind_MBN = choice(several(word_MB, 1, n + 1), options.features)
        member = torch.arange(len(kind_MBN), device=kind_MBN.device)[:, None, None]
        jitter_MBND = normal(word_MB, n + 2, (n + 1) * d).view(*word_MB.shape, n + 1, d)
        x_MBND = feature_MKD[member, kind_MBN] + jitter_MBND * (noise_M * d**-0.5)[:, None, None, None]
        begin = n + 2 + (n + 1) * d + 1
        direction_MBD = torch.nn.functional.normalize(normal(word_MB, begin, d), dim=-1)
        phase_MB1 = 2 * torch.pi * uniform(several(word_MB, begin + d + 1, 1))
        along_MBN = (x_MBND * direction_MBD[:, :, None]).sum(dim=-1)
        shaped_MBN = (along_MBN + phase_MB1).sin() if options.function == "sin" else along_MBN
        y_MBN = values["lipschitz_M"][:, None, None] * shaped_MBN
        label_MBN = torch.cat([y_MBN[..., :n], torch.zeros_like(y_MBN[..., n:])], dim=-1)
        at_MBA = torch.full_like(word_MB, n)[..., None]
        mechanism = None
        if split is not None:
            same_MBN = (kind_MBN == kind_MBN[..., n:]) & (torch.arange(n + 1, device=word_MB.device) < n)
            plain_MBA = y_MBN[..., :n].mean(dim=-1, keepdim=True)
            tolerance_MBA = values["tolerance_M"][:, None, None].expand_as(plain_MBA)
            mechanism = Mechanism(
                look={"feature": same_MBN[:, :, None]}, notes={"baseline": plain_MBA, "tolerance": tolerance_MBA}
            )
        inputs = torch.cat([x_MBND, label_MBN[..., None]], dim=-1)
        return Batch(inputs, at_MBA, y_MBN[..., n:, None], None, mechanism)

    @staticmethod
    def scores(output_MSAx: Tensor, rows: Batch) -> dict[str, Tensor]:
        """Within the tolerance or not; squared errors as they are, and over the mean one of the context's mean."""
        error_MS = (output_MSAx - rows.target_MBAx)[:, :, 0, 0].square()
        baseline_MS = (rows.mechanism.notes["baseline"] - rows.target_MBAx[..., 0])[:, :, 0].square()
        return {
            "accuracy": error_MS.sqrt() <= rows.mechanism.notes["tolerance"][:, :, 0],
            "absolute": error_MS,
            "relative": error_MS / baseline_MS.mean(dim=1, keepdim=True),
        }


def _features(options: RegressionOptions, seed: int) -> NDArray[np.float32]:
    """K orthonormal vectors (K, D) of a seed, by Gram and Schmidt."""
    d = options.dimension
    drawn = Stream(seed, "features").normal(d * d).reshape(d, d).astype(np.float64)
    basis: list[NDArray[np.float64]] = []
    for vector in drawn[: options.features]:
        for other in basis:
            vector = vector - (vector @ other) * other
        basis.append(vector / np.linalg.norm(vector))
    return np.stack(basis).astype(np.float32)
