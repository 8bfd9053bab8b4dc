"""The one writer of the metric tables: rows are gathered in memory and committed as whole Parquet parts.

A part is named by the step of its first row and ends where the next begins. `cut(step)` commits everything before
`step`; `rewind(step)` removes every row at or after `step`. A checkpoint is only written after a cut at its step, so
an attempt that restores it writes the same rows again, once.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.functions import OPTIONAL, Trainable
from grokstudy.trainables.messages import first_line
from grokstudy.trainables.schema import TABLES, Column
from grokstudy.trainables.storage.continuity import KEYS, complete_until
from grokstudy.trainables.storage.run_dir import PART, Lease, RunDir
from grokstudy.trainables.storage.store import DamagedError
from grokstudy.trainables.storage.writer import Writer


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The Arrow schema of a table, with meaning and unit as field metadata."""
    return pa.schema(
        [
            pa.field(c.name, pa.type_for_alias(c.kind), c.nullable, {"meaning": c.meaning, "unit": c.unit})
            for c in columns
        ]
    )


SCHEMAS = {name: arrow_schema(columns) for name, columns in TABLES.items()}


def part_starts(run: RunDir, table: str) -> list[int]:
    """First steps of the parts that are there, ascending."""
    matches = (PART.search(name) for name in run.store.list(run.parts(table)))
    return sorted(int(match[1]) for match in matches if match)


def intact_until(run: RunDir, config: RunConfig, step: int) -> int:
    """The largest s <= `step` before which every table is complete, in readable parts. Names what is at fault."""
    for table in TABLES:
        step = _intact_table(run, config, table, step)
    return step


def _intact_table(run: RunDir, config: RunConfig, table: str, step: int) -> int:
    """As `intact_until`, for one table. Pages are read, too: now they can be repaired."""
    pieces = []
    for start in (start for start in part_starts(run, table) if start < step):
        try:
            pieces.append(read_part(run, table, start).select(KEYS[table]))
        except DamagedError:
            warnings.warn(f"{run.part(table, start)} is torn: training again from {start} or before", stacklevel=3)
            step = start
            break
    rows = joined(pieces, table)
    end = complete_until(config, table, rows, step)
    if end < step:
        fault = f"does not hold every row before {step} once"
        warnings.warn(f"{run.parts(table)} {fault}: training again from {end} or before", stacklevel=3)
    return end


def rewind(run: RunDir, step: int) -> None:
    """Remove every row at or after `step`: the parts that start there, and the end of one that reaches beyond it.

    The newest go first: killed in between, the tables are still complete before the newest part that is left.
    """
    starts = {table: part_starts(run, table) for table in TABLES}
    for start in sorted({start for steps in starts.values() for start in steps if start >= step}, reverse=True):
        for table in TABLES:
            if start in starts[table]:
                run.store.delete(run.part(table, start))
    for table, steps in starts.items():
        before = [start for start in steps if start < step]
        if before:
            _shorten(run, table, before[-1], step)


def _shorten(run: RunDir, table: str, start: int, step: int) -> None:
    """Rewrite a part without its rows at or after `step`. A torn part is left for `verify` to name."""
    try:
        rows = read_part(run, table, start)
    except DamagedError:
        return
    kept = rows.filter(pc.less(rows["step"], step))
    if not len(kept):
        run.store.delete(run.part(table, start))
    elif len(kept) < len(rows):
        run.store.write(run.part(table, start), encode(kept))


