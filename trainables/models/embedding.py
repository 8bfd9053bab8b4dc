"""Embedding of tokens, with a gradient that is summed in one order, compiled too.

What torch's compiler makes of the gradient of an embedding adds up row by row on one thread of a CPU; with several, or
on a GPU, with atomic additions, in another order each time, so that a run would not repeat to the bit. There it stays
torch's own kernel, which keeps the order.

Axes: M member, V vocabulary, D width, x any, R row of all tables, N token.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from grokstudy.trainables.models.opaque import opaque


def lookup(table_MVD: Tensor, tokens_Mx: Tensor) -> Tensor:
    """The embedding (M, x, D) of each token in its member's table."""
    members, vocabulary, width = table_MVD.shape
    offset_M = torch.arange(members, device=tokens_Mx.device) * vocabulary
    rows_N = (tokens_Mx + offset_M.view(members, *[1] * (tokens_Mx.dim() - 1))).reshape(-1)
    table_RD = table_MVD.reshape(-1, width)
    in_order = tokens_Mx.device.type == "cpu" and torch.get_num_threads() == 1
    embedding = _Lookup.apply if torch.compiler.is_compiling() and not in_order else F.embedding
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


def _sum(grad_ND: Tensor, rows_N: Tensor, count: int) -> Tensor:
    grad_RD: Tensor = torch.ops.aten.embedding_dense_backward(grad_ND, rows_N, count, -1, False)
    return grad_RD


def _without_values(grad_ND: Tensor, rows_N: Tensor, count: int) -> Tensor:
    return grad_ND.new_empty(count, grad_ND.shape[1])


_summed = opaque("summed(Tensor grad, Tensor rows, int count) -> Tensor", _sum, _without_values)
"""Gradient of the table (R, D)."""
