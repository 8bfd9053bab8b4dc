"""MLflow as a view of the root: a parent run per study, a child per run. Can be thrown away and rebuilt at will.

Everything written is a function of the stored rows and markers: the key, the times (start of the run plus a
millisecond per step), the points. A child whose stamp says that it shows what the root has is left alone; any other is
replaced whole, never patched. So syncing twice, after a resume, or anew doubles nothing. While somebody drives the
study, what is under way is shown as running, and grows; a sync when nobody does leaves no run as running.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from grokstudy.orchestrator.runs.status import RunRecord, run_records
from grokstudy.orchestrator.tracking.mlflow_store import Tracker
from grokstudy.orchestrator.tracking.mlflow_tables import REACHED, RUNNING, STAMP, Contents, Dataset, MetricPoint, Shown
from grokstudy.trainables.config import canonical_json
from grokstudy.trainables.options import flat
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import StudyDir

EXPERIMENT = "grokstudy"
AT_ONCE = 25
"""Runs that are written in one transaction: MLflow's table lies in the order of its curves, not of its runs."""
STEPS_AT_ONCE = 1_000_000
"""Fewer where they are this long together: their rows are in memory."""
FORM = 4
"""Counts up when this file shows something else of the same rows."""
STATUS = {"done": "FINISHED", "diverged": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}
"""Everything else is KILLED: MLflow must not show a run as running that nobody may ever end.

While somebody drives the study it is RUNNING: whoever drives ends with a sync.
"""
REPORT_FILES = (".html", ".png", ".json", ".csv")

Events = Mapping[str, Mapping[str, float | None]]
"""run_id -> event -> step at which it came, None when censored."""
Judged = Mapping[str, tuple[str | None, float | None]]
"""run_id -> class and lead in decades, None where there is none."""
Curves = Callable[[Sequence[RunRecord]], Iterable[tuple[str, str, int, float]]]
"""The points that runs are shown with: run_id, metric, step, value."""


@dataclass(frozen=True)
class Synced:
    """What a sync did."""

    uri: str
    written: int
    kept: int
    removed: int
    restored: bool = False
    """Whether the experiment had been deleted in MLflow, and was brought back."""
    experiment: str | None = None
    """MLflow's id of it; None where nothing is shown yet."""

    @property
    def page(self) -> str:
        """The runs in MLflow, below its address; not asked for, MLflow 3.17 opens as it does for traces of agents."""
        return f"#/experiments/{self.experiment}/runs?workflowType=machine_learning"


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


def sync(
    store: Store, study: str, events: Events, judged: Judged, curves: Curves, rebuild: bool = False,
    driven: bool = False,
) -> Synced:  # fmt: skip
    """Bring MLflow up to date with the root; `rebuild` removes the study there first.

    With `driven`, somebody drives the study now: runs under way are shown as running, and grow from sync to sync.
    """
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
        return Synced(uri, 0, 0, len(gone), tracker.restored)
    parent = Parent.of(store, study, spec, runs, driven)
    parent_id = known[study].mlflow_id if study in known else parent.create(tracker)
    children = [
        Child(study, parent_id, run, events.get(run.run_id, {}), *judged.get(run.run_id, (None, None)), driven)
        for run in shown
    ]
    todo = [child for child in children if child.key not in known or known[child.key].stamp != child.stamp]
    for batch in _batches(todo):
        _write(tracker, known, batch, curves)
    if study not in known or known[study].stamp != parent.stamp:
        parent.describe(tracker, parent_id)
    experiment = known[study].experiment if study in known else tracker.experiment
    return Synced(uri, len(todo), len(shown) - len(todo), len(gone), tracker.restored, experiment)


def _artifacts(store: Store, uri: str) -> str | None:
    """Where artifacts lie when no server says so: in the root, beside what they show."""
    if uri.startswith("http"):
        return None
    return Path(store.path("mlflow-artifacts")).as_uri() if store.local else f"{store.uri}/mlflow-artifacts"


def _remove(tracker: Tracker, runs: Iterable[Shown]) -> None:
    for run in runs:
        tracker.remove(run.mlflow_id)


