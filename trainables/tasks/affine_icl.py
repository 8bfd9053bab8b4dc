"""Affine recurrences, learnt in context from their own values (arXiv 2410.17438).

A sequence x_0, x_1, ... follows x_{n+1} = a x_n + b, with a, b and x_0 drawn anew for each: a uniform up to `slope` in
absolute value, b and x_0 up to 1. A place holds x_n, as a real number, and at every place the next value is asked. Two
transitions tell a and b, so that from the third answer on nothing is uncertain: what a model learns in context shows in
how its error falls from the first answer to the third.

The paper trains a transformer of three layers and says what it does: the zeroth layer copies to make a first estimate,
and heads of the second refine it by negative similarity. Its distributions, lengths and sizes are not known here; all
settings are ours. So is the reading of a head of negative similarity as one that looks at values unlike the current one
rather than at those like it. Sequences converge, so that recent values are like the current one, too.

Axes: M member, B example, S example of a split, T place, A answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grokstudy.trainables.events import Event
from grokstudy.trainables.options import option
from grokstudy.trainables.tasks.base import Batch, Fresh, Mechanism, Shape

if TYPE_CHECKING:
    from torch import Tensor

LONG, WIDE = 2, 1.2
"""By what factor sequences of split `long` are longer, and slopes of split `wide` are at most larger."""
KNOWN = 2
"""Number of the first answer before which two transitions were seen."""


@dataclass(frozen=True, kw_only=True)
class AffineOptions:
    """What sequences are like."""

    length: int = option(12, "values T that a sequence shows; the next one is asked behind each", ge=4)
    slope: float = option(1.0, "largest |a|", gt=0)
    tolerance: float = option(0.1, "largest error that counts as right, from the third answer on", gt=0)


class AffineICL(Fresh):
    """The task `affine_icl`."""

    Options = AffineOptions
    splits: ClassVar[dict[str, str]] = {
        "fresh": "new sequences of the training distribution",
        "wide": f"new sequences with |a| from the largest trained one to {WIDE} times that",
        "long": f"new sequences of {LONG} times the trained length, scored at all of their places",
    }
    headline = "wide"
    positions = ("answer",)
    metrics: ClassVar[dict[str, str]] = {
        "nmse": "mean squared error from the third answer on, over the variance of the values asked there",
        "relative": "the same error over that of saying the current value again",
        "persistence": "nmse of saying the current value again",
        "least_squares": "nmse of a least-squares line through the transitions seen",
        "first": "mean squared error of the first answer, over the variance of the values asked from the third on",
        "second": "the same of the second answer",
        "third": "the same of the third answer",
    }
    looks: ClassVar[dict[str, str]] = {
        "before": "the place before the current one",
        "alike": "the half of the earlier places whose values are nearest to the current one",
        "unlike": "the half of them whose values are farthest from it",
    }
    truths: ClassVar[dict[str, str]] = {
        "now": "the current value x_n",
        "next": "the next value x_{n+1}, which is asked",
    }
    events: ClassVar[dict[str, Event]] = {
        "circuit": Event(metric="follows_now", split=("fresh",), layer=1, position="answer", at_least=0.9),
        "reads_before": Event(metric="mass_before", split=("fresh",), at_least=0.5),
        "refined": Event(metric="relative", split=("fresh",), at_most=0.5),
        "generalised_ii": Event(metric="nmse", split=("fresh",), at_most=0.01),
        "generalised": Event(metric="nmse", split=("wide",), at_most=0.01),
    }
    """`circuit`: what is read behind the first block follows the current value, the copy. `refined`: half the error of
    a copy; `generalised`: (nearly) none, for slopes that were not trained."""
    default_probes = ("attention_mass", "value_lens")

    @staticmethod
    def shape(options: AffineOptions) -> Shape:
        """One real number in, one out, at every place."""
        t = options.length
        return Shape(length=t, reals=1, outputs=1, answers=t, places=LONG * t)

    @classmethod
    def values(cls, options: Sequence[AffineOptions], seeds: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Largest slopes and tolerances: columns (M, 1)."""
        return {
            "slope_M1": np.array([[o.slope] for o in options], np.float32),
            "tolerance_M1": np.array([[o.tolerance] for o in options], np.float32),
        }

    @classmethod
    def draw(cls, options: AffineOptions, values: Mapping[str, Tensor], split: str | None, word_MB: Tensor) -> Batch:
        """Sequences of these words."""
        import torch

        from grokstudy.trainables.words import fresh, uniform

        def within(number: int) -> Tensor:
            """Uniform from -1 to 1 (M, B)."""
            return 2 * uniform(fresh(word_MB, number)) - 1

        slope_MB = within(1)
        if split == "wide":
            slope_MB = slope_MB.sign() * (1 + (WIDE - 1) * slope_MB.abs())
        slope_MB, shift_MB = slope_MB * values["slope_M1"], within(2)
        terms = [within(3)]
        for _ in range(options.length * (LONG if split == "long" else 1)):
            terms.append(slope_MB * terms[-1] + shift_MB)
        x_MBT = torch.stack(terms, dim=2)
        now_MBA, next_MBA = x_MBT[..., :-1], x_MBT[..., 1:]
        at_MBA = torch.arange(now_MBA.shape[2], device=word_MB.device).expand(now_MBA.shape)
        mechanism = None
        if split is not None:
            tolerance_MBA = values["tolerance_M1"][..., None].expand_as(now_MBA)
            notes = {"least_squares": _least_squares(x_MBT), "tolerance": tolerance_MBA}
            mechanism = Mechanism(look=_looks(now_MBA), truth={"now": now_MBA, "next": next_MBA}, notes=notes)
        return Batch(now_MBA[..., None], at_MBA, next_MBA[..., None], None, mechanism)

    @staticmethod
    def scores(output_MSAx: Tensor, rows: Batch) -> dict[str, Tensor]:
        """Errors over the variance of what is asked, of the model and of those who do without one."""
        target_MSA, notes = rows.target_MBAx[..., 0], rows.mechanism.notes
        known_MSA = target_MSA[:, :, KNOWN:]
        variance_M1 = known_MSA.flatten(1).var(dim=1, correction=0)[:, None]

        def error(prediction_MSA: Tensor) -> Tensor:
            return (prediction_MSA - target_MSA).square() / variance_M1[..., None]

        own_MSA, persistent_MSA = error(output_MSAx[..., 0]), error(rows.inputs_MBx[..., 0])
        nmse_MS, persistence_MS = (e_MSA[:, :, KNOWN:].mean(dim=2) for e_MSA in (own_MSA, persistent_MSA))
        within_MSA = (output_MSAx[..., 0] - target_MSA).abs() <= notes["tolerance"]
        return {
            "accuracy": within_MSA[:, :, KNOWN:].all(dim=2),
            "nmse": nmse_MS,
            "relative": nmse_MS / persistence_MS.mean(dim=1, keepdim=True),
            "persistence": persistence_MS,
            "least_squares": error(notes["least_squares"])[:, :, KNOWN:].mean(dim=2),
            "first": own_MSA[:, :, 0],
            "second": own_MSA[:, :, 1],
            "third": own_MSA[:, :, KNOWN],
        }


