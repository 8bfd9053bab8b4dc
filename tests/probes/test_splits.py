"""Splits of different size in one pack: what is padded counts for nothing."""

from __future__ import annotations

import numpy as np
import torch

from grokstudy.trainables.probes.splits import SplitBatch
from grokstudy.trainables.tasks.base import StoredRows


def rows(n: int) -> StoredRows:
    one = np.ones((n, 1), np.int64)
    return StoredRows(np.ones((n, 3), np.int64), one, one, np.ones((n, 1), np.float32))


def test_a_mean_is_over_real_examples_whatever_stands_where_padded() -> None:
    """The margin of an answer that is not there is infinite, and so it is where padded."""
    split = SplitBatch.stack([rows(4), rows(2)], torch.device("cpu"))
    value_MS = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 7.0, torch.inf, torch.nan]])
    assert split.mean(value_MS).tolist() == [2.5, 6.0]
    assert split.mean(torch.tensor([[1.0, 2.0, 3.0, torch.inf], [5.0, 7.0, 0.0, 0.0]])).tolist() == [torch.inf, 6.0]
