"""Parquet parts of one metric table as one lazy frame, without trusting a single file.

Reads `<root>/metrics/<table>/run_id=<id>/part-<first step>.parquet` (writer: `trainables/storage/records.py`). The run
of a row follows from the path below the root, and from nothing above it. Nothing is read before a query needs it, then
only the columns that it needs, each page against its checksum. A part that is torn, foreign or of another type is left
out and named; rows that a later part holds, too (a merge was cut short), are taken once; a column that its writer did
not know is null.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from polars.io.plugins import register_io_source

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
_AT_ONCE = 512
"""Parts that are decoded before their rows are handed on."""
_VERIFY = "grokstudy verify names every fault of the root and what to do"


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
    run: int
    """Place of its run among those that are asked for."""
    start: int
    end: int | None
    """Where the next part begins; None for the last."""


class _FaultError(Exception):
    """Why a part is left out."""


def polars_schema(columns: Iterable[Column]) -> pl.Schema:
    """The polars schema of a table of `trainables.schema`."""
    return pl.Schema({column.name: _KINDS[column.kind] for column in columns})


@dataclass
class Scan:
    """The rows of some runs in one table, read again at each query; `skipped` is known once they have been read."""

    store: Store
    table: str
    run_ids: Sequence[str]
    columns: tuple[Column, ...]
    skipped: dict[str, Skipped] = field(default_factory=dict)

    @property
    def frame(self) -> pl.LazyFrame:
        """Every readable row, with `run_id` in front."""
        return register_io_source(
            self._read, schema=pl.Schema([("run_id", pl.String), *polars_schema(self.columns).items()])
        )

    @cached_property
    def _arrow(self) -> pa.Schema:
        return arrow_schema(self.columns)

    def _read(
        self, with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        """What polars asks for: some columns of the rows that meet a condition, in pieces."""
        wanted = ["run_id", *self._arrow.names] if with_columns is None else with_columns
        ids, left = pl.Series("run_id", self.run_ids, dtype=pl.String), n_rows
        with ThreadPoolExecutor(_THREADS) as pool:
            parts = [part for own in pool.map(self._parts, range(len(self.run_ids))) for part in own]
            for first in range(0, len(parts), _AT_ONCE):
                group = parts[first : first + _AT_ONCE]
                tables = list(pool.map(lambda part: self._decoded(part, wanted), group))
                read = [(part, rows) for part, rows in zip(group, tables, strict=True) if rows is not None]
                if read:
                    frame = pl.DataFrame(pa.concat_tables([rows for _, rows in read]))
                    if "run_id" in wanted:
                        places = np.repeat([part.run for part, _ in read], [len(rows) for _, rows in read])
                        frame = frame.with_columns(ids.gather(places))
                    frame = frame.select(wanted) if predicate is None else frame.select(wanted).filter(predicate)
                    yield frame if left is None else frame.head(left)
                    left = None if left is None else left - min(left, frame.height)
                if left == 0:
                    return

    def _parts(self, run: int) -> list[_Part]:
        """The parts of one run, in the order of their steps."""
        folder, starts = RunDir(self.store, self.run_ids[run]).parts(self.table), {}
        for name, place in self.store.places(folder).items():
            if match := PART.fullmatch(name):
                starts[int(match["start"])] = (f"{folder}/{name}", place)
            else:
                self._skip(f"{folder}/{name}", "foreign: not named part-<first step>.parquet; move it out of the root")
        ends = [*list(starts)[1:], None]
        return [_Part(*paths, run, start, end) for (start, paths), end in zip(starts.items(), ends, strict=False)]

    def _decoded(self, part: _Part, wanted: Sequence[str]) -> pa.Table | None:
        """The wanted columns of a part, less the rows of the parts after it; None when it cannot be used."""
        try:
            opened = self.store.fs.open_input_file(part.place)  # not by its name, which Arrow would look up again
            with opened, pq.ParquetFile(opened, page_checksum_verification=True) as source:
                schema = source.schema_arrow
                if not schema.equals(self._arrow):
                    self._check(schema)
                doubled = part.end is not None and _last_step(source, schema.names.index("step")) >= part.end
                names = [name for name in self._arrow.names if name in wanted and name in schema.names]
                rows = source.read(
                    columns=[*names, "step"] if doubled and "step" not in names else names, use_threads=False
                )
        except _FaultError as fault:
            return self._skip(part.path, f"foreign: {fault}; move it out of the root")
        except OSError as error:
            if isinstance(error, PermissionError):
                raise
            return self._skip(part.path, f"torn or not Parquet ({first_line(error)}); {_VERIFY}")
        except Exception as error:  # pyarrow raises many kinds; whatever it is, the file cannot be used
            return self._skip(part.path, f"torn or not Parquet ({first_line(error)}); {_VERIFY}")
        try:
            return self._conformed(part, rows, wanted, doubled)
        except pa.ArrowException as error:
            return self._skip(part.path, f"damaged pages ({first_line(error)}); {_VERIFY}")

    def _conformed(self, part: _Part, rows: pa.Table, wanted: Sequence[str], doubled: bool) -> pa.Table:
        if doubled:
            self._skip(
                part.path, f"holds rows of the part at {part.end}, too, taken once; grokstudy compact merges them"
            )
            rows = rows.filter(pc.less(rows["step"], part.end))
        arrays = {}
        for column in (column for column in self._arrow if column.name in wanted):
            array = rows[column.name] if column.name in rows.column_names else pa.nulls(len(rows), column.type)
            if pa.types.is_string(array.type):
                array.validate(full=True)  # text that is not UTF-8 would end the process later
            arrays[column.name] = array if array.type == column.type else array.cast(column.type)
        return pa.table(arrays) if arrays else pa.table({"": pa.nulls(len(rows))})

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

    def _skip(self, path: str, reason: str) -> pa.Table | None:
        self.skipped[path] = Skipped(path, reason)
        return None


def _last_step(source: pq.ParquetFile, place: int) -> int:
    """The largest value of the column `step`, by the footer where that says so."""
    groups = [source.metadata.row_group(number).column(place) for number in range(source.metadata.num_row_groups)]
    if all(group.statistics is not None and group.statistics.has_min_max for group in groups):
        return max((int(group.statistics.max) for group in groups), default=-1)
    largest = pc.max(source.read(columns=["step"])["step"]).as_py()
    return -1 if largest is None else int(largest)


def _family(kind: str) -> str:
    """Integers of any width are one family, floats another, text a third."""
    word = re.sub(r"\d+$", "", kind.lower())
    return _FAMILIES.get(word, "text" if "str" in word else word)