def _stamp(*about: Any) -> str:
    """A hash of all that a run is made from."""
    return hashlib.sha256(canonical_json([FORM, *about]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Parent:
    """The run of a study as it is to be shown: from the start of its first run to the end of its last."""

    study: str
    started: int
    ended: int
    status: str
    tags: Mapping[str, str]
    report: Mapping[str, bytes]
    """The files of the study's report, if it has been drawn, by name."""

    @classmethod
    def of(cls, store: Store, study: str, spec: Mapping[str, Any], runs: Sequence[RunRecord], driven: bool) -> Parent:
        """Of a study and all of its runs, of which at least one has begun."""
        shown = [run for run in runs if run.began_at is not None]
        states = Counter(f"runs.{run.state.state}" for run in runs)
        about = {"mlflow.note.content": spec.get("hypothesis", ""), "spec_hash": spec.get("spec_hash")}
        tags = _texts({**about, "runs": len(runs), **states, "commit": spec.get("commit")})
        status = "FINISHED" if all(run.ended for run in runs) else RUNNING if driven else "KILLED"
        files = [path for path in store.list(StudyDir(store, study).report) if path.endswith(REPORT_FILES)]
        report = {path.split("/")[-1]: store.read(path) for path in files}
        return cls(study, min(map(_start, shown)), max(map(_end, shown)), status, tags, report)

    @property
    def stamp(self) -> str:
        """A hash of all that it is made from."""
        files = {name: hashlib.sha256(content).hexdigest() for name, content in self.report.items()}
        return _stamp(self.started, self.ended, self.status, dict(self.tags), files)

    def create(self, tracker: Tracker) -> str:
        """Create its run in MLflow, without contents."""
        return tracker.create(self.study, self.study, self.started, self.ended, self.status, {})

    def describe(self, tracker: Tracker, mlflow_id: str) -> None:
        """Write all that can change of it, the stamp last."""
        tracker.end(mlflow_id, self.status, self.ended)
        if self.report:
            with tempfile.TemporaryDirectory(prefix="grokstudy-report-") as scratch:
                for name, content in self.report.items():
                    (Path(scratch) / name).write_bytes(content)
                tracker.artifacts(mlflow_id, Path(scratch), "report")
        tracker.describe(mlflow_id, {}, {**self.tags, STAMP: self.stamp})


@dataclass(frozen=True)
class Child:
    """One run as it is to be shown."""

    study: str
    parent: str
    run: RunRecord
    events: Mapping[str, float | None]
    kind: str | None
    """Its class."""
    lead: float | None
    """In decades."""
    driven: bool

    @property
    def key(self) -> str:
        """What it is found again by."""
        return f"{self.study}/{self.run.run_id}"

    @property
    def status(self) -> str:
        """How MLflow shows it."""
        return RUNNING if self.driven and self.run.state.open else STATUS.get(self.run.state.state, "KILLED")

    @property
    def stamp(self) -> str:
        """A hash of all that it is made from."""
        run = self.run
        reached = [run.state.state, run.state.step, run.horizon, run.attempts, run.began_at, run.ended_at]
        judged = [sorted(self.events.items()), self.kind, self.lead]
        return _stamp(self.parent, self.status, *reached, run.name, list(run.trials), *judged)

    def contents(self, curves: Iterable[MetricPoint]) -> Contents:
        """All of it: its curves, and its events as points at step 0."""
        run, ended = self.run, None if self.status == RUNNING else _end(self.run)
        points = [MetricPoint(f"t/{name}", 0, step) for name, step in self.events.items() if step is not None]
        points += [] if self.lead is None else [MetricPoint("lead", 0, self.lead)]
        points += [point for point in curves if ended is not None or point.step <= run.state.step]
        about = (self.key, run.name, self.status, _start(run), ended)
        task, digest = run.about.get("config", {}).get("task"), run.about.get("data_hash")
        dataset = (
            Dataset(f"{task} seed {run.parts[0] if run.parts else run.seed}", str(digest)[:36])
            if task and digest
            else None
        )
        return Contents(*about, _params(run), self._tags(), points, dataset)

    def _tags(self) -> dict[str, str]:
        reached = {REACHED: str(self.run.state.step)} if self.status == RUNNING else {}
        source = {"mlflow.source.name": f"grokstudy run {self.study}", "mlflow.source.type": "LOCAL"}
        about = {"mlflow.source.git.commit": self.run.about.get("commit"), "class": self.kind}
        own = {**_tags(self.run, self.events), **_texts({**source, **about}), **reached}
        return {**own, "mlflow.parentRunId": self.parent, STAMP: self.stamp}


def _batches(children: Sequence[Child]) -> Iterator[list[Child]]:
    """What is read and written at once."""
    batch: list[Child] = []
    for child in children:
        if batch and (len(batch) == AT_ONCE or sum(c.run.horizon for c in (*batch, child)) > STEPS_AT_ONCE):
            yield batch
            batch = []
        batch.append(child)
    if batch:
        yield batch


def _write(tracker: Tracker, known: Mapping[str, Shown], children: Sequence[Child], curves: Curves) -> None:
    """Write some runs. One that is left half written has no stamp, and is written anew by the next sync."""
    points: dict[str, list[MetricPoint]] = {}
    for run_id, metric, step, value in curves([child.run for child in children]):
        points.setdefault(run_id, []).append(MetricPoint(metric, step, value))
    contents = [child.contents(points.get(child.run.run_id, [])) for child in children]
    tracker.replace(contents, known)


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
    seed = None if run.imported else run.seed
    state = {"run_id": run.run_id, "state": run.state.state, "attempts": run.attempts, "error": run.state.error}
    return _texts({**state, "seed": seed, **about, "imported": run.imported, "trials": " ".join(run.trials), **reached})


def _texts(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags that have a value, within the length that MLflow takes."""
    return {key: str(value)[:5000] for key, value in tags.items() if value is not None}
