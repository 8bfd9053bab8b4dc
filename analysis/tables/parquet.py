"""Parquet parts of one metric table as one lazy frame, without trusting a single file.

Reads `<root>/metrics/<table>/run_id=<id>/part-<first step>.parquet` (writer: `trainables/storage/records.py`). The run
of a row follows from the path below the root, and from nothing above it. Nothing is read before a query needs it, then
only the columns that it needs, each page against its checksum. A part that is torn, foreign or of another type is left
out and named; rows that a later part holds, too (a merge was cut short), are taken once; a column that its writer did
not know is null.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from polars.io.plugins import register_io_source
from pyarrow._parquet import ParquetReader  # pq.ParquetFile less the Python around it, a fifth of the time

from grokstudy.trainables.machine import cores
from grokstudy.trainables.messages import first_line
from grokstudy.trainables.schema import Column
from grokstudy.trainables.storage.records import arrow_schema
from grokstudy.trainables.storage.run_dir import PART, RunDir
from grokstudy.trainables.storage.store import Store

_KINDS: dict[str, Any] = {
    "int16": pl.Int16,
    "int32": pl.Int32,
    "int64": pl.Int64,
    "float32": pl.Float32,
    "float64": pl.Float64,
    "string": pl.String,
}
_FAMILIES = {"int": "int", "uint": "int", "float": "float", "double": "float", "halffloat": "float"}
_THREADS = 4
"""Files of a network that are waited for at a time."""
_FEWEST = 64
"""Local files that are worth a thread: one takes less time to read than a thread to wake."""
_AT_ONCE = 512
"""Parts that are decoded before their rows are handed on."""
_VERIFY = "grokstudy verify names every fault of the root and what to do"
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Skipped:
    """A file whose rows were left out, or not taken twice, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class _Part:
    path: str
    place: str
    """Its path inside the file system."""
    start: int
    end: int | None
    """Where the next part begins; None for the last."""
    trials: tuple[tuple[int, int], ...]
    """The trials that may have rows in it: the place of each among the trials, and the first step that is not its."""

    def stops_before(self, last: int) -> bool:
        """Whether a trial ends before this step, so that not all of the part is its own."""
        return any(last >= until for _, until in self.trials)


@dataclass(frozen=True)
class _Rows:
    """What was wanted of a part: rows in the order of their steps."""

    columns: pa.Table
    """With `step` where a trial ends within the part."""
    height: int
    last: int
    """The largest step."""


@dataclass(frozen=True)
class _Layout:
    """How a part is laid out."""

    places: dict[str, int]
    """Of its columns, among all that lie in it: of a nested one there are several."""
    is_ours: bool
    """Whether these are the columns of the table, of their types."""


class _FaultError(Exception):
    """Why a part is left out."""


def polars_schema(columns: Iterable[Column]) -> pl.Schema:
    """The polars schema of a table of `trainables.schema`."""
    return pl.Schema({column.name: _KINDS[column.kind] for column in columns})


