"""Chain of thought in context by one attention layer (arXiv 2410.02167).

A task f = f_K o ... o f_1 is K permutations of P orthonormal patterns, drawn anew for each prompt. An example is the
columns (x; y_1), (y_1; y_2), ..., (y_{K-1}; y_K), each with a code of its step k; a prompt is such examples, then the
columns of a query up to (z_{k-1}; ?), and asks for z_k. In training k is uniform and one step of a prompt is asked;
in tests every step is, and a model's own answers, each decoded to the nearest pattern, go on as the next input (chain
of thought). The direct form of the same examples is one column (x; y_K) each, with the code of the first step.

An example begins with the query's pattern with probability alpha, else with another one. In noisy prompts each step
follows f with probability tau, else a wrong table that is fixed for the prompt. Then the right end is the likeliest
one of the examples that begin with the query's pattern as long as tau^K > 1/2 (`noisy`: the paper's Condition 1, which
direct answers need). `noisy_bad` breaks it: every wrong turn leads into one and the same wrong chain, whose end is met
with probability 1 - tau^K > 1/2, while each single step is still right more often than not.

Not known from the paper's abstract, introduction and poster, and chosen here: P, K, the number of examples, alpha,
rate and batch. Codes of steps have channels of their own, where the paper adds them to the patterns; the patterns are
the unit vectors, which to initial values and gradients that know no direction is as good as any orthonormal ones; the
new patterns of `tsr` are .6 a + .8 b and .8 a - .6 b of the trained ones, in pairs.

Axes: M member, B or S example, N example of a prompt, K step, P pattern, A answer, T place, R real channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grokstudy.trainables.events import Event
from grokstudy.trainables.options import Problem, option
from grokstudy.trainables.tasks.base import Batch, Fresh, Mechanism, Shape

if TYPE_CHECKING:
    from torch import Tensor

KINDS = {
    "clean": "every step of the examples is right",
    "tsr": "every step is right, of patterns that are combinations of the trained ones",
    "noisy": "steps are right with probability data.tau; the right end is the likeliest one",
    "noisy_bad": "steps are right with probability data.tau_bad; a wrong end is the likeliest one",
}
SIZES = (5, 10, 20, 40, 80)
"""Examples of a tested prompt."""
DIRECT = "direct_"
"""How the name of a split begins whose prompts have no steps between."""


@dataclass(frozen=True, kw_only=True)
class CoTOptions:
    """What prompts are made of."""

    patterns: int = option(10, "patterns P, orthonormal", ge=3)
    steps: int = option(2, "steps K of the chain", ge=2)
    examples: int = option(10, "examples of a trained prompt", ge=1)
    alpha: float = option(0.4, "share of the examples that begin with the query's pattern, in training", gt=0, le=1)
    alpha_tested: float | None = option(None, "the same in tests; null for that of training", gt=0, le=1)
    tau_trained: float = option(1.0, "probability that a step of an example is right, in training", gt=0, le=1)
    tau: float = option(0.85, "the same in splits noisy: tau^K above 1/2, so that the right end is the likeliest", le=1)
    tau_bad: float = option(0.6, "the same in splits noisy_bad: above 1/2, tau_bad^K below", gt=0.5, lt=1)
    most_examples: int = option(80, "tested prompts have 5, 10, 20, 40, 80 examples, up to so many", ge=20, le=80)

    def problems(self) -> list[Problem]:
        """Noise with which a split would not be what it is called."""
        problems = []
        right, right_bad = self.tau**self.steps, self.tau_bad**self.steps
        if right <= 0.5:
            message = f"{self.tau:g} makes an end right with probability {right:.3g} in {self.steps} steps"
            problems.append(Problem("data.tau", f"{message}; it must be more than .5 for split noisy"))
        if right_bad >= 0.5:
            message = f"{self.tau_bad:g} makes an end right with probability {right_bad:.3g} in {self.steps} steps"
            problems.append(Problem("data.tau_bad", f"{message}; it must be less than .5 for split noisy_bad"))
        return problems


class CoTICL(Fresh):
    """The task `cot_icl`."""

    Options = CoTOptions
    splits: ClassVar[dict[str, str]] = {
        f"{form}{kind}_{size}": f"new prompts of {size} examples, {wording}: {meaning}"
        for form, wording in (("", "step by step"), (DIRECT, "without the steps between, one answer"))
        for kind, meaning in KINDS.items()
        for size in SIZES
    }
    headline = "clean_20"
    shown = ("clean_20", "tsr_20", "noisy_bad_20", "direct_noisy_bad_20")
    metrics: ClassVar[dict[str, str]] = {
        "exact": "share of prompts whose answer, and every step before it, is right when the model's own are fed back",
        "step_error_rate": "share of the steps that are wrong when the model's own are fed back",
    }
    looks: ClassVar[dict[str, str]] = {
        "same_same": "columns whose input is the query's present pattern, at its step; chance is at most alpha / K",
        "same_diff": "columns whose input is that pattern, at another step",
        "diff_same": "columns of the same step whose input is another pattern",
    }
    families = ("attention",)
    events: ClassVar[dict[str, Event]] = {
        "circuit": Event(metric="mass_same_same", split=("clean_20",), at_least=0.9),
        "attends": Event(metric="mass_same_same", split=("clean_20",), at_least=0.5),
        "generalised_ii": Event(metric="step_error_rate", split=("clean_20",), at_most=0.01),
        "generalised": Event(metric="step_error_rate", split=("tsr_20",), at_most=0.01),
        "chain_despite_noise": Event(metric="exact", split=("noisy_bad_80",), at_least=0.5),
        "direct_despite_noise": Event(metric="exact", split=("direct_noisy_bad_80",), at_least=0.5),
    }
    """`circuit`, `attends`: nearly all of the attention, or half of it, is where pattern and step are the query's.
    `generalised_ii`, `generalised`: the chain is right for new functions of the trained patterns, or of new ones."""
    default_probes = ("attention_mass",)
    generates = True

    @staticmethod
    def shape(options: CoTOptions) -> Shape:
        """Columns (x; y; step). What a column tells, its y, is no part of what is asked at it."""
        p, k = options.patterns, options.steps
        return Shape(
            length=(options.examples + 1) * k, reals=2 * p + k, outputs=p, told=(p, 2 * p), value=(p, 2 * p),
            places=(max(options.examples, options.most_examples) + 1) * k, static=(p, k, options.examples),
        )  # fmt: skip

    @classmethod
    def splits_of(cls, options: CoTOptions) -> tuple[str, ...]:
        """The splits with few enough examples."""
        return tuple(name for name in cls.splits if _read(name)[1] <= options.most_examples)

    @classmethod
    def values(cls, options: Sequence[CoTOptions], seeds: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Shares alpha and tau, the latter by kind of prompt: columns (M, 1, 1)."""

        def column(values: list[float]) -> NDArray[np.float32]:
            return np.array(values, np.float32)[:, None, None]

        return {
            "alpha": column([o.alpha for o in options]),
            "alpha_tested": column([o.alpha if o.alpha_tested is None else o.alpha_tested for o in options]),
            "trained": column([o.tau_trained for o in options]),
            "clean": column([1.0 for _ in options]),
            "tsr": column([1.0 for _ in options]),
            "noisy": column([o.tau for o in options]),
            "noisy_bad": column([o.tau_bad for o in options]),
        }

    @classmethod
    def draw(cls, options: CoTOptions, values: Mapping[str, Tensor], split: str | None, word_MB: Tensor) -> Batch:
        """Prompts of these words. Columns behind the one that is asked are there, and seen by none before."""
        import torch

        from grokstudy.trainables.words import choice, fresh

        kind, size = ("trained", options.examples) if split is None else _read(split)
        direct = split is not None and split.startswith(DIRECT)
        alpha = values["alpha" if split is None else "alpha_tested"]
        path_MBNK, chain_MBK = _chains(options, alpha, values[kind], kind == "noisy_bad", size, word_MB)
        if direct:
            path_MBNK, chain_MBK = path_MBNK[..., [0, -1]], chain_MBK[..., [0, -1]]
        pattern_PP = _patterns(options.patterns, kind == "tsr", word_MB)
        inputs_MBTR = _columns(options, path_MBNK, chain_MBK, pattern_PP)
        target_MBK = chain_MBK[..., 1:]
        if split is None:
            step_MB1 = choice(fresh(word_MB, 1), options.steps)[..., None]
            return Batch(inputs_MBTR, size * options.steps + step_MB1, pattern_PP[target_MBK.gather(-1, step_MB1)])
        steps = torch.arange(target_MBK.shape[-1], device=word_MB.device)
        at_MBK = (size * len(steps) + steps).expand_as(target_MBK)
        notes = {"turned": torch.full_like(word_MB, kind == "tsr", dtype=torch.bool)}
        look = _looks(path_MBNK, chain_MBK, at_MBK, direct)
        return Batch(inputs_MBTR, at_MBK, pattern_PP[target_MBK], None, Mechanism(look=look, notes=notes))

    @staticmethod
    def scores(output_MSAx: Tensor, rows: Batch) -> dict[str, Tensor]:
        """Whether every step is right, the true ones before it given."""
        return {"accuracy": _right(output_MSAx, rows).all(dim=2)}

    @staticmethod
    def feed(rows: Batch, answer: int, output_MSx: Tensor) -> Batch:
        """The nearest pattern as what the asked column tells, and as the next column's input if a step follows."""
        import torch

        p = output_MSx.shape[2]
        prediction_MS = _nearest(output_MSx, rows)
        plain, turned = (_patterns(p, is_turned, prediction_MS)[prediction_MS] for is_turned in (False, True))
        pattern_MSP = torch.where(rows.mechanism.notes["turned"][..., None], turned, plain)
        at_MS = rows.at_MBA[:, :, answer]
        inputs_MSTR = _written(rows.inputs_MBx, at_MS, pattern_MSP, p)
        if answer + 1 < rows.at_MBA.shape[2]:
            inputs_MSTR = _written(inputs_MSTR, at_MS + 1, pattern_MSP, 0)
        return replace(rows, inputs_MBx=inputs_MSTR)

    @staticmethod
    def judge(said_MSAx: Tensor, rows: Batch) -> dict[str, Tensor]:
        """All steps right, and the share that is wrong."""
        right_MSA = _right(said_MSAx, rows)
        return {"exact": right_MSA.all(dim=2), "step_error_rate": 1.0 - right_MSA.float().mean(dim=2)}


