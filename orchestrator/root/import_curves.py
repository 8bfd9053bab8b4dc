"""Curves from elsewhere as a study of the root, so that report, query and comparison treat them like our own.

Each distinct value of the trial column becomes a run without a configuration: its curves lie in the metric tables like
any other's. `accuracy`, `loss` and `margin` go to `evals`, every other metric to `probes` as a summary row. What a
publication does not say (number of examples, layer) is null.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from grokstudy.orchestrator.runs.study_dir import write_external
from grokstudy.trainables.events import Event
from grokstudy.trainables.schema import METRICS, SPLITS
from grokstudy.trainables.storage.records import SCHEMAS, encode
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store

_MAPPING = re.compile(r"(?P<column>[^=]+)=(?P<metric>[\w.]+)/(?P<split>\w+)")


@dataclass(frozen=True)
class Curve:
    """A column of the file, and what it is: metric and split."""

    column: str
    metric: str
    split: str

    @classmethod
    def parse(cls, text: str) -> Curve:
        """Read `column=metric/split`. Raises ValueError saying what is allowed."""
        match = _MAPPING.fullmatch(text)
        if match is None:
            raise ValueError(f"--mapping {text!r} is not COLUMN=METRIC/SPLIT, e.g. ood_accuracy=accuracy/test_oo")
        if match["split"] not in SPLITS:
            raise ValueError(f"--mapping {text!r}: split {match['split']!r} is unknown; known: {', '.join(SPLITS)}")
        return cls(match["column"], match["metric"], match["split"])


@dataclass(frozen=True)
class External:
    """A file of curves: one row per trial and step."""

    path: Path
    trial: str
    step: str
    curves: tuple[Curve, ...]

    def read(self) -> pa.Table:
        """Read the mapped columns. Raises ValueError naming a column that is not there or holds no numbers."""
        try:
            table = csv.read_csv(self.path)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{self.path}: {error}") from None
        wanted = [self.trial, self.step, *(curve.column for curve in self.curves)]
        for name in wanted:
            if name not in table.column_names:
                raise ValueError(f"{self.path}: there is no column {name!r}; columns: {', '.join(table.column_names)}")
            kind = table[name].type
            if name != self.trial and not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
                raise ValueError(f"{self.path}: column {name!r} holds {kind}, not numbers")
        return table.select(wanted)


def import_external(store: Store, name: str, source: External, events: Mapping[str, Event]) -> int:
    """Write the curves as study `name`; returns the number of runs. Importing again replaces."""
    table = source.read()
    content = hashlib.sha256(source.path.read_bytes()).hexdigest()[:16]
    rows = []
    for label in pc.unique(table[source.trial]).to_pylist():
        own_rows = table.filter(pc.equal(table[source.trial], pa.scalar(label))).sort_by(source.step)
        run = RunDir(store, "ext-" + hashlib.sha256(f"{content}/{label}".encode()).hexdigest()[:12])
        last = int(pc.max(own_rows[source.step]).as_py())
        for kind, part in _parts(own_rows, source):
            store.write(run.part(kind, 0), encode(part))
        about = {"external": source.path.name, "sha256": content, "label": str(label)}
        since = (run.read("run.json") or {}).get("imported", time.time())
        run.write("run.json", {"run_id": run.run_id, **about, "imported": since})
        run.write("DONE.json", {"step": last, "reason": "finished"})
        rows.append({"curve": str(label), "run_id": run.run_id, "horizon": last})
    write_external(store, name, rows, events, f"imported from {source.path.name} (sha256 {content})")
    return len(rows)


def _parts(own_rows: pa.Table, source: External) -> Iterator[tuple[str, pa.Table]]:
    for kind in ("evals", "probes"):
        curves = [curve for curve in source.curves if (curve.metric in METRICS) == (kind == "evals")]
        pieces = [_rows(kind, own_rows, source.step, curve) for curve in curves]
        if pieces:
            yield kind, pa.concat_tables(pieces).sort_by("step")


def _rows(kind: str, own_rows: pa.Table, step: str, curve: Curve) -> pa.Table:
    """Rows of one curve; a missing value leaves no row."""
    own_rows = own_rows.filter(pc.is_valid(own_rows[curve.column]))
    n = len(own_rows)
    value = pc.cast(own_rows[curve.column], pa.float32())
    known: dict[str, Any] = {"step": pc.cast(own_rows[step], pa.int64()), "split": pa.array([curve.split] * n)}
    known |= {curve.metric: value} if kind == "evals" else {"probe": pa.array([curve.metric] * n), "value": value}
    known["attempt"] = pa.array([0] * n, pa.int16())
    schema = SCHEMAS[kind]
    columns = [known.get(field.name, pa.nulls(n, field.type)) for field in schema]
    return pa.table([pc.cast(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)