def _least_squares(x_MBT: Tensor) -> Tensor:
    """What the line through the transitions seen so far says (M, B, A): 0 of none, the later value of one."""
    import torch

    x_MBT = x_MBT.double()
    from_MB1T, to_MB1T = x_MBT[:, :, None, :-1], x_MBT[:, :, None, 1:]
    answers = from_MB1T.shape[3]
    seen_AT = torch.ones(answers, answers, dtype=x_MBT.dtype, device=x_MBT.device).tril(-1)
    count_A1 = seen_AT.sum(dim=1, keepdim=True).clamp(min=1)
    mean_from, mean_to = ((seen_AT * y).sum(dim=3, keepdim=True) / count_A1 for y in (from_MB1T, to_MB1T))
    apart_MBAT = (from_MB1T - mean_from) * seen_AT
    spread_MBA = apart_MBAT.square().sum(dim=3)
    slope_MBA = (apart_MBAT * (to_MB1T - mean_to)).sum(dim=3) / spread_MBA.where(spread_MBA > 0, 1.0)
    return (mean_to[..., 0] + slope_MBA * (x_MBT[:, :, :-1] - mean_from[..., 0])).float()


def _looks(x_MBA: Tensor) -> dict[str, Tensor]:
    """The places (M, B, A, T) of `AffineICL.looks`."""
    import torch

    place = torch.arange(x_MBA.shape[2], device=x_MBA.device)
    earlier_AT = place < place[:, None]
    apart_MBAT = (x_MBA[..., None] - x_MBA[..., None, :]).abs().masked_fill(~earlier_AT, torch.inf)
    rank_MBAT = apart_MBAT.argsort(dim=3, stable=True).argsort(dim=3)
    half_A1 = place[:, None] // 2
    return {
        "before": (place == place[:, None] - 1).expand(rank_MBAT.shape),
        "alike": rank_MBAT < half_A1,
        "unlike": (rank_MBAT >= place[:, None] - half_A1) & earlier_AT,
    }
