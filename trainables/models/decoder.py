"""Decoder-only transformer over few tokens, for a pack of M members at once (family `decoder`).

Blocks are unique `layers`, applied `loops` times (parameter sharing, arXiv 2405.15071 appendix E.2). Effective
depth counts block applications: 0 is the embedding, k the residual stream after k blocks.

Axes: M member, B example, T token position, H head, K head width, D residual width, V vocabulary, P parameter.
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


class Transformer(Network):
    """The function of the network. Holds no weights: they are passed in as `flat_MP` or as unpacked `weights`."""

    positions = ("h", "r1", "r2")

    @staticmethod
    def layout(options: Model, vocabulary: int) -> list[Parameter]:
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

        parameters = [Parameter("embed", (vocabulary, width), embedding)]
        if options.positions == "learned":
            parameters.append(Parameter("position", (len(Transformer.positions), width), embedding))
        for i in range(options.layers):
            parameters += norm(f"{i}.norm1") + linear(f"{i}.qkv", width, 3 * width)
            parameters += linear(f"{i}.out", width, width, residual=True) + norm(f"{i}.norm2")
            parameters += linear(f"{i}.up", width, options.mlp_ratio * width)
            parameters += linear(f"{i}.down", options.mlp_ratio * width, width, residual=True)
        parameters += norm("norm_final")
        if not options.tied:
            parameters.append(Parameter("unembed", (width, vocabulary), embedding))
        return parameters

    @staticmethod
    def step_flops(options: Model, vocabulary: int, batch: int) -> float:
        """Floating-point operations of one training step of one member: three times the forward matrix products."""
        per_token = options.depth * 2 * options.width * options.width * (4 + 2 * options.mlp_ratio)
        return 3.0 * batch * (len(Transformer.positions) * per_token + 2 * options.width * vocabulary)

    def targets(self, tokens_MBT: Tensor, answer_at_MB: Tensor, answer_MB: Tensor) -> Tensor:
        """The following input token, the answer at its place, ignored behind it."""
        shifted = F.pad(tokens_MBT[:, :, 1:], (0, 1), value=IGNORED)
        place = torch.arange(shifted.shape[2], device=shifted.device)
        target = torch.where(place == answer_at_MB[:, :, None], answer_MB[:, :, None], shifted)
        return target.masked_fill(place > answer_at_MB[:, :, None], IGNORED)

    def residual(
        self, weights: dict[str, Tensor], tokens_MBT: Tensor, edit: Edit | None = None, last: int | None = None
    ) -> Tensor:
        """Residual stream (M, B, T, D) after block `last`, or after all of them, before the final norm.

        `edit` is called at every effective depth until there, 0 (the embedding) included.
        """
        embedded_MBTD = self._embed(weights, tokens_MBT)
        resid_MBTD = embedded_MBTD if edit is None else edit(0, embedded_MBTD)
        for depth in range(1, (self.depth if last is None else last) + 1):
            resid_MBTD = self._block(weights, *self._into(depth, resid_MBTD, embedded_MBTD))
            if edit is not None:
                resid_MBTD = edit(depth, resid_MBTD)
        return resid_MBTD

    def unembed(self, weights: dict[str, Tensor], resid_MxD: Tensor) -> Tensor:
        """Logits (M, x, V) of residual states (M, x, D) with any axes between: final norm, then unembedding."""
        members, width = resid_MxD.shape[0], resid_MxD.shape[-1]
        normed = self._norm(weights, "norm_final", resid_MxD).reshape(members, -1, width)
        matrix = weights["embed"].transpose(1, 2) if self.options.tied else weights["unembed"]
        return torch.bmm(normed, matrix).view(*resid_MxD.shape[:-1], matrix.shape[-1])

    def answer_logits(
        self, weights: dict[str, Tensor], tokens_MBT: Tensor, answer_at_MB: Tensor, edit: Edit | None = None
    ) -> Tensor:
        """Logits (M, B, V) at each example's answer position. Without `edit` the last block skips the others."""
        if edit is not None:
            return self.unembed(weights, at_position(self.residual(weights, tokens_MBT, edit), answer_at_MB))
        embedded_MBTD = self._embed(weights, tokens_MBT)
        return self._finish(weights, 0, embedded_MBTD, embedded_MBTD, answer_at_MB)

    def resume(
        self, weights: dict[str, Tensor], tokens_MBT: Tensor, path: Sequence[Tensor], answer_at_MB: Tensor,
        place: int = 0, unedited: Sequence[Tensor] = (),
    ) -> Tensor:  # fmt: skip
        """Answer logits (M, B, V) of a run whose states at depths 0, 1, ... are `path`, the last of them edited.

        No position sees a later one: those before `place` stay as they are in `unedited`.
        """
        if len(path) > self.depth:
            return self.unembed(weights, at_position(path[-1], answer_at_MB))
        embedded_MBTD = self._embed(weights, tokens_MBT) if self.options.input_injection else path[-1]
        return self._finish(weights, len(path) - 1, path[-1], embedded_MBTD, answer_at_MB, place, unedited)

    def _finish(
        self, weights: dict[str, Tensor], depth: int, resid_MBTD: Tensor, embedded_MBTD: Tensor, answer_at_MB: Tensor,
        place: int = 0, unedited: Sequence[Tensor] = (),
    ) -> Tensor:  # fmt: skip
        """Answer logits (M, B, V) from the states at a depth before the last."""
        for after in range(depth + 1, self.depth):
            resid_MBTD = self._block(weights, *self._into(after, resid_MBTD, embedded_MBTD), begin=place)
            if place:
                resid_MBTD = torch.cat([unedited[after][:, :, :place], resid_MBTD], dim=2)
        name, resid_MBTD = self._into(self.depth, resid_MBTD, embedded_MBTD)
        return self.unembed(weights, self._block(weights, name, resid_MBTD, answer_at_MB).squeeze(2))

    def _into(self, depth: int, resid_MBTD: Tensor, embedded_MBTD: Tensor) -> tuple[str, Tensor]:
        """Name of the block at an effective depth, and what goes into it."""
        block = (depth - 1) % self.options.layers
        if self.options.input_injection and block == 0 and depth > 1:
            resid_MBTD = resid_MBTD + embedded_MBTD
        return str(block), resid_MBTD

    def _embed(self, weights: dict[str, Tensor], tokens_MBT: Tensor) -> Tensor:
        embedded_MBTD = lookup(weights["embed"], tokens_MBT)
        if self.options.positions == "learned":
            embedded_MBTD = embedded_MBTD + weights["position"][:, None, : tokens_MBT.shape[2]]
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
        self, weights: dict[str, Tensor], name: str, resid_MBTD: Tensor, at_MB: Tensor | None = None, begin: int = 0
    ) -> Tensor:
        """One block; its output from position `begin` on, or with `at_MB` at one position per example (T is 1)."""
        norm1, norm2 = f"{name}.norm1", f"{name}.norm2"
        if at_MB is not None:
            own_MBTD = at_position(resid_MBTD, at_MB)[:, :, None]
        else:
            own_MBTD = resid_MBTD[:, :, begin:] if begin else resid_MBTD
        if self.options.norm_place == "pre":
            normed_MBTD = self._norm(weights, norm1, resid_MBTD)
            own_MBTD = own_MBTD + self._attention(weights, name, normed_MBTD, at_MB, begin)
            return own_MBTD + self._mlp(weights, name, self._norm(weights, norm2, own_MBTD))
        own_MBTD = self._norm(weights, norm1, own_MBTD + self._attention(weights, name, resid_MBTD, at_MB, begin))
        return self._norm(weights, norm2, own_MBTD + self._mlp(weights, name, own_MBTD))

    def _attention(
        self, weights: dict[str, Tensor], name: str, x_MBTD: Tensor, at_MB: Tensor | None, begin: int
    ) -> Tensor:
        members, batch, length, width = x_MBTD.shape
        heads = self.options.heads
        qkv = self._linear(weights, f"{name}.qkv", x_MBTD.reshape(members, -1, width))
        q_NTHK, k_NTHK, v_NTHK = qkv.view(members * batch, length, 3, heads, width // heads).unbind(2)
        place_NT = torch.arange(begin, length, device=x_MBTD.device).expand(members * batch, -1)
        if begin:
            q_NTHK = q_NTHK[:, begin:]
        if at_MB is not None:
            place_NT = at_MB.reshape(-1, 1)
            q_NTHK = q_NTHK.take_along_dim(place_NT[:, :, None, None], dim=1)
        mixed_NTHK = causal_attention(q_NTHK, k_NTHK, v_NTHK, place_NT)
        out_MND = self._linear(weights, f"{name}.out", mixed_NTHK.reshape(members, -1, width))
        return out_MND.view(members, batch, -1, width)

    def _mlp(self, weights: dict[str, Tensor], name: str, x_MBTD: Tensor) -> Tensor:
        hidden = self._linear(weights, f"{name}.up", x_MBTD.reshape(x_MBTD.shape[0], -1, x_MBTD.shape[-1]))
        hidden = F.gelu(hidden) if self.options.activation == "gelu" else F.relu(hidden)
        return self._linear(weights, f"{name}.down", hidden).view(x_MBTD.shape)


def causal_attention(q_NTHK: Tensor, k_NSHK: Tensor, v_NSHK: Tensor, place_NT: Tensor) -> Tensor:
    """Causal attention of queries at places `place_NT` over S positions.

    Written out: over three tokens the fused kernels cost more than they save.
    """
    score_NTSH = (q_NTHK[:, :, None] * k_NSHK[:, None]).sum(-1) * q_NTHK.shape[3] ** -0.5
    future_NTS = torch.arange(k_NSHK.shape[1], device=place_NT.device) > place_NT[:, :, None]
    pattern_NTSH = score_NTSH.masked_fill(future_NTS[..., None], -torch.inf).softmax(dim=2)
    mixed_NTHK: Tensor = (pattern_NTSH[..., None] * v_NSHK[:, None]).sum(2)
    return mixed_NTHK
