"""Parquet parts of one metric table as one lazy frame, without trusting a single file.

Reads `<root>/metrics/<table>/run_id=<id>/part-<first step>.parquet` (writer: `trainables/storage/records.py`). A part
that is torn, foreign or of another type is skipped and named; a column that its writer did not know is null.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from grokstudy.trainables.schema import Column
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
_THREADS = 8


@dataclass(frozen=True)
class Skipped:
    """A file that was not read, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class _Part:
    path: str
    run_id: str
    columns: tuple[tuple[str, str], ...]


def polars_schema(columns: Iterable[Column]) -> pl.Schema:
    """The polars schema of a table of `trainables.schema`."""
    return pl.Schema({column.name: _KINDS[column.kind] for column in columns})


def scan(
    store: Store, table: str, run_ids: Sequence[str], columns: Sequence[Column]
) -> tuple[pl.LazyFrame, list[Skipped]]:
    """Every readable row of these runs, with `run_id` in front, and the files that were left out."""
    schema = polars_schema(columns)
    with ThreadPoolExecutor(_THREADS) as pool:
        listed = pool.map(lambda run_id: store.list(RunDir(store, run_id).parts(table)), run_ids)
        paths = [path for paths in listed for path in paths]
        checked = list(pool.map(lambda path: _check(store, path, schema), paths))
    parts = [part for part in checked if isinstance(part, _Part)]
    skipped = [part for part in checked if isinstance(part, Skipped)]
    parts, damaged = _decodable(store, parts)
    return _frame(store, parts, schema), skipped + damaged


def _check(store: Store, path: str, schema: pl.Schema) -> _Part | Skipped:
    """Decode a part with Arrow, against its checksums: at some damage polars would end the process."""
    name = PurePosixPath(path)
    if not PART.fullmatch(name.name):
        return Skipped(path, "foreign: not named part-<first step>.parquet")
    try:
        with store.fs.open_input_file(store.path(path)) as file:
            part = pq.ParquetFile(file, page_checksum_verification=True)
            kinds = {field.name: str(field.type) for field in part.schema_arrow}
            damage = _undecodable(part)
    except Exception as error:  # pyarrow raises many kinds; whatever it is, the file cannot be used
        return Skipped(path, f"torn or not Parquet ({_first_line(error)})")
    if damage:
        return Skipped(path, f"damaged pages ({damage})")
    return _mismatch(path, kinds, schema) or _Part(path, name.parent.name.removeprefix("run_id="), tuple(kinds.items()))


def _undecodable(part: pq.ParquetFile) -> str | None:
    try:
        rows = sum(_rows(batch) for batch in part.iter_batches(use_threads=False))
    except Exception as error:
        return _first_line(error)
    said = part.metadata.num_rows
    return None if rows == said else f"{rows} rows, where the footer says {said}"


def _rows(batch: pa.RecordBatch) -> int:
    """Number of rows. Raises ArrowInvalid where a value is none of its type, such as text that is not UTF-8."""
    batch.validate(full=True)
    return int(batch.num_rows)


def _mismatch(path: str, found: dict[str, str], schema: pl.Schema) -> Skipped | None:
    if "step" not in found:
        return Skipped(path, f"foreign: no column step, only {', '.join(sorted(found)) or 'none'}")
    for name, kind in schema.items():
        if name in found and _family(found[name]) != _family(str(kind)):
            return Skipped(path, f"foreign: column {name} is {found[name]}, expected {str(kind).lower()}")
    return None


def _family(kind: str) -> str:
    """Integers of any width are one family, floats another, text a third."""
    word = re.sub(r"\d+$", "", kind.lower())
    return _FAMILIES.get(word, "text" if "str" in word else word)


def _decodable(store: Store, parts: list[_Part]) -> tuple[list[_Part], list[Skipped]]:
    """Decode everything once; only if that fails, part by part to find the damaged ones."""
    if all(_damage(store, group) is None for group in _alike(parts)):
        return parts, []
    faults = [(part, _damage(store, [part])) for part in parts]
    skipped = [Skipped(part.path, f"damaged pages ({fault})") for part, fault in faults if fault]
    return [part for part, fault in faults if not fault], skipped


def _damage(store: Store, parts: list[_Part]) -> str | None:
    try:
        _read(store, parts).select(pl.all().max()).collect(engine="streaming")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        return _first_line(error)
    return None


def _alike(parts: list[_Part]) -> list[list[_Part]]:
    """Parts grouped by their columns: each group can be scanned at once."""
    groups: dict[tuple[tuple[str, str], ...], list[_Part]] = {}
    for part in parts:
        groups.setdefault(part.columns, []).append(part)
    return list(groups.values())


def _frame(store: Store, parts: list[_Part], schema: pl.Schema) -> pl.LazyFrame:
    full = pl.Schema([("run_id", pl.String), *schema.items()])
    frames = [_conform(_read(store, group), group[0], full) for group in _alike(parts)]
    return pl.concat([pl.LazyFrame(schema=full), *frames])


def _read(store: Store, parts: list[_Part]) -> pl.LazyFrame:
    if store.local:
        hive = {"run_id": pl.String}
        paths = [store.path(part.path) for part in parts]
        return pl.scan_parquet(paths, hive_partitioning=True, hive_schema=hive, glob=False)
    return pl.concat([_fetch(store, part) for part in parts])


def _fetch(store: Store, part: _Part) -> pl.LazyFrame:
    frame = pl.read_parquet(store.read(part.path))
    return frame.lazy().with_columns(run_id=pl.lit(part.run_id))


def _conform(frame: pl.LazyFrame, part: _Part, schema: pl.Schema) -> pl.LazyFrame:
    """Select the table's columns in order, with their types; null where the part has none."""
    known = {"run_id", *(name for name, _ in part.columns)}
    columns = [pl.col(name) if name in known else pl.lit(None).alias(name) for name in schema]
    return frame.select(column.cast(kind) for column, kind in zip(columns, schema.values(), strict=True))


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:120]
