"""MLflow as a view of the root: a parent run per study, a child per run. Can be thrown away and rebuilt at will.

Everything written is a function of the stored rows and markers: the key, the times (start of the run plus a
millisecond per step), the points. A child whose stamp says that it shows what the root has is left alone; any other is
replaced whole, never patched. So syncing twice, after a resume, or anew doubles nothing, and no run is left as running.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from grokstudy.orchestrator.runs.status import RunRecord, run_records
from grokstudy.orchestrator.tracking.mlflow_store import STAMP, Point, Tracker
from grokstudy.trainables.config import canonical_json
from grokstudy.trainables.options import flat
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import StudyDir

EXPERIMENT = "grokstudy"
AT_ONCE = 25
"""Runs that are written in one transaction: MLflow's table lies in the order of its curves, not of its runs."""
FORM = 3
"""Counts up when this file shows something else of the same rows."""
STATUS = {"done": "FINISHED", "diverged": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}
"""Everything else is KILLED: MLflow must not show a run as running that nobody may ever end."""
REPORT_FILES = (".html", ".png", ".json", ".csv")

Events = Mapping[str, Mapping[str, float | None]]
"""run_id -> event -> step at which it came, None when censored."""
Curves = Callable[[RunRecord], Iterable[tuple[str, int, float]]]
"""The points that a run is shown with."""


@dataclass(frozen=True)
class Synced:
    """What a sync did."""

    uri: str
    written: int
    kept: int
    removed: int


def tracking_uri(store: Store) -> str:
    """`MLFLOW_TRACKING_URI` where it is set, else the embedded store under a local root."""
    configured = os.environ.get("MLFLOW_TRACKING_URI")
    if configured:
        return configured
    if not store.local:
        raise ValueError(f"{store.uri}: set MLFLOW_TRACKING_URI, the embedded MLflow store needs a local root")
    return _sqlite_uri(store.path("mlflow.db"))


def _sqlite_uri(path: str) -> str:
    """The data base at a path. Where the path has characters that mean something in a URI, all of it is quoted.

    Its slashes, too: SQLAlchemy takes the quotes away, but MLflow makes the folder that the URI names with them.
    """
    if not set(path) & set("?#%"):
        return f"sqlite:///{path}"
    from sqlalchemy import make_url

    uri = f"sqlite:///{quote(path, safe='')}"
    if make_url(uri).database != path:
        raise ValueError(f"{path}: SQLAlchemy from 2.1 on is needed for a path with ?, # or %; or name another --root")
    return uri


def sync(store: Store, study: str, events: Events, curves: Curves, rebuild: bool = False) -> Synced:
    """Bring MLflow up to date with the root; `rebuild` removes the study there first."""
    spec, uri = StudyDir(store, study).read_spec(), tracking_uri(store)
    tracker = Tracker(uri, os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT), _artifacts(store, uri))
    known = tracker.known(study)
    if rebuild:
        _remove(tracker, known.values())
        known = {}
    runs = run_records(store, study)
    shown = [run for run in runs if run.began_at is not None]
    keys = {study, *(f"{study}/{run.run_id}" for run in shown)}
    gone = [run for key, run in known.items() if key not in keys]
    _remove(tracker, gone)
    if not shown:
        return Synced(uri, 0, 0, len(gone))
    parent = _sync_parent(tracker, known.get(study), study, spec, runs)
    children = [Child(f"{study}/{run.run_id}", parent, run, events.get(run.run_id, {})) for run in shown]
    todo = [child for child in children if not child.is_shown(known)]
    for first in range(0, len(todo), AT_ONCE):
        _write(tracker, known, todo[first : first + AT_ONCE], curves)
    _upload_report(tracker, parent, store, study)
    return Synced(uri, len(todo), len(shown) - len(todo), len(gone))


def _artifacts(store: Store, uri: str) -> str | None:
    """Where artifacts lie when no server says so: in the root, beside what they show."""
    if uri.startswith("http"):
        return None
    return Path(store.path("mlflow-artifacts")).as_uri() if store.local else f"{store.uri}/mlflow-artifacts"


def _remove(tracker: Tracker, runs: Iterable[Any]) -> None:
    for run in runs:
        tracker.remove(run.info.run_id)


