"""Decoder-only transformer, for a pack of M members at once (family `decoder`).

Blocks are unique `layers`, applied `loops` times (parameter sharing, arXiv 2405.15071 appendix E.2). Effective
depth counts block applications: 0 is the embedding, k the residual stream after k blocks.

Examples may be padded on the right: no place sees a later one. Positions are learned, learned with an offset that each
training example draws (arXiv 2505.21785 appendix B), rotary (arXiv 2104.09864), or none.

Axes: M member, B example, T token position, F field, R real channel, A answer, H head, K head width, D residual width,
V output, N example of any member, P parameter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from grokstudy.trainables.config import Model
from grokstudy.trainables.models.embedding import lookup
from grokstudy.trainables.models.network import IGNORED, Edit, Network, Parameter, at_position
from grokstudy.trainables.models.prefixes import Prefixes
from grokstudy.trainables.tasks.base import Shape

WRITTEN_OUT = 8
"""Places up to which attention is written out: over few of them the fused kernels cost more than they save."""


@dataclass(frozen=True)
class _FirstOnce:
    """Rows R of a member in place of examples and places: the first place of each token there is, then, example by
    example, the places behind it."""

    first_MB: Tensor
    """Token of each example's first place: its row."""
    tokens: int
    later: int
    """Places of an example behind the first."""
    place_MBA: Tensor | None = None
    """Places of the answers, of a block that computes these alone."""

    def row_MBA(self, place_MBA: Tensor) -> Tensor:
        """Rows of places of the examples."""
        example_B1 = torch.arange(place_MBA.shape[1], device=place_MBA.device)[:, None]
        behind_MBA = self.tokens + example_B1 * self.later + place_MBA - 1
        return torch.where(place_MBA == 0, self.first_MB[..., None], behind_MBA)


