"""The member axis of a pack: arrays of several members as one tensor, and what is left when members leave."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

Batched = TypeVar("Batched")


def stacked(arrays: Iterable[NDArray[Any] | Tensor], fill: int = 0) -> Tensor:
    """One tensor (M, N, x) of an array (n, x) per member, each filled up to the longest."""
    return torch.nn.utils.rnn.pad_sequence([torch.as_tensor(a) for a in arrays], batch_first=True, padding_value=fill)


def keep_members(batched: Batched, rows: Tensor) -> Batched:
    """A dataclass instance without the members that are not among `rows`.

    Its fields with a leading member axis are those that say so in their name (`tokens_MST`), and such instances.
    """
    kept = {name: _kept(value, rows) for name, value in vars(batched).items() if "_M" in name}
    inner = {
        name: keep_members(x, rows)
        for name, x in vars(batched).items()
        if "_M" not in name and dataclasses.is_dataclass(x)
    }
    return dataclasses.replace(batched, **kept, **inner)  # type: ignore[type-var]


def _kept(value: Any, rows: Tensor) -> Any:
    """Rows of a tensor; of each in a mapping or a dataclass of such; None stays None."""
    if isinstance(value, Mapping):
        return {name: _kept(inner, rows) for name, inner in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{name: _kept(inner, rows) for name, inner in vars(value).items()})
    return None if value is None else value[rows]
