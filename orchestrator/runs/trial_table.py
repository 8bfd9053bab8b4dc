"""Reads `studies/<name>/trials.parquet` (writer: `trials.py`), which may come from a stranger."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from grokstudy.trainables.schema import TRIAL_COLUMNS
from grokstudy.trainables.storage.records import arrow_schema
from grokstudy.trainables.storage.store import DamagedError, Store

FIXED = arrow_schema(TRIAL_COLUMNS)


def read_trials(store: Store, study: str, *columns: str) -> pa.Table:
    """The table, in which these columns must be. Raises DamagedError for a torn or foreign one."""
    name = f"studies/{study}/trials.parquet"
    content = store.read(name)
    try:
        found = pq.ParquetFile(io.BytesIO(content)).read(use_threads=False)
        for column in {*columns} | {*FIXED.names} & {*found.column_names}:
            place = found.schema.get_field_index(column)
            found = found.set_column(place, column, found[column].cast(FIXED.field(column).type))
        found.validate(full=True)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        detail = (str(error).strip() or type(error).__name__).splitlines()[0][:80]
        again = "delete it; grokstudy run with the study's file writes it again"
        raise DamagedError(f"{store.path(name)}: cannot be read ({detail}); {again}") from None
    return found