@dataclass
class Scan:
    """The rows of some trials in one table, read again at each query; `skipped` is known once they have been read.

    A trial is the beginning of its run: steps before its `horizon`, evaluations up to it. A run that serves two trials
    is there twice.
    """

    store: Store
    table: str
    columns: tuple[Column, ...]
    trials: pl.DataFrame
    """Their `run_id` and `horizon`; the other columns follow those of the table."""
    skipped: dict[str, Skipped] = field(default_factory=dict)
    _accepted: tuple[pq.ParquetSchema, _Layout] | None = None
    """Layout of the last part that was looked at and could be used, as its footer has it and what that comes to."""

    @property
    def frame(self) -> pl.LazyFrame:
        """Every readable row, `run_id` in front, the rest of the trials behind."""
        cheapest = sorted(self._schema, key=lambda name: name not in self.trials.columns)  # polars counts by the first
        source = register_io_source(self._read, schema=pl.Schema({name: self._schema[name] for name in cheapest}))
        return source.select(self._schema.names())

    @cached_property
    def _schema(self) -> pl.Schema:
        ours = [("run_id", pl.String()), *polars_schema(self.columns).items()]
        return pl.Schema([*ours, *self.trials.drop("run_id").schema.items()])

    @cached_property
    def _arrow(self) -> pa.Schema:
        return arrow_schema(self.columns)

    @cached_property
    def _texts(self) -> frozenset[str]:
        return frozenset(column.name for column in self.columns if column.kind == "string")

    def _read(
        self, with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        """What polars asks for: some columns of the rows that meet a condition, in pieces."""
        wanted = self._schema.names() if with_columns is None else with_columns
        trials, left = self._asked(predicate), n_rows
        parts = self._parts(trials)
        for first in range(0, len(parts), _AT_ONCE):
            frame = self._frame(parts[first : first + _AT_ONCE], trials, wanted)
            if predicate is not None:
                frame = frame.filter(predicate)
            yield frame if left is None else frame.head(left)
            left = None if left is None else left - min(left, frame.height)
            if left == 0:
                return

    def _asked(self, predicate: pl.Expr | None) -> pl.DataFrame:
        """The trials that can have rows for which a condition holds."""
        own = set(self.trials.columns)
        about = [] if predicate is None else [term for term in _terms(predicate) if {*term.meta.root_names()} <= own]
        return self.trials.filter(pl.col("run_id").is_not_null(), *about)

    def _parts(self, trials: pl.DataFrame) -> list[_Part]:
        """The parts that can have rows of these trials, in the order of runs and steps."""
        beyond = 0 if self.table == "steps" else 1
        ends: dict[str, list[tuple[int, int]]] = {}
        for number, (run_id, horizon) in enumerate(trials.select("run_id", "horizon").iter_rows()):
            ends.setdefault(run_id, []).append((number, horizon + beyond))
        folders = [(RunDir(self.store, run_id).parts(self.table), tuple(limits)) for run_id, limits in ends.items()]
        return [part for own in self._each(lambda pair: self._parts_of(*pair), folders, 1) for part in own]

    def _parts_of(self, folder: str, limits: tuple[tuple[int, int], ...]) -> list[_Part]:
        starts = {}
        for name, place in self.store.places(folder).items():
            if match := PART.fullmatch(name):
                starts[int(match["start"])] = (f"{folder}/{name}", place)
            else:
                self._skip(f"{folder}/{name}", "foreign: not named part-<first step>.parquet; move it out of the root")
        parts = []
        for (start, paths), end in zip(starts.items(), [*list(starts)[1:], None], strict=False):
            trials = tuple((number, until) for number, until in limits if start < until)
            if trials:
                parts.append(_Part(*paths, start, end, trials))
        return parts

    def _each(self, read: Callable[[_Item], _Result], items: Sequence[_Item], threads: int) -> list[_Result]:
        """In order; over a network several at a time, of local files a stretch of them for each of so many threads."""
        if self.store.local and threads < 2:
            return [read(item) for item in items]
        threads, length = (threads, math.ceil(len(items) / threads)) if self.store.local else (_THREADS, 1)
        stretches = [items[first : first + length] for first in range(0, len(items), length)]
        with ThreadPoolExecutor(threads) as pool:
            return [result for results in pool.map(lambda some: list(map(read, some)), stretches) for result in results]

    def _frame(self, parts: Sequence[_Part], trials: pl.DataFrame, wanted: Sequence[str]) -> pl.DataFrame:
        """The wanted columns of some parts: of each the rows of every trial."""
        names = [name for name in self._arrow.names if name in wanted]
        threads = min(cores(), len(parts) // _FEWEST) if names else 1  # a footer alone is read faster than handed over
        read = self._each(lambda part: self._decoded(part, names), parts, threads)
        pieces, numbers, heights = [], [], []
        for part, content in zip(parts, read, strict=True):
            if content is None:
                continue
            for number, until in part.trials:
                table, height = content.columns, content.height
                if content.last >= until:
                    table = table.filter(pc.less(table["step"], until))
                    height = table.num_rows
                pieces.append(table if table.column_names == names else table.select(names))
                numbers.append(number)
                heights.append(height)
        whose = np.repeat(np.array(numbers, np.int64), heights)
        about = [trials[name].gather(whose) for name in trials.columns if name in wanted]
        empty = pl.DataFrame(schema={name: self._schema[name] for name in names})
        joined = pa.concat_tables(pieces).combine_chunks() if names and pieces else None  # polars is slow by the piece
        rows = empty if joined is None else pl.DataFrame(joined)
        return pl.DataFrame([*rows.get_columns(), *about]).select(wanted)

    def _decoded(self, part: _Part, names: Sequence[str]) -> _Rows | None:
        """Columns of a part, less the rows of the parts after it; None when it cannot be used."""
        try:
            opened = self.store.fs.open_input_file(part.place)  # not by its name, which Arrow would look up again
            ahead = not self.store.local  # of a local file that costs more than it saves
            with opened:
                source = ParquetReader()
                source.open(opened, page_checksum_verification=True, pre_buffer=ahead)
                return self._rows(part, source, names)
        except PermissionError:
            raise
        except _FaultError as fault:
            self._skip(part.path, f"foreign: {fault}; move it out of the root")
        except Exception as error:  # pyarrow raises many kinds; whatever it is, the file cannot be used
            self._skip(part.path, f"torn or not Parquet ({first_line(error)}); {_VERIFY}")
        return None

    def _rows(self, part: _Part, source: ParquetReader, names: Sequence[str]) -> _Rows:
        metadata = source.metadata
        layout = self._layout(source, metadata.schema)
        last = _last_step(source, metadata, layout.places["step"])
        doubled = part.end is not None and last >= part.end
        wanted = names
        if (doubled or part.stops_before(last)) and "step" not in names:
            wanted = [name for name in self._arrow.names if name in names or name == "step"]
        if not wanted:
            return _Rows(pa.table({}), metadata.num_rows, last)
        known = [name for name in wanted if name in layout.places]
        rows = source.read_all([layout.places[name] for name in known or ["step"]], use_threads=False)
        for name in self._texts.intersection(known):
            rows[name].validate(full=True)  # text that is not UTF-8 would end the process later
        if doubled:
            reason = f"holds rows of the part at {part.end}, too, taken once; grokstudy compact merges them"
            self._skip(part.path, reason)
            rows, last = rows.filter(pc.less(rows["step"], part.end)), (part.end or 0) - 1
        return _Rows(rows if layout.is_ours else self._conformed(rows, wanted), rows.num_rows, last)

    def _conformed(self, rows: pa.Table, names: Sequence[str]) -> pa.Table:
        """The columns as this table has them; null where the writer did not know one."""
        known = {name: rows[name] for name in rows.column_names}
        wanted = pa.schema(map(self._arrow.field, names))
        return pa.table(
            [known.get(field.name, pa.nulls(len(rows), field.type)).cast(field.type) for field in wanted], wanted
        )

    def _layout(self, source: ParquetReader, in_footer: pq.ParquetSchema) -> _Layout:
        """How a part is laid out. One laid out as the last that was accepted is not looked at again: it is accepted.

        Raises _FaultError.
        """
        accepted = self._accepted
        if accepted is None or not in_footer.equals(accepted[0]):
            schema = source.schema_arrow
            is_ours = schema.equals(self._arrow)
            if not is_ours:
                self._check(schema)
            places = {in_footer.column(place).path: place for place in range(len(in_footer))}
            self._accepted = accepted = in_footer, _Layout(places, is_ours)
        return accepted[1]

    def _check(self, schema: pa.Schema) -> None:
        """Whether a part has this table's columns. Raises _FaultError."""
        kinds = {field.name: str(field.type) for field in schema}
        if "step" not in kinds:
            raise _FaultError(
                f"foreign: no column step, only {', '.join(sorted(kinds)) or 'none'}; move it out of the root"
            )
        for column in self.columns:
            if column.name in kinds and _family(kinds[column.name]) != _family(column.kind):
                raise _FaultError(f"column {column.name} is {kinds[column.name]}, expected {column.kind}")

    def _skip(self, path: str, reason: str) -> None:
        self.skipped[path] = Skipped(path, reason)


def _terms(condition: pl.Expr) -> list[pl.Expr]:
    """The conditions that must all hold for this one to hold."""
    sides = condition.meta.pop()
    if len(sides) == 2 and any(condition.meta.eq(one & other) for one, other in (sides, sides[::-1])):
        return [term for side in sides for term in _terms(side)]
    return [condition]


def _last_step(source: ParquetReader, metadata: pq.FileMetaData, place: int) -> int:
    """The largest value of the column `step`, by the footer where that says so."""
    groups = [metadata.row_group(number).column(place).statistics for number in range(metadata.num_row_groups)]
    if all(group is not None and group.has_min_max for group in groups):
        return max((int(group.max) for group in groups), default=-1)
    largest = pc.max(source.read_all([place], use_threads=False)["step"]).as_py()
    return -1 if largest is None else int(largest)


def _family(kind: str) -> str:
    """Integers of any width are one family, floats another, text a third."""
    word = re.sub(r"\d+$", "", kind.lower())
    return _FAMILIES.get(word, "text" if "str" in word else word)
