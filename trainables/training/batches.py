"""Training examples of a pack on the device, and which words make up the batch of a step.

The batch is a pure function of (seed, step): splitmix64 of a counter, which goes on from its source's in a fork.
Nothing has to be stored to resume exactly, and nothing is computed on the host. A `Source` turns the words into
examples: rows of a stored table, drawn with replacement, or examples made of the words themselves.

Axes: K step of a chunk, M member, B example, N row, T place, A answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.models.members import stacked
from grokstudy.trainables.randomness import key
from grokstudy.trainables.tasks import TASKS
from grokstudy.trainables.tasks.base import Batch, Fresh, Rows, TaskData
from grokstudy.trainables.words import choice, fresh


class Source(Protocol):
    """Examples of words, for every member of a pack: pure, without state, of static shapes."""

    def __call__(self, word_MB: Tensor) -> Batch:
        """The examples of these words."""

    def tables(self) -> list[Tensor]:
        """What is looked up: (M, N, x), of any length N."""

    def keep(self, rows: Tensor) -> None:
        """Drop all members but these."""


class Table:
    """Stored training sets, padded to the longest."""

    def __init__(self, sets: Sequence[Rows], device: torch.device) -> None:
        """Copy the examples to the device once."""
        self.size_M = torch.tensor([len(rows) for rows in sets]).to(device)
        self.inputs_MNx = stacked(rows.inputs for rows in sets).to(device)
        self.at_MNA = stacked(rows.at for rows in sets).to(device)
        self.target_MNAx = stacked(rows.target for rows in sets).to(device)
        weights = [rows.weight for rows in sets]
        self.weight_MNA = stacked(w for w in weights if w is not None).to(device) if weights[0] is not None else None

    def __call__(self, word_MB: Tensor) -> Batch:
        """Gather the rows that the words fall on."""
        index_MB = choice(word_MB, self.size_M[:, None])
        member = torch.arange(index_MB.shape[0], device=index_MB.device)[:, None]
        weight_MNA = self.weight_MNA
        return Batch(
            self.inputs_MNx[member, index_MB], self.at_MNA[member, index_MB], self.target_MNAx[member, index_MB],
            None if weight_MNA is None else weight_MNA[member, index_MB],
        )  # fmt: skip

    def tables(self) -> list[Tensor]:
        """What is looked up."""
        return [x for x in (self.inputs_MNx, self.at_MNA, self.target_MNAx, self.weight_MNA) if x is not None]

    def keep(self, rows: Tensor) -> None:
        """Drop all members but these."""
        for name in ("size_M", "inputs_MNx", "at_MNA", "target_MNAx", "weight_MNA"):
            if getattr(self, name) is not None:
                setattr(self, name, getattr(self, name)[rows].contiguous())


class Drawn:
    """Examples that a task makes of the words."""

    def __init__(self, task: type[Fresh], options: Sequence[Any], seeds: Sequence[int], device: torch.device) -> None:
        """Lay out on the device what differs between the members."""
        self.task, self.options = task, options[0]
        values = task.values(options, seeds)
        self.values = {name: torch.from_numpy(value).to(device) for name, value in values.items()}

    def __call__(self, word_MB: Tensor) -> Batch:
        """Draw the examples."""
        return self.task.draw(self.options, self.values, None, word_MB)

    def tables(self) -> list[Tensor]:
        """Nothing is stored."""
        return []

    def keep(self, rows: Tensor) -> None:
        """Drop all members but these."""
        self.values = {name: value[rows].contiguous() for name, value in self.values.items()}


class WithOffset:
    """A source whose examples begin at a place of the position table that each draws, said in a last integer field."""

    def __init__(self, source: Source, length: int, places: int) -> None:
        """Examples of `length` places, of a table with `places`."""
        self.source, self.length, self.places = source, length, places

    def __call__(self, word_MB: Tensor) -> Batch:
        """The examples, with their places."""
        batch = self.source(word_MB)
        tokens = batch.inputs_MBx if batch.inputs_MBx.dim() == 4 else batch.inputs_MBx[..., None]
        begin_MB = choice(fresh(word_MB, OFFSET), self.places - self.length + 1)
        place_MBT = begin_MB[..., None] + torch.arange(self.length, device=word_MB.device)
        return Batch(
            torch.cat([tokens, place_MBT[..., None]], dim=3), batch.at_MBA, batch.target_MBAx, batch.weight_MBA
        )

    def tables(self) -> list[Tensor]:
        """What the source looks up."""
        return self.source.tables()

    def keep(self, rows: Tensor) -> None:
        """Drop all members but these."""
        self.source.keep(rows)


OFFSET = 1 << 20
"""Number of the word that decides an offset: far beyond those that an example needs."""


class TrainingSet:
    """What the members of a pack are trained on: the words of each step, and the source that makes examples of them."""

    def __init__(self, source: Source, seeds: Sequence[int], offsets: Sequence[int], device: torch.device) -> None:
        """Words follow from the seed, and from how many updates each member had had before its step 0."""
        self.source = source
        keys = [key(seed, "batch") for seed in seeds]
        self.key_M = torch.tensor([k - (1 << 64) if k >= 1 << 63 else k for k in keys]).to(device)
        self.offset_M = torch.tensor(offsets).to(device)

    @classmethod
    def of(cls, configs: Sequence[RunConfig], data: Sequence[TaskData], device: torch.device) -> TrainingSet:
        """The training sets of runs of one task."""
        stored = [d.train for d in data if d.train is not None]
        if stored:
            source: Source = Table(stored, device)
        else:
            task = cast("type[Fresh]", TASKS[configs[0].task])
            source = Drawn(task, [config.data for config in configs], [config.seed for config in configs], device)
        example = configs[0].example
        if configs[0].model.positions == "learned_offset":
            source = WithOffset(source, example.length, example.longest)
        seeds, offsets = [config.drawing_seed for config in configs], [config.offset for config in configs]
        return cls(source, seeds, offsets, device)

    def words(self, start: int, stop: int, batch: int) -> Tensor:
        """Words (K, M, B) of the batches of steps start .. stop - 1."""
        counter = torch.arange(start * batch, stop * batch, device=self.key_M.device).view(-1, 1, batch)
        return fresh(self.key_M[None, :, None], counter + batch * self.offset_M[:, None])

    def batch(self, word_MB: Tensor) -> Batch:
        """The examples of one step."""
        return self.source(word_MB)

    def keep(self, rows: Tensor) -> None:
        """Drop all members but these."""
        self.key_M = self.key_M[rows].contiguous()
        self.offset_M = self.offset_M[rows].contiguous()
        self.source.keep(rows)
