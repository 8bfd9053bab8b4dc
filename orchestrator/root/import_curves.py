"""Curves from elsewhere as a study of the root, so that report, query and comparison treat them like our own.

`curve_file.py` reads and checks the file. Each trial becomes a run without a configuration: its curves lie in the
metric tables like any other's. One trial column is the study's axis `curve`, several are the axes `curve.<column>`.
`accuracy`, `loss` and `margin` go to `evals`, every other metric to `probes` as a summary row. What a publication does
not say (number of examples, layer) is null.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from grokstudy.orchestrator.root.curve_file import CurvePoint, External, by_trial
from grokstudy.orchestrator.runs.study_dir import write_external
from grokstudy.trainables.events import Event
from grokstudy.trainables.schema import METRICS
from grokstudy.trainables.storage.records import SCHEMAS, encode
from grokstudy.trainables.storage.run_dir import IMPORTED, RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import NAME, StudyDir


def import_external(store: Store, name: str, source: External, events: Mapping[str, Event]) -> int:
    """Write the curves as study `name`; returns the number of runs. Importing again replaces.

    Raises ValueError, before anything is written, for a file that is not right, an event of what it does not hold, or
    a study that was trained.
    """
    _check_name(store, name)
    points = source.read()
    _check_events(source, events)
    content = hashlib.sha256(source.content).hexdigest()[:16]
    axes = ["curve"] if len(source.trial_columns) == 1 else [f"curve.{column}" for column in source.trial_columns]
    rows = []
    for trial, own in by_trial(points):
        run = RunDir(store, _run_id(content, source, trial))
        for table, part in _parts(own, source):
            store.write(run.part(table, 0), encode(part))
        about = {"external": source.path.name, "sha256": content, "label": ", ".join(trial)}
        since = (run.read("run.json") or {}).get("imported", time.time())
        run.write("run.json", {"run_id": run.run_id, **about, "imported": since})
        run.write("DONE.json", {"step": own[-1].step, "reason": "finished"})
        rows.append({**dict(zip(axes, trial, strict=True)), "run_id": run.run_id, "horizon": own[-1].step})
    write_external(store, name, rows, events, f"imported from {source.path.name} (sha256 {content})")
    return len(rows)


def _check_name(store: Store, name: str) -> None:
    """The name is one, and no study was trained under it."""
    if not NAME.fullmatch(name):
        raise ValueError(f"--name {name!r} is no name of a study: lower-case letters, digits, _ and . are")
    folder = StudyDir(store, name)
    spec = folder.find_spec()
    if store.exists(folder.text) or (spec is not None and spec.get("spec_hash") != ""):
        raise ValueError(f"{store.uri}: there is a study {name!r} that was trained; import under another --name")


def _check_events(source: External, events: Mapping[str, Event]) -> None:
    """Each event is one of something that the file holds."""
    known = [f"{curve.metric}/{curve.split}" for curve in source.curves]
    for name, event in events.items():
        for wanted in (f"{event.metric}/{split}" for split in event.split):
            if wanted not in known:
                remedy = f"name one of them, or add --mapping COLUMN={wanted}"
                raise ValueError(f"--event {name}: no column is {wanted}; there are {', '.join(known)}; {remedy}")


def _run_id(content: str, source: External, trial: Sequence[str]) -> str:
    """The same for the same trial of the same file, read in the same way; else another, so that no rows are mixed."""
    columns = [[curve.column, curve.metric, curve.split] for curve in source.curves]
    identity = [content, source.trial, source.step, source.n, source.where, columns, list(trial)]
    return IMPORTED + hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]


def _parts(own: Sequence[CurvePoint], source: External) -> Iterator[tuple[str, pa.Table]]:
    """The rows of one trial by table, in the order of their steps."""
    evals = [row for point in own for row in _eval_rows(point, source)]
    probes = [row for point in own for row in _probe_rows(point, source)]
    for table, rows in {"evals": evals, "probes": probes}.items():
        if rows:
            schema = SCHEMAS[table]
            yield table, pa.table({name: [row.get(name) for row in rows] for name in schema.names}, schema=schema)


def _eval_rows(point: CurvePoint, source: External) -> Iterator[dict[str, Any]]:
    """One row per split with its metrics; missing values leave none."""
    for split in dict.fromkeys(curve.split for curve in source.curves):
        curves = [curve for curve in source.curves if curve.split == split and curve.metric in METRICS]
        values = {curve.metric: point.values[curve.column] for curve in curves}
        if any(value is not None for value in values.values()):
            yield {"step": point.step, "attempt": 0, "split": split, "n": point.n, **values}


def _probe_rows(point: CurvePoint, source: External) -> Iterator[dict[str, Any]]:
    """One row per value; a missing value leaves none."""
    for curve in source.curves:
        value = point.values[curve.column]
        if curve.metric not in METRICS and value is not None:
            about = {"step": point.step, "attempt": 0, "probe": curve.metric, "split": curve.split}
            yield {**about, "value": value, "n": point.n}
