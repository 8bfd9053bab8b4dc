"""Which rows a run must have, and whether it has them: the rule by which training resumes and `verify` judges.

`steps` has a row for every step. `evals` has every split of the task at each step of the evaluation grid, and `probes`
one set of rows at each, the same at all of them. A part or checkpoint named by step s was written after every row
before s, so the tables of a run that is whole are complete up to the newest of either. Rows are judged by column: the
cost is linear in their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from grokstudy.trainables.config import RunConfig, eval_steps
from grokstudy.trainables.tasks import TASKS

KEYS = {"steps": ("step",), "evals": ("step", "split"), "probes": ("step", "probe", "split", "layer", "position")}
"""What tells the rows of a table apart."""

Steps = NDArray[np.int64]


class Gap(NamedTuple):
    """Steps that lack rows."""

    steps: int
    first: int


@dataclass(frozen=True)
class Census:
    """What rows of a table are there."""

    steps: Steps
    """Every step that has rows, ascending."""
    counts: Steps
    """How many different rows each of them has."""
    kinds: int
    """How many different rows a step can have: what one has and another lacks was lost."""
    twice: Steps
    """Steps of the rows that are there once too often, ascending."""
    back: Steps
    """Steps of the rows that come after a later one, in the order of the rows."""

    @property
    def end(self) -> int:
        """The step after the last one that has rows."""
        return int(self.steps[-1]) + 1 if len(self.steps) else 0


def census(rows: pa.Table, table: str) -> Census:
    """Count the rows of a table; only the columns of its key are looked at."""
    steps: Steps = rows["step"].to_numpy()
    kind, kinds = _kinds(rows, KEYS[table][1:])
    cells = np.sort(steps * kinds + kind, kind="stable")  # rows are in order but for damage, where this costs nothing
    new = np.diff(cells, prepend=cells[:1] - 1) != 0
    at = cells[new] // kinds
    begins = np.flatnonzero(np.diff(at, prepend=at[:1] - 1))
    counts = np.diff(begins, append=len(at))
    return Census(at[begins], counts, kinds, cells[~new] // kinds, steps[1:][steps[1:] < steps[:-1]])


def _kinds(rows: pa.Table, names: tuple[str, ...]) -> tuple[Steps, int]:
    """A number for each row that is the same where these columns are, and how many there are (at least 1)."""
    numbers = np.zeros(len(rows), np.int64)
    for name in names:
        column = rows[name].combine_chunks().dictionary_encode(null_encoding="encode")
        numbers = numbers * len(column.dictionary) + column.indices.to_numpy()
    encoding = pa.array(numbers).dictionary_encode()
    return encoding.indices.to_numpy().astype(np.int64), max(1, len(encoding.dictionary))


def due(config: RunConfig, table: str, end: int, last: int | None = None) -> Steps:
    """The steps before `end` at which a table has rows; `last` is evaluated although the grid may leave it out."""
    if table == "steps":
        return np.arange(end)
    if table == "probes" and not _is_probed(config):
        return np.empty(0, np.int64)
    steps = eval_steps(config.eval, end)[:-1]
    return np.array(sorted({*steps, last} if last is not None and last < end else steps), np.int64)


def _is_probed(config: RunConfig) -> bool:
    """Whether an evaluation leaves rows in `probes`; of a task whose code is not here, what the probes say."""
    if config.trainable is not None:
        return config.trainable.measures
    return bool(config.eval.probes) or (config.task in TASKS and bool(TASKS[config.task].metrics))


def gap(config: RunConfig | None, table: str, tally: Census, end: int, last: int | None = None) -> Gap | None:
    """The steps before `end` that lack rows; without a configuration, those of `steps` alone can be told."""
    if table == "steps":
        return _steps_gap(tally, end)
    if config is None:
        return None
    wanted = due(config, table, end, last)
    # An evaluation has at least one row for each split of the task, where its code is here.
    least = len(TASKS[config.task].splits_of(config.data)) if table == "evals" and config.task in TASKS else 1
    whole = tally.steps[tally.counts >= max(tally.kinds, least)]
    lost = wanted[~np.isin(wanted, whole)]
    return Gap(len(lost), int(lost[0])) if len(lost) else None


def _steps_gap(tally: Census, end: int) -> Gap | None:
    """As `gap`, without a list of the steps that there should be: a name can claim a billion."""
    steps = tally.steps[(tally.steps >= 0) & (tally.steps < end)]
    if len(steps) == max(end, 0):
        return None
    off = np.flatnonzero(steps != np.arange(len(steps)))
    return Gap(end - len(steps), int(off[0]) if len(off) else len(steps))


def stray(config: RunConfig, table: str, tally: Census, end: int, last: int | None = None) -> Steps:
    """Steps that have rows although nothing is due there before `end`; for `steps`, only impossible ones."""
    if table == "steps":
        return tally.steps[tally.steps < 0]
    return tally.steps[~np.isin(tally.steps, due(config, table, end, last))]


def complete_until(config: RunConfig, table: str, rows: pa.Table, end: int) -> int:
    """The largest step <= `end` before which a table has every row once, in order, and no other."""
    tally = census(rows, table)
    missing = gap(config, table, tally, end)
    wrong = (tally.twice, tally.back, stray(config, table, tally, end), [missing.first] if missing else [])
    return max(0, min([end, *(int(np.min(steps)) for steps in wrong if len(steps))]))