def _read(split: str) -> tuple[str, int]:
    """Kind and number of examples of a split."""
    kind, _, size = split.removeprefix(DIRECT).rpartition("_")
    return kind, int(size)


def _chains(
    options: CoTOptions, alpha_M11: Tensor, tau_M11: Tensor, bad: bool, examples: int, word_MB: Tensor
) -> tuple[Tensor, Tensor]:
    """Patterns y_0 .. y_K of each example (M, B, N, K + 1), and z_0 .. z_K of the query (M, B, K + 1)."""
    import torch

    from grokstudy.trainables.words import choice, fresh, several, uniform

    p, k, n = options.patterns, options.steps, examples
    query_MB1 = choice(fresh(word_MB, 2), p)[..., None]
    begin = 3
    right_MBKP = several(word_MB, begin, k * p).view(*word_MB.shape, k, p).argsort(dim=-1)
    begin += k * p
    ahead_MBKP = 1 + choice(several(word_MB, begin, k * p), p - 1).view(*word_MB.shape, k, p)
    wrong_MBKP = (right_MBKP + ahead_MBKP) % p
    begin += k * p

    chain = [query_MB1]
    for step in range(k):
        chain.append(right_MBKP[:, :, step].gather(-1, chain[-1]))
    if bad:  # whoever leaves the right chain goes to a wrong one, and stays there
        wrong = [query_MB1, wrong_MBKP[:, :, 0].gather(-1, query_MB1)]
        for step in range(1, k):
            wrong.append(right_MBKP[:, :, step].gather(-1, wrong[-1]))
        into_MBKP = torch.stack(wrong[1:], dim=2)
        for left in (chain, wrong):
            wrong_MBKP = wrong_MBKP.scatter(-1, torch.stack(left[:-1], dim=2), into_MBKP)

    alike_MBN = uniform(several(word_MB, begin, n)) < alpha_M11
    begin += n
    other_MBN = (query_MB1 + 1 + choice(several(word_MB, begin, n), p - 1)) % p
    begin += n
    follows_MBKN = uniform(several(word_MB, begin, k * n).view(*word_MB.shape, k, n)) < tau_M11[..., None]
    path = [torch.where(alike_MBN, query_MB1, other_MBN)]
    for step in range(k):
        right_MBN, wrong_MBN = (table[:, :, step].gather(-1, path[-1]) for table in (right_MBKP, wrong_MBKP))
        path.append(torch.where(follows_MBKN[:, :, step], right_MBN, wrong_MBN))
    return torch.stack(path, dim=-1), torch.cat(chain, dim=-1)