class Transformer(Network):
    """The function of the network. Holds no weights: they are passed in as `flat_MP` or as unpacked `weights`."""

    @staticmethod
    def layout(options: Model, shape: Shape) -> list[Parameter]:
        """The parameters in the order in which they lie in the flat row."""
        width, depth = options.width, options.depth
        embedding = 0.02 if options.init == "gpt2" else options.embedding_std

        def linear(name: str, fan_in: int, fan_out: int, residual: bool = False) -> list[Parameter]:
            std = options.init_scale / math.sqrt(fan_in)
            if options.init == "gpt2":
                std = 0.02 / math.sqrt(2 * depth) if residual else 0.02
            bias = [Parameter(f"{name}.bias", (fan_out,), None)] if options.bias else []
            return [Parameter(name, (fan_in, fan_out), std), *bias]

        def norm(name: str) -> list[Parameter]:
            bias = [Parameter(f"{name}.bias", (width,), None)] if options.bias and options.norm == "layernorm" else []
            return [Parameter(name, (width,), None, 1.0), *bias]

        parameters = []
        if shape.fields:
            parameters.append(Parameter("embed", (sum(shape.fields), width), embedding))
        if shape.reals:
            parameters += linear("input", shape.reals, width)
        if options.positions in ("learned", "learned_offset"):
            parameters.append(Parameter("position", (shape.longest, width), embedding))
        for i in range(options.layers):
            parameters += norm(f"{i}.norm1") + linear(f"{i}.qkv", width, 3 * width)
            parameters += linear(f"{i}.out", width, width, residual=True) + norm(f"{i}.norm2")
            parameters += linear(f"{i}.up", width, options.mlp_ratio * width)
            parameters += linear(f"{i}.down", options.mlp_ratio * width, width, residual=True)
        parameters += norm("norm_final")
        if not _tied(options, shape):
            parameters.append(Parameter("unembed", (width, shape.width), embedding))
        return parameters

    @staticmethod
    def step_flops(options: Model, shape: Shape, batch: int) -> float:
        """Floating-point operations of one training step of one member: three times the forward matrix products."""
        per_token = options.depth * 2 * options.width * options.width * (4 + 2 * options.mlp_ratio)
        return 3.0 * batch * (shape.length * per_token + 2 * options.width * shape.width * shape.answers)

    def __init__(self, options: Model, shape: Shape) -> None:
        """Lay out the parameters of one member."""
        super().__init__(options, shape)
        self.tied = _tied(options, shape)

    def targets(self, tokens_MBT: Tensor, answer_at_MB: Tensor, answer_MB: Tensor) -> Tensor:
        """The following input token, the answer at its place, ignored behind it."""
        shifted = F.pad(tokens_MBT[:, :, 1:], (0, 1), value=IGNORED)
        place = torch.arange(shifted.shape[2], device=shifted.device)
        target = torch.where(place == answer_at_MB[:, :, None], answer_MB[:, :, None], shifted)
        return target.masked_fill(place > answer_at_MB[:, :, None], IGNORED)

    def residual(
        self, weights: dict[str, Tensor], inputs_MBx: Tensor, edit: Edit | None = None, last: int | None = None
    ) -> Tensor:
        """Residual stream (M, B, T, D) after block `last`, or after all of them, before the final norm.

        `edit` is called at every effective depth until there, 0 (the embedding) included.
        """
        embedded_MBTD = self._embed(weights, inputs_MBx)
        resid_MBTD = embedded_MBTD if edit is None else edit(0, embedded_MBTD)
        for depth in range(1, (self.depth if last is None else last) + 1):
            resid_MBTD = self._block(weights, *self._into(depth, resid_MBTD, embedded_MBTD))
            if edit is not None:
                resid_MBTD = edit(depth, resid_MBTD)
        return resid_MBTD

    def unembed(self, weights: dict[str, Tensor], resid_MxD: Tensor) -> Tensor:
        """Outputs (M, x, V) of residual states (M, x, D) with any axes between: final norm, then unembedding."""
        members, width = resid_MxD.shape[0], resid_MxD.shape[-1]
        normed = self._norm(weights, "norm_final", resid_MxD).reshape(members, -1, width)
        matrix = weights["embed"].transpose(1, 2) if self.tied else weights["unembed"]
        return torch.bmm(normed, matrix).view(*resid_MxD.shape[:-1], matrix.shape[-1])

    def answer_logits(
        self, weights: dict[str, Tensor], inputs_MBx: Tensor, at_MBx: Tensor, edit: Edit | None = None
    ) -> Tensor:
        """Outputs (M, B, V) or (M, B, A, V) where answers are read. Without `edit` the last block skips the others."""
        if edit is not None:
            return self.unembed(weights, at_position(self.residual(weights, inputs_MBx, edit), at_MBx))
        if self._first_once_pays(inputs_MBx):
            one = at_MBx.dim() == 2
            output_MBAx = self._answers_of_rows(weights, inputs_MBx, at_MBx[:, :, None] if one else at_MBx)
            return output_MBAx.squeeze(2) if one else output_MBAx
        embedded_MBTD = self._embed(weights, inputs_MBx)
        return self._finish(weights, 0, embedded_MBTD, embedded_MBTD, at_MBx)

    def resume(
        self, weights: dict[str, Tensor], inputs_MBx: Tensor, path: Sequence[Tensor], at_MBx: Tensor,
        place: int = 0, unedited: Sequence[Tensor] = (),
    ) -> Tensor:  # fmt: skip
        """Answers (M, B, V) or (M, B, A, V) of a run whose states until then are `path`, the last of them edited.

        No position sees a later one: those before `place` stay as they are in `unedited`.
        """
        if len(path) > self.depth:
            return self.unembed(weights, at_position(path[-1], at_MBx))
        embedded_MBTD = self._embed(weights, inputs_MBx) if self.options.input_injection else path[-1]
        return self._finish(weights, len(path) - 1, path[-1], embedded_MBTD, at_MBx, place, unedited)

    def takes_prefixes(self, inputs_MBx: Tensor) -> bool:
        """Of a few single tokens, at places that are added to them or unmarked."""
        tokens = inputs_MBx.dim() == 3 and len(self.shape.fields) == 1 and inputs_MBx.shape[2] <= WRITTEN_OUT
        return tokens and self.options.positions in ("learned", "none")

    def states_of_prefixes(self, weights: dict[str, Tensor], prefixes: Prefixes, last: int) -> list[Tensor]:
        """States (M, R, D) at the last place of each beginning, by depth until `last`."""
        embedded_MRD = lookup(weights["embed"], prefixes.token_MR)
        if "position" in weights:
            embedded_MRD = embedded_MRD + lookup(weights["position"], prefixes.place_MR)
        states, every_MR = [embedded_MRD], torch.arange(prefixes.count, device=embedded_MRD.device)[None]
        for depth in range(1, last + 1):
            name, resid_MRD = self._into(depth, states[-1], embedded_MRD)
            row_MR = every_MR.expand(len(embedded_MRD), -1)
            states.append(self._block_of_prefixes(weights, name, resid_MRD, prefixes, row_MR))
        return states

    def answers_of_prefixes(self, weights: dict[str, Tensor], prefixes: Prefixes, row_MBA: Tensor) -> Tensor:
        """Outputs (M, B, A, V) behind some rows, as `answer_logits` of the sequences."""
        states = self.states_of_prefixes(weights, prefixes, self.depth - 1)
        name, resid_MRD = self._into(self.depth, states[-1], states[0])
        answer_MND = self._block_of_prefixes(weights, name, resid_MRD, prefixes, row_MBA.flatten(1))
        outputs = [self.unembed(weights, piece) for piece in torch.split(answer_MND, prefixes.most, dim=1)]
        return torch.cat(outputs, dim=1)[:, : row_MBA[0].numel()].reshape(*row_MBA.shape, -1)

    def _block_of_prefixes(
        self, weights: dict[str, Tensor], name: str, resid_MRD: Tensor, prefixes: Prefixes, row_MN: Tensor
    ) -> Tensor:
        """Some rows (M, N, D) behind a block, filled up to whole pieces."""
        pre, heads, width = self.options.norm_place == "pre", self.options.heads, resid_MRD.shape[2]

        def normed(norm: int, x_MND: Tensor) -> Tensor:
            return self._norm(weights, f"{name}.norm{norm}", x_MND)

        pieces = [normed(1, x) if pre else x for x in torch.split(resid_MRD, prefixes.most, dim=1)]
        qkv_MRx = torch.cat([self._linear(weights, f"{name}.qkv", x_MND) for x_MND in pieces], dim=1)
        q_MRD, kv_MRx = torch.split(qkv_MRx, [width, 2 * width], dim=2)
        done = []
        for piece_MN in prefixes.pieces(row_MN):
            before_MNT = prefixes.before_MRT.take_along_dim(piece_MN[..., None], dim=1)
            place_MN = prefixes.place_MR.gather(1, piece_MN)
            kv_NTxHK = lookup(kv_MRx, before_MNT).view(-1, before_MNT.shape[2], 2, heads, width // heads)
            k_NTHK, v_NTHK = kv_NTxHK.unbind(2)
            q_N1HK = lookup(q_MRD, piece_MN).view(-1, 1, heads, width // heads)
            mixed_NTHK = causal_attention(q_N1HK, k_NTHK, v_NTHK, place_MN.reshape(-1, 1))
            own_MND = lookup(resid_MRD, piece_MN)
            own_MND = own_MND + self._linear(weights, f"{name}.out", mixed_NTHK.reshape(own_MND.shape))
            own_MND = own_MND if pre else normed(1, own_MND)
            own_MND = own_MND + self._mlp(weights, name, normed(2, own_MND) if pre else own_MND)
            done.append(own_MND if pre else normed(2, own_MND))
        return torch.cat(done, dim=1)

    def patterns(self, weights: dict[str, Tensor], inputs_MBx: Tensor, at_MBA: Tensor) -> list[Tensor]:
        """Attention (M, B, H, A, T) from the places of answers, in each block in turn."""
        embedded_MBTD = resid_MBTD = self._embed(weights, inputs_MBx)
        members, batch, length, _ = embedded_MBTD.shape
        heads, place_NA = self.options.heads, at_MBA.reshape(members * batch, -1)
        patterns = []
        for depth in range(1, self.depth + 1):
            name, resid_MBTD = self._into(depth, resid_MBTD, embedded_MBTD)
            x_MBTD = resid_MBTD
            if self.options.norm_place == "pre":
                x_MBTD = self._norm(weights, f"{name}.norm1", resid_MBTD)
            q_NTHK, k_NTHK, _ = self._heads(weights, name, x_MBTD)
            q_NAHK = q_NTHK.take_along_dim(place_NA[:, :, None, None], dim=1)
            pattern_NATH = causal_pattern(q_NAHK, k_NTHK, place_NA)
            patterns.append(pattern_NATH.permute(0, 3, 1, 2).reshape(members, batch, heads, -1, length))
            resid_MBTD = self._block(weights, name, resid_MBTD)
        return patterns

    def _finish(
        self, weights: dict[str, Tensor], depth: int, resid_MBTD: Tensor, embedded_MBTD: Tensor, at_MBx: Tensor,
        place: int = 0, unedited: Sequence[Tensor] = (),
    ) -> Tensor:  # fmt: skip
        """Answers (M, B, V) or (M, B, A, V) from the states at a depth before the last."""
        for after in range(depth + 1, self.depth):
            resid_MBTD = self._block(weights, *self._into(after, resid_MBTD, embedded_MBTD), begin=place)
            if place:
                resid_MBTD = torch.cat([unedited[after][:, :, :place], resid_MBTD], dim=2)
        name, resid_MBTD = self._into(self.depth, resid_MBTD, embedded_MBTD)
        one = at_MBx.dim() == 2
        answer_MBAD = self._block(weights, name, resid_MBTD, at_MBx[:, :, None] if one else at_MBx)
        return self.unembed(weights, answer_MBAD.squeeze(2) if one else answer_MBAD)

    def _first_once_pays(self, inputs_MBx: Tensor) -> bool:
        """Whether to compute the first place once per token, where many examples share one and little lies behind it.

        It rounds otherwise, so launched steps, and what is measured, do without. On a GPU, gradients of a lookup in
        each block would cost more launches than the products that are saved.
        """
        if not torch.compiler.is_compiling() or inputs_MBx.device.type != "cpu" or not self.takes_prefixes(inputs_MBx):
            return False
        _, batch, length = inputs_MBx.shape
        return length > 1 and 2 * sum(self.shape.fields) <= batch

    def _answers_of_rows(self, weights: dict[str, Tensor], tokens_MBT: Tensor, at_MBA: Tensor) -> Tensor:
        """Answers (M, B, A, V): the first place sees no other, so that it is the same wherever its token is."""
        table_MVD, position_MTD = weights["embed"], weights.get("position")
        members, batch, length = tokens_MBT.shape
        rows = _FirstOnce(tokens_MBT[:, :, 0], table_MVD.shape[1], length - 1)
        later_MBTD = lookup(table_MVD, tokens_MBT[:, :, 1:])
        if position_MTD is not None:
            table_MVD = table_MVD + position_MTD[:, :1]
            later_MBTD = later_MBTD + position_MTD[:, None, 1:length]
        embedded_M1RD = resid_M1RD = torch.cat([table_MVD, later_MBTD.flatten(1, 2)], dim=1)[:, None]
        for depth in range(1, self.depth):
            resid_M1RD = self._block(weights, *self._into(depth, resid_M1RD, embedded_M1RD), rows=rows)
        rows = replace(rows, place_MBA=at_MBA)
        row_M1N = rows.row_MBA(at_MBA).flatten(1)[:, None]
        answer_M1ND = self._block(weights, *self._into(self.depth, resid_M1RD, embedded_M1RD), row_M1N, rows=rows)
        return self.unembed(weights, answer_M1ND.view(members, batch, -1, answer_M1ND.shape[3]))

    def _into(self, depth: int, resid_MBTD: Tensor, embedded_MBTD: Tensor) -> tuple[str, Tensor]:
        """Name of the block at an effective depth, and what goes into it."""
        block = (depth - 1) % self.options.layers
        if self.options.input_injection and block == 0 and depth > 1:
            resid_MBTD = resid_MBTD + embedded_MBTD
        return str(block), resid_MBTD

    def _embed(self, weights: dict[str, Tensor], inputs_MBx: Tensor) -> Tensor:
        """Embedded inputs with their positions. With offsets, a training example's place is its last integer field."""
        shape, place_MBT = self.shape, None
        if self.options.positions == "learned_offset" and shape.fields and inputs_MBx.dim() == 4:
            if inputs_MBx.shape[3] > len(shape.fields):
                inputs_MBx, place_MBT = inputs_MBx[..., :-1], inputs_MBx[..., -1]
            if len(shape.fields) == 1:
                inputs_MBx = inputs_MBx[..., 0]
        if shape.reals:
            embedded_MBTD = self._linear(weights, "input", inputs_MBx.flatten(1, 2)).view(*inputs_MBx.shape[:3], -1)
        elif inputs_MBx.dim() == 3:
            embedded_MBTD = lookup(weights["embed"], inputs_MBx)
        else:
            begins = [sum(shape.fields[:f]) for f in range(len(shape.fields))]
            parts = [lookup(weights["embed"], inputs_MBx[..., f] + begin) for f, begin in enumerate(begins)]
            embedded_MBTD = torch.stack(parts).sum(dim=0)
        if place_MBT is not None:
            return embedded_MBTD + lookup(weights["position"], place_MBT)
        if "position" in weights:
            embedded_MBTD = embedded_MBTD + weights["position"][:, None, : inputs_MBx.shape[2]]
        return embedded_MBTD

    def _norm(self, weights: dict[str, Tensor], name: str, x_MxD: Tensor) -> Tensor:
        shape = (x_MxD.shape[0], *[1] * (x_MxD.dim() - 2), x_MxD.shape[-1])
        if self.options.norm == "rmsnorm":
            normed = F.rms_norm(x_MxD, x_MxD.shape[-1:], eps=1e-6)
        else:
            normed = F.layer_norm(x_MxD, x_MxD.shape[-1:], eps=1e-5)
        scaled = normed * weights[name].view(shape)
        bias = weights.get(f"{name}.bias")
        return scaled if bias is None else scaled + bias.view(shape)

    def _linear(self, weights: dict[str, Tensor], name: str, x_MND: Tensor) -> Tensor:
        bias = weights.get(f"{name}.bias")
        if bias is None:
            return torch.bmm(x_MND, weights[name])
        if torch.compiler.is_compiling():  # which fuses the addition into what follows
            return torch.bmm(x_MND, weights[name]) + bias[:, None]
        return torch.baddbmm(bias[:, None], x_MND, weights[name])

    def _block(
        self, weights: dict[str, Tensor], name: str, resid_MBTD: Tensor, at_MBA: Tensor | None = None, begin: int = 0,
        rows: _FirstOnce | None = None,
    ) -> Tensor:  # fmt: skip
        """One block; its output from position `begin` on, or with `at_MBA` at these positions (T is A)."""
        norm1, norm2 = f"{name}.norm1", f"{name}.norm2"
        if at_MBA is not None:
            own_MBTD = at_position(resid_MBTD, at_MBA)
        else:
            own_MBTD = resid_MBTD[:, :, begin:] if begin else resid_MBTD
        if self.options.norm_place == "pre":
            normed_MBTD = self._norm(weights, norm1, resid_MBTD)
            own_MBTD = own_MBTD + self._attention(weights, name, normed_MBTD, at_MBA, begin, rows)
            return own_MBTD + self._mlp(weights, name, self._norm(weights, norm2, own_MBTD))
        mixed_MBTD = self._attention(weights, name, resid_MBTD, at_MBA, begin, rows)
        own_MBTD = self._norm(weights, norm1, own_MBTD + mixed_MBTD)
        return self._norm(weights, norm2, own_MBTD + self._mlp(weights, name, own_MBTD))

    def _attention(
        self, weights: dict[str, Tensor], name: str, x_MBTD: Tensor, at_MBA: Tensor | None, begin: int,
        rows: _FirstOnce | None = None,
    ) -> Tensor:  # fmt: skip
        if rows is not None:
            return self._attention_of_rows(weights, name, x_MBTD, at_MBA, rows)
        members, batch, length, width = x_MBTD.shape
        q_NTHK, k_NTHK, v_NTHK = self._heads(weights, name, x_MBTD)
        place_NT = torch.arange(begin, length, device=x_MBTD.device).expand(members * batch, -1)
        if begin:
            q_NTHK = q_NTHK[:, begin:]
        if at_MBA is not None:
            place_NT = at_MBA.reshape(members * batch, -1)
            q_NTHK = q_NTHK.take_along_dim(place_NT[:, :, None, None], dim=1)
        if length <= WRITTEN_OUT:
            mixed_NTHK = causal_attention(q_NTHK, k_NTHK, v_NTHK, place_NT)
        else:
            mixed_NTHK = fused_attention(q_NTHK, k_NTHK, v_NTHK, None if at_MBA is None and not begin else place_NT)
        out_MND = self._linear(weights, f"{name}.out", mixed_NTHK.reshape(members, -1, width))
        return out_MND.view(members, batch, -1, width)

    def _attention_of_rows(
        self, weights: dict[str, Tensor], name: str, x_M1RD: Tensor, row_M1N: Tensor | None, rows: _FirstOnce
    ) -> Tensor:
        """Attention of every row, or of the answers; a first place attends to itself."""
        x_MRD, (members, _, count, width), qkv = x_M1RD[:, 0], x_M1RD.shape, f"{name}.qkv"
        sizes, columns = [rows.tokens, count - rows.tokens], [width, 2 * width]
        if row_M1N is None:
            q_MRD, kv_MRD = torch.split(self._linear(weights, qkv, x_MRD), columns, dim=2)
            q_MND = torch.split(q_MRD, sizes, dim=1)[1]
        else:  # no query but those of the answers
            parts = {key: torch.split(w, columns, dim=-1) for key, w in weights.items() if key in (qkv, f"{qkv}.bias")}
            query, rest = ({key: both[part] for key, both in parts.items()} for part in (0, 1))
            q_MND = self._linear(query, qkv, at_position(x_M1RD, row_M1N)[:, 0])
            kv_MRD = self._linear(rest, qkv, x_MRD)
        kv_MVD, kv_MND = torch.split(kv_MRD, sizes, dim=1)

        def heads(x_MNx: Tensor, places: int) -> tuple[Tensor, ...]:
            heads = self.options.heads
            return x_MNx.reshape(-1, places, x_MNx.shape[2] // width, heads, width // heads).unbind(2)

        first, later = heads(lookup(kv_MVD, rows.first_MB), 1), heads(kv_MND, rows.later)
        k_NTHK, v_NTHK = (torch.cat(both, dim=1) for both in zip(first, later, strict=True))
        if rows.place_MBA is None:
            place_NT = torch.arange(1, 1 + rows.later, device=x_MRD.device).expand(len(k_NTHK), -1)
        else:
            place_NT = rows.place_MBA.flatten(0, 1)
        (q_NTHK,) = heads(q_MND, place_NT.shape[1])
        mixed_MND = causal_attention(q_NTHK, k_NTHK, v_NTHK, place_NT).reshape(members, -1, width)
        if row_M1N is None:
            mixed_MND = torch.cat([torch.split(kv_MVD, width, dim=2)[1], mixed_MND], dim=1)
        return self._linear(weights, f"{name}.out", mixed_MND)[:, None]

    def _heads(self, weights: dict[str, Tensor], name: str, x_MBTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (N, T, H, K) of every place."""
        members, batch, length, width = x_MBTD.shape
        heads = self.options.heads
        qkv = self._linear(weights, f"{name}.qkv", x_MBTD.reshape(members, -1, width))
        q_NTHK, k_NTHK, v_NTHK = qkv.view(members * batch, length, 3, heads, width // heads).unbind(2)
        if self.options.positions == "rope":
            q_NTHK, k_NTHK = (rotated(x_NTHK, self.options.rope_theta) for x_NTHK in (q_NTHK, k_NTHK))
        return q_NTHK, k_NTHK, v_NTHK

    def _mlp(self, weights: dict[str, Tensor], name: str, x_MBTD: Tensor) -> Tensor:
        hidden = self._linear(weights, f"{name}.up", x_MBTD.reshape(x_MBTD.shape[0], -1, x_MBTD.shape[-1]))
        hidden = F.gelu(hidden) if self.options.activation == "gelu" else F.relu(hidden)
        return self._linear(weights, f"{name}.down", hidden).view(x_MBTD.shape)


def causal_attention(q_NTHK: Tensor, k_NSHK: Tensor, v_NSHK: Tensor, place_NT: Tensor) -> Tensor:
    """Causal attention of queries at places `place_NT` over S positions, written out."""
    pattern_NTSH = causal_pattern(q_NTHK, k_NSHK, place_NT)
    mixed_NTHK: Tensor = (pattern_NTSH[..., None] * v_NSHK[:, None]).sum(2)
    return mixed_NTHK


def causal_pattern(q_NTHK: Tensor, k_NSHK: Tensor, place_NT: Tensor) -> Tensor:
    """What queries at places `place_NT` attend to (N, T, S, H); sums to 1 over S."""
    score_NTSH = (q_NTHK[:, :, None] * k_NSHK[:, None]).sum(-1) * q_NTHK.shape[3] ** -0.5
    future_NTS = torch.arange(k_NSHK.shape[1], device=place_NT.device) > place_NT[:, :, None]
    pattern_NTSH: Tensor = score_NTSH.masked_fill(future_NTS[..., None], -torch.inf).softmax(dim=2)
    return pattern_NTSH


def fused_attention(q_NTHK: Tensor, k_NSHK: Tensor, v_NSHK: Tensor, place_NT: Tensor | None) -> Tensor:
    """The same by torch's fused kernels; `place_NT` None: queries of every place in turn."""
    q_NHTK, k_NHSK, v_NHSK = (x.transpose(1, 2) for x in (q_NTHK, k_NSHK, v_NSHK))
    if place_NT is None:
        return F.scaled_dot_product_attention(q_NHTK, k_NHSK, v_NHSK, is_causal=True).transpose(1, 2)
    seen_N1TS = (torch.arange(k_NSHK.shape[1], device=place_NT.device) <= place_NT[:, :, None])[:, None]
    return F.scaled_dot_product_attention(q_NHTK, k_NHSK, v_NHSK, attn_mask=seen_N1TS).transpose(1, 2)


def rotated(x_NTHK: Tensor, theta: float) -> Tensor:
    """Each pair of features turned by an angle that grows with the place (arXiv 2104.09864 section 3.4.2)."""
    half = x_NTHK.shape[3] // 2
    speed_K: Tensor = theta ** (-torch.arange(half, device=x_NTHK.device) / half)
    angle_T1K = (torch.arange(x_NTHK.shape[1], device=x_NTHK.device)[:, None] * speed_K)[:, None]
    left, right = x_NTHK[..., :half], x_NTHK[..., half : 2 * half]
    cos, sin = angle_T1K.cos(), angle_T1K.sin()
    turned: Tensor = torch.cat([left * cos - right * sin, left * sin + right * cos, x_NTHK[..., 2 * half :]], dim=3)
    return turned


def _tied(options: Model, shape: Shape) -> bool:
    """Whether the unembedding is the embedding: where asked for, and outputs are the tokens of the inputs."""
    return options.tied and shape.fields == (shape.classes,)