class Recorder:
    """Rows of one run since the last cut."""

    def __init__(self, lease: Lease, start: int, writer: Writer, trainable: Trainable | None = None) -> None:
        """Begin at step `start`, after a rewind to it. The tables are those of the run's training function."""
        self.lease, self.start, self.writer = lease, start, writer
        self._schemas = {name: arrow_schema(trainable.schema(name)) for name in TABLES} if trainable else SCHEMAS
        self._blocks: dict[str, list[pa.RecordBatch]] = {name: [] for name in TABLES}

    def add(self, table: str, columns: Mapping[str, Any]) -> None:
        """Add rows, given by column; `attempt` is filled in."""
        schema = self._schemas[table]
        n = len(columns["step"])
        filled = {"attempt": np.full(n, self.lease.attempt, np.int16), **columns}
        arrays = [pa.array(filled[field.name], type=field.type) for field in schema]
        self._blocks[table].append(pa.record_batch(arrays, schema=schema))

    def cut(self, step: int) -> None:
        """Have all rows committed, as parts that end before `step`. Raises what went wrong with earlier ones."""
        if step == self.start or not any(self._blocks.values()):
            return
        blocks, self._blocks = self._blocks, {name: [] for name in TABLES}
        size = sum(block.nbytes for table in blocks.values() for block in table)
        self.writer.later(functools.partial(self._commit, self.start, blocks), size)
        self.start = step

    def _commit(self, start: int, blocks: dict[str, list[pa.RecordBatch]]) -> None:
        self.lease.check()
        for table, rows in blocks.items():
            if rows:
                self.lease.run.store.write(self.lease.run.part(table, start), encode(pa.Table.from_batches(rows)))


def encode(table: pa.Table) -> bytes:
    """Parquet bytes: integers delta-coded, floats split by byte, all of it compressed, each page with a checksum."""
    floats = [f.name for f in table.schema if pa.types.is_floating(f.type)]
    texts = [f.name for f in table.schema if pa.types.is_string(f.type)]
    integers = [f.name for f in table.schema if pa.types.is_integer(f.type)]
    encodings = {**dict.fromkeys(floats, "BYTE_STREAM_SPLIT"), **dict.fromkeys(integers, "DELTA_BINARY_PACKED")}
    buffer = io.BytesIO()
    how = {"compression": "zstd", "use_dictionary": texts, "column_encoding": encodings}
    pq.write_table(table, buffer, write_page_checksum=True, **how)
    return buffer.getvalue()


def read(run: RunDir, table: str) -> pa.Table:
    """All rows of a run's table, in the order of the parts. Raises DamagedError for a torn part."""
    return joined([read_part(run, table, start) for start in part_starts(run, table)], table)


def joined(parts: list[pa.Table], table: str) -> pa.Table:
    """Rows of several parts of a table; a column that one of them has not is null there."""
    return pa.concat_tables(parts, promote_options="default") if parts else SCHEMAS[table].empty_table()


def read_part(run: RunDir, table: str, start: int) -> pa.Table:
    """The rows of one part. Raises DamagedError for a torn or foreign one."""
    name = run.part(table, start)
    content = run.store.read(name)
    try:
        return decode(content, table)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise DamagedError(f"{run.store.path(name)}: cannot be read ({first_line(error)})") from None


def in_memory(content: bytes) -> pq.ParquetFile:
    """A Parquet file of which we hold the bytes; pages are checked against their checksums, where they have any.

    Nothing is fetched ahead: for that Arrow lends the bytes to a thread of its own, and where Python ends before that
    thread gives them back, the process is aborted.
    """
    return pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True, pre_buffer=False)


def decode(content: bytes, table: str) -> pa.Table:
    """The rows of a part's bytes, checked against its checksums. Raises what pyarrow raises.

    Columns of a training function follow those of the table, of which it may leave some out (`functions.OPTIONAL`).
    """
    rows = in_memory(content).read(use_threads=False)
    if not rows.schema.equals(SCHEMAS[table], check_metadata=True):
        ours = [f.with_nullable(f.nullable or (f.name in OPTIONAL and table == "steps")) for f in SCHEMAS[table]]
        own = [field for field in rows.schema if field.name not in SCHEMAS[table].names]
        rows = rows.select([field.name for field in (*ours, *own)]).cast(pa.schema([*ours, *own]))
    rows.validate(full=True)  # texts that are no UTF-8, for one
    return rows