def _columns(options: CoTOptions, path_MBNK: Tensor, chain_MBK: Tensor, pattern_PP: Tensor) -> Tensor:
    """Columns (M, B, T, R) of the examples, and behind them those of the query."""
    import torch

    every_MBNK = torch.cat([path_MBNK, chain_MBK[:, :, None]], dim=2)
    x_MBNKP, y_MBNKP = pattern_PP[every_MBNK[..., :-1]], pattern_PP[every_MBNK[..., 1:]]
    code_KK = torch.eye(options.steps, device=chain_MBK.device)[: x_MBNKP.shape[3]]
    code_MBNKK = code_KK.expand(*x_MBNKP.shape[:3], -1, -1)
    return torch.cat([x_MBNKP, y_MBNKP, code_MBNKK], dim=-1).flatten(2, 3)


def _looks(path_MBNK: Tensor, chain_MBK: Tensor, at_MBA: Tensor, direct: bool) -> dict[str, Tensor]:
    """The places (M, B, A, T) of `CoTICL.looks`; a direct prompt has no other step."""
    import torch

    x_MBT = torch.cat([path_MBNK[..., :-1].flatten(2), chain_MBK[..., :-1]], dim=-1)
    place, steps = torch.arange(x_MBT.shape[2], device=x_MBT.device), at_MBA.shape[2]
    before_MBAT = place < at_MBA[..., None]
    pattern_MBAT = x_MBT[:, :, None] == chain_MBK[..., :-1, None]
    step_MBAT = place % steps == at_MBA[..., None] % steps
    looks = {
        "same_same": before_MBAT & pattern_MBAT & step_MBAT,
        "same_diff": before_MBAT & pattern_MBAT & ~step_MBAT,
        "diff_same": before_MBAT & ~pattern_MBAT & step_MBAT,
    }
    return {name: look for name, look in looks.items() if not (direct and name == "same_diff")}