def _sync_parent(
    tracker: Tracker, known: Any | None, study: str, spec: Mapping[str, Any], runs: list[RunRecord]
) -> str:
    """The run of the study: from the start of its first run to the end of its last."""
    shown = [run for run in runs if run.began_at is not None]
    started, ended = min(_start(run) for run in shown), max(_end(run) for run in shown)
    settled = all(run.ended for run in runs)
    status = "FINISHED" if settled else "KILLED"
    if known is None:
        mlflow_id = tracker.create(study, study, started, ended, status, {})
    else:
        mlflow_id = str(known.info.run_id)
        if (known.info.status, known.info.end_time) != (status, ended):
            tracker.end(mlflow_id, status, ended)
    states = Counter(f"runs.{run.state.state}" for run in runs)
    about = {"mlflow.note.content": spec.get("hypothesis", ""), "spec_hash": spec.get("spec_hash")}
    tags = {**about, "runs": len(runs), **states, "commit": spec.get("commit")}
    tracker.describe(mlflow_id, {}, _texts(tags))
    return mlflow_id


@dataclass(frozen=True)
class Child:
    """One run as it is to be shown."""

    key: str
    parent: str
    run: RunRecord
    events: Mapping[str, float | None]

    @property
    def stamp(self) -> str:
        """A hash of all that it is made from."""
        run = self.run
        about = [
            FORM,
            self.parent,
            run.state.state,
            run.state.step,
            run.horizon,
            run.attempts,
            run.began_at,
            run.ended_at,
        ]
        text = canonical_json([*about, run.name, list(run.trials), sorted(self.events.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def is_shown(self, known: Mapping[str, Any]) -> bool:
        """Whether MLflow has it already."""
        return self.key in known and known[self.key].data.tags.get(STAMP) == self.stamp

    def create(self, tracker: Tracker) -> str:
        """Create its run in MLflow, without contents."""
        status = STATUS.get(self.run.state.state, "KILLED")
        nested = {"mlflow.parentRunId": self.parent}
        return tracker.create(self.key, self.run.name, _start(self.run), _end(self.run), status, nested)

    def points(self, curves: Curves) -> list[Point]:
        """Its curves, and its events as points at step 0."""
        times = [Point(f"t/{name}", 0, step) for name, step in self.events.items() if step is not None]
        return [*(Point(*point) for point in curves(self.run)), *times]


def _write(tracker: Tracker, known: Mapping[str, Any], children: Sequence[Child], curves: Curves) -> None:
    """Write some runs. The stamp comes last: runs without it are written anew by the next sync."""
    points = [child.points(curves) for child in children]
    _remove(tracker, [known[child.key] for child in children if child.key in known])
    ids = [child.create(tracker) for child in children]
    starts = [_start(child.run) for child in children]
    tracker.points(zip(ids, points, starts, strict=True))
    for mlflow_id, child in zip(ids, children, strict=True):
        tracker.describe(mlflow_id, _params(child.run), {**_tags(child.run, child.events), STAMP: child.stamp})


def _start(run: RunRecord) -> int:
    return round(float(run.began_at or 0) * 1000)


def _end(run: RunRecord) -> int:
    """When it ended, and never before its last point."""
    return max(round(float(run.ended_at or 0) * 1000), _start(run) + run.state.step)


def _params(run: RunRecord) -> dict[str, str]:
    """Every option of the run by dotted name, the axes that are arms by theirs."""
    config = {**run.about.get("config", {})}
    config["train"] = {**config.get("train", {}), "steps": run.horizon}
    arms = {key: value for key, value in run.point.items() if "." not in key}
    return {key: str(value) for key, value in {**flat(config), **arms}.items()}


def _tags(run: RunRecord, events: Mapping[str, float | None]) -> dict[str, str]:
    about = {key: run.about.get(key) for key in ("data_hash", "commit", "host")}
    reached = {f"event.{name}": "censored" if step is None else f"{step:.0f}" for name, step in events.items()}
    state = {"run_id": run.run_id, "state": run.state.state, "attempts": run.attempts, "error": run.state.error}
    return _texts({**state, **about, "imported": run.imported, "trials": " ".join(run.trials), **reached})


def _texts(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags that have a value, within the length that MLflow takes."""
    return {key: str(value)[:5000] for key, value in tags.items() if value is not None}


def _upload_report(tracker: Tracker, parent: str, store: Store, study: str) -> None:
    """The report of the study, if it has been drawn, wherever the root is."""
    files = [path for path in store.list(StudyDir(store, study).report) if path.endswith(REPORT_FILES)]
    if not files:
        return
    with tempfile.TemporaryDirectory(prefix="grokstudy-report-") as scratch:
        for path in files:
            (Path(scratch) / path.split("/")[-1]).write_bytes(store.read(path))
        tracker.artifacts(parent, Path(scratch), "report")
