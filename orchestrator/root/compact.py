"""Merge the parts of finished runs: one file per run and table. The rows and their order stay as they are.

The merged part takes the name of the first one; then the others are removed. Killed in between, it leaves rows twice,
which `verify` names, and merging again repairs it.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.continuity import KEYS
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store


def compact(store: Store, run_ids: list[str]) -> tuple[int, int]:
    """Merge what is finished among these runs; returns the number of parts before and after."""
    before = after = 0
    for run_id in run_ids:
        run = RunDir(store, run_id)
        if run.read("DONE.json") is not None:
            parts = {table: records.part_starts(run, table) for table in TABLES}
            before += sum(map(len, parts.values()))
            after += sum(bool(starts) for starts in parts.values())
            _merge(run, parts)
    return before, after


def _merge(run: RunDir, parts: dict[str, list[int]]) -> None:
    for table, starts in parts.items():
        if len(starts) > 1:
            run.store.write(run.part(table, starts[0]), records.encode(_rows(run, table, starts)))
            for start in starts[1:]:
                run.store.delete(run.part(table, start))


def _rows(run: RunDir, table: str, starts: list[int]) -> pa.Table:
    pieces = [records.read_part(run, table, start) for start in starts]
    merged = records.joined(pieces, table)
    overlap = any(
        len(rows) and pc.max(rows["step"]).as_py() >= start for rows, start in zip(pieces, starts[1:], strict=False)
    )
    return _once(merged, KEYS[table]) if overlap else merged


def _once(rows: pa.Table, keys: tuple[str, ...]) -> pa.Table:
    """The first of equal rows, in the order of their steps."""
    first: dict[tuple[object, ...], int] = {}
    for place, key in enumerate(zip(*(rows[name].to_pylist() for name in keys), strict=True)):
        first.setdefault(key, place)
    return rows.take(sorted(first.values(), key=lambda place: (rows["step"][place].as_py(), place)))
