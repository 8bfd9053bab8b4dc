"""Attention-free recursive mixer (family `mixer`): the network that arXiv 2601.09049 trains in its released code.

The code's `arch=trm` with `mlp_t=True` (Tiny Recursive Model, arXiv 2510.04871; docs/science.md#mixer). It is neither
causal nor autoregressive: the input is h r1 r2 and two blanks, and it fills the tail in at the slot after the last
token.

    block(x) = norm_D(y + swiglu_D(y)),  y = norm_T(x + swiglu_T(x))      T mixes positions, D channels
    f(z)     = all blocks in a row
    a cycle  = `thinks` times  z_L <- f(z_L + z_H + x),  then once  z_H <- f(z_H + z_L)
    answer   = lm_head(z_H) after `cycles` cycles; gradients flow through the last cycle only

Both norms are RMS without gain, norm_T over the position axis as in the code. No biases, no position encoding; x is
the embedding times sqrt(D), behind it `slots` learned vectors that start at zero. Stages are the effective depth:
0 is z_H at the start, then every update in turn, whichever stream it wrote.

Where we differ: no halting head (with one halting step it decides nothing there, but its loss is added), slots are
trained by the optimiser of everything else, the fixed start of z_H and z_L is the same for all seeds, and the slots lie
behind the tokens (the order of positions has no meaning here).

Axes: M member, B example, T position (tokens, then slots), D width, I inner width, V vocabulary, N any rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from grokstudy.trainables.config import Model
from grokstudy.trainables.models.embedding import lookup
from grokstudy.trainables.models.network import IGNORED, Edit, Network, Parameter, at_position
from grokstudy.trainables.randomness import Stream
from grokstudy.trainables.tasks.base import Shape

EPS = 1e-5


def inner_width(size: int, options: Model) -> int:
    """Inner width of a SwiGLU over `size` features: 2/3 of the ratio, rounded up to the multiple."""
    return math.ceil(round(options.mlp_ratio * size * 2 / 3) / options.inner_multiple) * options.inner_multiple


class Mixer(Network):
    """The function of the network."""

    own_positions = ("answer", "end")
    says_behind = 1
    mean_per_example = True

    @staticmethod
    def layout(options: Model, shape: Shape) -> list[Parameter]:
        """The parameters in the order in which they lie in the flat row. The vocabulary grows by the end token."""
        width, places, tokens = options.width, _places(options, shape), shape.classes + 1

        def linear(name: str, fan_in: int, fan_out: int) -> Parameter:
            return Parameter(name, (fan_in, fan_out), 1 / math.sqrt(fan_in), truncated=True)

        def swiglu(name: str, size: int) -> list[Parameter]:
            inner = inner_width(size, options)
            return [linear(f"{name}.gate_up", size, 2 * inner), linear(f"{name}.down", inner, size)]

        parameters = [Parameter("embed", (tokens, width), 1 / math.sqrt(width), truncated=True)]
        if options.slots:
            parameters.append(Parameter("slots", (options.slots, width), None))
        for i in range(options.layers):
            parameters += swiglu(f"{i}.places", places) + swiglu(f"{i}.channels", width)
        return [*parameters, linear("unembed", width, tokens)]

    @staticmethod
    def step_flops(options: Model, shape: Shape, batch: int) -> float:
        """Floating-point operations of one training step: all stages forward, twice more those of the last cycle."""
        places, width = _places(options, shape), options.width
        mixing = width * 6 * places * inner_width(places, options)
        stage = options.layers * (mixing + places * 6 * width * inner_width(width, options))
        stages = options.depth + 2 * (options.thinks + 1)
        return float(batch * (stages * stage + 3 * 2 * width * (shape.classes + 1) * places))

    def __init__(self, options: Model, shape: Shape) -> None:
        """Lay out the parameters of one member."""
        super().__init__(options, shape)
        self.positions = (*shape.names, *self.own_positions)
        self.blank, self.end, self.vocabulary = shape.classes - 1, shape.classes, shape.classes + 1
        start = {name: Stream(0, f"mixer/{name}").truncated_normal(options.width) for name in ("z_H", "z_L")}
        self.start_D = {name: torch.from_numpy(values) for name, values in start.items()}

    def targets(self, tokens_MBT: Tensor, answer_at_MB: Tensor, answer_MB: Tensor) -> Tensor:
        """The input tokens again, the answer in its slot, then the end; slots behind it are ignored."""
        places = _places(self.options, self.shape)
        target = F.pad(tokens_MBT, (0, places - tokens_MBT.shape[2]), value=IGNORED)
        place = torch.arange(target.shape[2], device=target.device)
        answer_at = answer_at_MB[:, :, None] + self.says_behind
        target = torch.where(place == answer_at, answer_MB[:, :, None], target)
        target = torch.where(place == answer_at + 1, self.end, target)
        return target.masked_fill(place > answer_at + 1, IGNORED)

    def residual(
        self, weights: dict[str, Tensor], inputs_MBx: Tensor, edit: Edit | None = None, last: int | None = None
    ) -> Tensor:
        """z_H after stage `last`, or after all (M, B, T, D). `edit` sees the stream that each stage wrote."""
        x_MBTD = self._input(weights, inputs_MBx)
        start_MBTD = self._start("z_H", x_MBTD)
        return self._recurse(weights, x_MBTD, [start_MBTD if edit is None else edit(0, start_MBTD)], edit, last)

    def unembed(self, weights: dict[str, Tensor], resid_MxD: Tensor) -> Tensor:
        """Logits (M, x, V) of states (M, x, D) with any axes between; the states are already normalised."""
        members, width = resid_MxD.shape[0], resid_MxD.shape[-1]
        logits = torch.bmm(resid_MxD.reshape(members, -1, width), weights["unembed"])
        return logits.view(*resid_MxD.shape[:-1], self.vocabulary)

    def answer_logits(
        self, weights: dict[str, Tensor], inputs_MBx: Tensor, at_MBx: Tensor, edit: Edit | None = None
    ) -> Tensor:
        """Logits (M, B, V) in each example's answer slot, the one after its last token."""
        return self.unembed(weights, at_position(self.residual(weights, inputs_MBx, edit), at_MBx + self.says_behind))

    def resume(
        self, weights: dict[str, Tensor], inputs_MBx: Tensor, path: Sequence[Tensor], at_MBx: Tensor,
        place: int = 0, unedited: Sequence[Tensor] = (),
    ) -> Tensor:  # fmt: skip
        """Answer logits (M, B, V) of a run whose stages so far are `path`, the last of them edited.

        Every position sees every other: all of them are computed again, whatever `unedited` holds.
        """
        z_MBTD = self._recurse(weights, self._input(weights, inputs_MBx), path, None)
        return self.unembed(weights, at_position(z_MBTD, at_MBx + self.says_behind))

    def _recurse(
        self, weights: dict[str, Tensor], x_MBTD: Tensor, path: Sequence[Tensor], edit: Edit | None,
        last: int | None = None,
    ) -> Tensor:  # fmt: skip
        """z_H after stage `last`, or after all of them, continued behind the stages of `path`."""
        z_h, z_l = path[0], self._start("z_L", x_MBTD)
        for stage, z in enumerate(path[1:], start=1):
            z_h, z_l = (z, z_l) if self._commits(stage) else (z_h, z)
        last_cycle = self.depth - self.options.thinks
        for stage in range(len(path), (self.depth if last is None else last) + 1):
            with torch.set_grad_enabled(torch.is_grad_enabled() and stage >= last_cycle):
                z = self._blocks(weights, z_h + z_l if self._commits(stage) else z_l + z_h + x_MBTD)
                if edit is not None:
                    z = edit(stage, z)
            z_h, z_l = (z, z_l) if self._commits(stage) else (z_h, z)
        return z_h

    def _commits(self, stage: int) -> bool:
        """Whether a stage writes z_H."""
        return stage % (self.options.thinks + 1) == 0

    def _input(self, weights: dict[str, Tensor], tokens_MBT: Tensor) -> Tensor:
        """Embedded tokens, blanks and slots (M, B, T, D)."""
        filled_MBT = F.pad(
            tokens_MBT, (0, self.shape.length + len(self.own_positions) - tokens_MBT.shape[2]), value=self.blank
        )
        embedded_MBTD = lookup(weights["embed"], filled_MBT)
        if self.options.slots:
            slots_MBTD = weights["slots"][:, None].expand(-1, filled_MBT.shape[1], -1, -1)
            embedded_MBTD = torch.cat([embedded_MBTD, slots_MBTD], dim=2)
        return embedded_MBTD * math.sqrt(self.options.width)

    def _start(self, name: str, like_MBTD: Tensor) -> Tensor:
        """Fixed state before the first stage, the same at every position."""
        self.start_D[name] = self.start_D[name].to(like_MBTD.device)
        return self.start_D[name].expand_as(like_MBTD)

    def _blocks(self, weights: dict[str, Tensor], z_MBTD: Tensor) -> Tensor:
        members, batch, places, width = z_MBTD.shape
        for i in range(self.options.layers):
            z_MND = z_MBTD.transpose(2, 3).reshape(members, -1, places)
            z_MND = _norm(z_MND + _swiglu(weights, f"{i}.places", z_MND))
            z_MND = z_MND.view(members, batch, width, places).transpose(2, 3).reshape(members, -1, width)
            z_MBTD = _norm(z_MND + _swiglu(weights, f"{i}.channels", z_MND)).view(members, batch, places, width)
        return z_MBTD


def _places(options: Model, shape: Shape) -> int:
    """Tokens, the answer's and the end's, and slots."""
    return shape.length + len(Mixer.own_positions) + options.slots


def _norm(x_MND: Tensor) -> Tensor:
    return F.rms_norm(x_MND.float(), x_MND.shape[-1:], eps=EPS)


def _swiglu(weights: dict[str, Tensor], name: str, x_MND: Tensor) -> Tensor:
    gate_MNI, up_MNI = torch.bmm(x_MND, weights[f"{name}.gate_up"]).chunk(2, dim=-1)
    return torch.bmm(F.silu(gate_MNI) * up_MNI, weights[f"{name}.down"])
