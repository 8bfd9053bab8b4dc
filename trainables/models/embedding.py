"""Embedding of tokens, with a gradient that is summed in one order, compiled too.

torch.compile adds the gradient of an embedding with atomic additions of its own: with several threads, or on a GPU, in
another order each time, so that a run would not repeat to the bit. Here it stays torch's kernel, which keeps the order.

Axes: M member, V vocabulary, D width, x any, R row of all tables, N token.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def lookup(table_MVD: Tensor, tokens_Mx: Tensor) -> Tensor:
    """The embedding (M, x, D) of each token in its member's table."""
    members, vocabulary, width = table_MVD.shape
    offset_M = torch.arange(members, device=tokens_Mx.device) * vocabulary
    rows_N = (tokens_Mx + offset_M.view(members, *[1] * (tokens_Mx.dim() - 1))).reshape(-1)
    table_RD = table_MVD.reshape(-1, width)
    embedding = _Lookup.apply if torch.compiler.is_compiling() else F.embedding
    embedded_ND: Tensor = embedding(rows_N, table_RD)
    return embedded_ND.view(*tokens_Mx.shape, width)


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_N: Tensor, table_RD: Tensor) -> Tensor:
        ctx.save_for_backward(rows_N)
        ctx.count = len(table_RD)
        return F.embedding(rows_N, table_RD)

    @staticmethod
    def backward(ctx: Any, grad_ND: Tensor) -> Any:
        return None, _summed(grad_ND, *ctx.saved_tensors, ctx.count)


@torch.library.custom_op("grokstudy::summed", mutates_args=())
def _summed(grad_ND: Tensor, rows_N: Tensor, count: int) -> Tensor:
    """Gradient of the table (R, D); opaque to torch.compile."""
    grad_RD: Tensor = torch.ops.aten.embedding_dense_backward(grad_ND, rows_N, count, -1, False)
    return grad_RD


@_summed.register_fake
def _(grad_ND: Tensor, rows_N: Tensor, count: int) -> Tensor:
    return grad_ND.new_empty(count, grad_ND.shape[1])
