"""The one writer of the metric tables: rows are gathered in memory and committed as whole Parquet parts.

A part is named by the step of its first row and ends where the next begins. `cut(step)` commits everything before
`step`; `rewind(step)` removes every part that starts at or after `step`. A checkpoint is only written after a cut
at its step, so an attempt that restores it writes the same rows again, once.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainables.rundir import Lease, RunDir
from trainables.schema import TABLES, Column

_PART = re.compile(r"/part-(\d{9})\.parquet$")


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
    matches = (_PART.search(name) for name in run.store.list(run.parts(table)))
    return sorted(int(match[1]) for match in matches if match)


def rewind(run: RunDir, step: int) -> None:
    """Remove every part that starts at or after `step`."""
    for table in TABLES:
        for start in part_starts(run, table):
            if start >= step:
                run.store.delete(run.part(table, start))


class Recorder:
    """Rows of one run since the last cut."""

    def __init__(self, lease: Lease, start: int) -> None:
        """Begin at step `start`, after a rewind to it."""
        self.lease = lease
        self.start = start
        self._blocks: dict[str, list[pa.RecordBatch]] = {name: [] for name in TABLES}

    def add(self, table: str, columns: Mapping[str, Any]) -> None:
        """Add rows, given by column; `attempt` is filled in."""
        schema = SCHEMAS[table]
        n = len(columns["step"])
        filled = {"attempt": np.full(n, self.lease.attempt, np.int16), **columns}
        arrays = [pa.array(filled[field.name], type=field.type) for field in schema]
        self._blocks[table].append(pa.record_batch(arrays, schema=schema))

    def cut(self, step: int) -> None:
        """Commit all rows as parts that end before `step`."""
        if step == self.start or not any(self._blocks.values()):
            return
        self.lease.check()
        for table, blocks in self._blocks.items():
            if blocks:
                name = self.lease.run.part(table, self.start)
                self.lease.run.store.write(name, encode(pa.Table.from_batches(blocks)))
                blocks.clear()
        self.start = step


def encode(table: pa.Table) -> bytes:
    """Parquet bytes: integers delta-coded, floats split by byte, all of it compressed."""
    floats = [f.name for f in table.schema if pa.types.is_floating(f.type)]
    texts = [f.name for f in table.schema if pa.types.is_string(f.type)]
    integers = [f.name for f in table.schema if pa.types.is_integer(f.type)]
    encodings = {**dict.fromkeys(floats, "BYTE_STREAM_SPLIT"), **dict.fromkeys(integers, "DELTA_BINARY_PACKED")}
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", use_dictionary=texts, column_encoding=encodings)
    return buffer.getvalue()


def read(run: RunDir, table: str) -> pa.Table:
    """All rows of a run's table, in the order of the parts. Raises pyarrow.ArrowInvalid for a torn part."""
    parts = [pq.read_table(io.BytesIO(run.store.read(run.part(table, s)))) for s in part_starts(run, table)]
    return pa.concat_tables(parts) if parts else SCHEMAS[table].empty_table()