def _patterns(p: int, turned: bool, like: Tensor) -> Tensor:
    """The patterns (P, P), one a row: the unit vectors, or these turned in pairs (the last of an odd number stays)."""
    import torch

    pattern_PP = torch.eye(p, device=like.device)
    if turned:
        even = torch.arange(0, p - 1, 2, device=like.device)
        pattern_PP[even, even], pattern_PP[even, even + 1] = 0.6, 0.8
        pattern_PP[even + 1, even], pattern_PP[even + 1, even + 1] = 0.8, -0.6
    return pattern_PP


def _nearest(output_MSx: Tensor, rows: Batch) -> Tensor:
    """Number of the pattern that is nearest to each output: all have length 1, so the largest inner product."""
    import torch

    turned_MSx = output_MSx @ _patterns(output_MSx.shape[-1], True, output_MSx).T
    is_turned = rows.mechanism.notes["turned"].view(*output_MSx.shape[:2], *[1] * (output_MSx.dim() - 2))
    return torch.where(is_turned, turned_MSx, output_MSx).argmax(dim=-1)


def _right(output_MSAx: Tensor, rows: Batch) -> Tensor:
    """Whether each answer (M, S, A) is the right pattern."""
    return _nearest(output_MSAx, rows) == _nearest(rows.target_MBAx, rows)


def _written(inputs_MSTR: Tensor, at_MS: Tensor, pattern_MSP: Tensor, channel: int) -> Tensor:
    """Inputs with a pattern written at a place of each example, from a channel on."""
    import torch

    index_MS1P = at_MS[..., None, None].expand(-1, -1, 1, pattern_MSP.shape[2])
    own = slice(channel, channel + pattern_MSP.shape[2])
    written = inputs_MSTR[..., own].scatter(2, index_MS1P, pattern_MSP[:, :, None])
    return torch.cat([inputs_MSTR[..., : own.start], written, inputs_MSTR[..., own.stop :]], dim=-1)
