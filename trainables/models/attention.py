"""One layer of softmax attention and nothing else (family `attention`), as the theory of in-context learning has it.

    output = sum_h sum_i softmax_i(c_i^T Q_h c_q) V_h c_i        over the places i before q

No norm, no residual, no MLP, no division by the root of the width (arXiv 2507.20443 section 2, arXiv 2410.02167 section
3). Columns c are the real channels of the inputs as they are. Q is one matrix, or a product of two; V is trained, or
fixed to the channels that the task names (`Shape.value`). The task also names the channels that Q sees (`Shape.query`):
where labels stand beside inputs in a column, a score that saw the query's own label would be no prediction. Channels
that say a place's answer to others alone (`Shape.told`) are zero where the place itself asks.

Axes: M member, B example, T place, R channel, A answer, H head, K factor, O output.
"""

from __future__ import annotations

import torch
from torch import Tensor

from grokstudy.trainables.config import Model
from grokstudy.trainables.models.network import Edit, Network, Parameter, at_position
from grokstudy.trainables.tasks.base import Shape


class Attention(Network):
    """The function of the network. Depth 0 is the input, depth 1 what is attended to, in the space of outputs."""

    @staticmethod
    def layout(options: Model, shape: Shape) -> list[Parameter]:
        """The parameters in the order in which they lie in the flat row."""
        heads, channels = options.heads, shape.reals
        low, high = shape.query or (0, channels)
        seen = high - low
        std = options.attention_std or None
        if options.scores == "joint":
            parameters = [Parameter("scores", (heads, seen, seen), std)]
        else:
            parameters = [Parameter(name, (heads, seen, options.width), std) for name in ("query", "key")]
        if options.values == "trained":
            parameters.append(Parameter("values", (heads, channels, shape.width), std))
        return parameters

    @staticmethod
    def step_flops(options: Model, shape: Shape, batch: int) -> float:
        """Floating-point operations of one training step: three times the forward products of answers with places."""
        per_answer = options.heads * shape.reals * (2 * shape.reals + 2 * shape.length + 2 * shape.length)
        return 3.0 * batch * shape.answers * per_answer

    def residual(
        self, weights: dict[str, Tensor], inputs_MBx: Tensor, edit: Edit | None = None, last: int | None = None
    ) -> Tensor:
        """The inputs (M, B, T, R) at depth 0; behind it what every place puts out (M, B, T, O)."""
        state_MBTD = inputs_MBx if edit is None else edit(0, inputs_MBx)
        if last == 0:
            return state_MBTD
        places = torch.arange(inputs_MBx.shape[2], device=inputs_MBx.device)
        out_MBTO = self._attend(weights, state_MBTD, places.expand(*inputs_MBx.shape[:3]))[0]
        return out_MBTO if edit is None else edit(1, out_MBTO)

    def unembed(self, weights: dict[str, Tensor], resid_MxD: Tensor) -> Tensor:
        """The state behind the layer is the output."""
        return resid_MxD

    def answer_logits(
        self, weights: dict[str, Tensor], inputs_MBx: Tensor, at_MBx: Tensor, edit: Edit | None = None
    ) -> Tensor:
        """Outputs (M, B, O) or (M, B, A, O) where answers are read."""
        if edit is not None:
            return at_position(self.residual(weights, inputs_MBx, edit), at_MBx)
        one = at_MBx.dim() == 2
        out_MBAO = self._attend(weights, inputs_MBx, at_MBx[:, :, None] if one else at_MBx)[0]
        return out_MBAO.squeeze(2) if one else out_MBAO

    def patterns(self, weights: dict[str, Tensor], inputs_MBx: Tensor, at_MBA: Tensor) -> list[Tensor]:
        """Attention (M, B, H, A, T) from the places of answers."""
        return [self._attend(weights, inputs_MBx, at_MBA)[1]]

    def _attend(self, weights: dict[str, Tensor], x_MBTR: Tensor, at_MBA: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs (M, B, A, O) and the pattern (M, B, H, A, T): each place attends to those before it."""
        low, high = self.shape.query or (0, self.shape.reals)
        seen_MBTR = x_MBTR[..., low:high]
        own_MBAR = at_position(self._without_answers(x_MBTR), at_MBA)[..., low:high]
        if self.options.scores == "joint":
            query_MBHAR = torch.einsum("mbar,mhsr->mbhas", own_MBAR, weights["scores"])
            score_MBHAT = torch.einsum("mbhas,mbts->mbhat", query_MBHAR, seen_MBTR)
        else:
            query_MBHAK = torch.einsum("mbar,mhrk->mbhak", own_MBAR, weights["query"])
            key_MBHTK = torch.einsum("mbtr,mhrk->mbhtk", seen_MBTR, weights["key"])
            score_MBHAT = torch.einsum("mbhak,mbhtk->mbhat", query_MBHAK, key_MBHTK)
        places = torch.arange(x_MBTR.shape[2], device=x_MBTR.device)
        hidden_MBAT = places >= at_MBA[..., None].clamp(min=1)  # the first place has none before it
        pattern_MBHAT = score_MBHAT.masked_fill(hidden_MBAT[:, :, None], -torch.inf).softmax(dim=-1)
        if self.options.values == "trained":
            mixed_MBHAR = torch.einsum("mbhat,mbtr->mbhar", pattern_MBHAT, x_MBTR)
            return torch.einsum("mbhar,mhro->mbao", mixed_MBHAR, weights["values"]), pattern_MBHAT
        low, high = self.shape.value or (0, self.shape.outputs)
        return torch.einsum("mbhat,mbto->mbao", pattern_MBHAT, x_MBTR[..., low:high]), pattern_MBHAT

    def _without_answers(self, x_MBTR: Tensor) -> Tensor:
        """The inputs with zeros where places say their own answers."""
        if self.shape.told is None:
            return x_MBTR
        low, high = self.shape.told
        channel = torch.arange(x_MBTR.shape[3], device=x_MBTR.device)
        return x_MBTR.masked_fill((channel >= low) & (channel < high), 0.0)
