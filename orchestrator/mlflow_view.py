"""MLflow as a view of the root: a parent run per study, a child per run. Written here only; can be rebuilt at will.

Runs are found again by a tag, timestamps are derived from the stored rows (start of the run plus one millisecond per
step), and a child whose tag says that it is up to date is left alone: syncing twice changes nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.ledger import Ledger
from orchestrator.space import Run
from orchestrator.study import Study
from trainables import records
from trainables.rundir import RunDir
from trainables.store import Store

EXPERIMENT = "grokstudy"
KEY = "grokstudy.key"
SYNCED = "grokstudy.synced"
POINTS = 400
"""Most points of one curve."""
STATUS = {"done": "FINISHED", "diverged": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}
"""Everything else is KILLED: no process of ours is left that could still be running it."""

Events = Mapping[str, Mapping[str, float | None]]
"""run_id -> event -> step at which it came, None when censored."""


@dataclass(frozen=True)
class Point:
    """One value of one metric."""

    name: str
    step: int
    value: float


def default_uri(store: Store) -> str:
    """The embedded store under a local root; `MLFLOW_TRACKING_URI` where it is set."""
    configured = os.environ.get("MLFLOW_TRACKING_URI")
    if configured:
        return configured
    if not store.local:
        raise ValueError(f"{store.uri}: set MLFLOW_TRACKING_URI, the embedded MLflow store needs a local root")
    return f"sqlite:///{store.path('mlflow.db')}"


def sync(store: Store, study: Study, ledger: Ledger, events: Events, report: str | None = None) -> str:
    """Bring MLflow up to date with the root; returns the tracking URI."""
    uri = default_uri(store)
    client = _client(uri)
    experiment = _experiment(client, store)
    known = _known(client, experiment)
    parent = known.get(study.name) or _create(client, experiment, study.name, study.name, {})
    client.set_tag(parent.info.run_id, "mlflow.note.content", study.hypothesis)
    client.set_tag(parent.info.run_id, "spec_hash", study.spec_hash)
    for run in ledger.runs.values():
        _sync_child(client, experiment, known, parent.info.run_id, study, run, store, ledger, events)
    if report is not None:
        client.log_artifact(parent.info.run_id, report)
    unfinished = any(state.state in ("missing", "interrupted") for state in ledger.states.values())
    client.set_terminated(parent.info.run_id, "KILLED" if unfinished else "FINISHED")
    return uri


def _client(uri: str) -> Any:
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _experiment(client: Any, store: Store) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    location = f"file://{store.path('mlflow-artifacts')}" if store.local else f"{store.uri}/mlflow-artifacts"
    kind = {"mlflow.experimentKind": "custom_model_development"}
    return str(client.create_experiment(EXPERIMENT, artifact_location=location, tags=kind))


def _known(client: Any, experiment: str) -> dict[str, Any]:
    """All runs of the experiment that carry our key."""
    found: dict[str, Any] = {}
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        found.update({run.data.tags[KEY]: run for run in page if KEY in run.data.tags})
        token = page.token
        if not token:
            return found


def _create(client: Any, experiment: str, key: str, name: str, tags: dict[str, str]) -> Any:
    return client.create_run(experiment, run_name=name, tags={KEY: key, **tags})


def _sync_child(
    client: Any,
    experiment: str,
    known: Mapping[str, Any],
    parent: str,
    study: Study,
    run: Run,
    store: Store,
    ledger: Ledger,
    events: Events,
) -> None:
    state = ledger.states[run.run_id]
    if state.state == "missing":
        return
    reached = events.get(run.run_id, {})
    stamp = f"{state.state}:{state.step}:{sorted(reached.items())}"
    key = f"{study.name}/{run.run_id}"
    child = known.get(key)
    if child is not None and child.data.tags.get(SYNCED) == stamp:
        return
    if child is None:
        child = _create(client, experiment, key, _label(run), {"mlflow.parentRunId": parent})
    _write_child(client, child.info.run_id, run, RunDir(store, run.run_id), state.state, reached)
    client.set_tag(child.info.run_id, SYNCED, stamp)
    client.set_terminated(child.info.run_id, STATUS.get(state.state, "KILLED"))


def _label(run: Run) -> str:
    trial = run.trials[0]
    values = [str(value) for value in trial.point.values()]
    return " ".join([*values, f"seed {trial.seed}"])


def _write_child(
    client: Any, mlflow_id: str, run: Run, folder: RunDir, state: str, reached: Mapping[str, float | None]
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    about = folder.read("run.json") or {}
    started = int(float(about.get("started", 0.0)) * 1000)
    axes = {key: value for trial in run.trials[:1] for key, value in trial.point.items()}
    params = {**_flat(run.config.to_dict()), **{key: value for key, value in axes.items() if "." not in key}}
    client.log_batch(mlflow_id, params=[Param(key, str(value)) for key, value in params.items()])
    tags = {
        "run_id": run.run_id,
        "state": state,
        "data_hash": about.get("data_hash"),
        "commit": about.get("commit"),
        "trials": " ".join(trial.trial_id for trial in run.trials),
        **{f"event.{name}": "censored" if step is None else f"{step:.0f}" for name, step in reached.items()},
    }
    client.log_batch(mlflow_id, tags=[RunTag(key, str(value)) for key, value in tags.items() if value is not None])
    points = [*_points(folder), *(Point(f"t/{name}", 0, step) for name, step in reached.items() if step is not None)]
    client.log_batch(mlflow_id, metrics=[Metric(p.name, p.value, started + p.step, p.step) for p in points])


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options under dotted names; training length and cadence included."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _points(folder: RunDir) -> Iterator[Point]:
    """Decimated curves: accuracy per split, summaries of the probes on the OO test, and the training scalars."""
    evals = records.read(folder, "evals")
    for split in dict.fromkeys(evals["split"].to_pylist()):
        rows = evals.filter(np.asarray(evals["split"].to_pylist()) == split)
        yield from _curve(f"accuracy/{split}", rows["step"], rows["accuracy"])
    probes = records.read(folder, "probes").to_pylist()
    on_test = [row for row in probes if row["layer"] is None and row["split"] == "test_oo"]
    summaries = [row for row in on_test if row["value"] is not None]
    for name in dict.fromkeys(row["probe"] for row in summaries):
        rows = [row for row in summaries if row["probe"] == name]
        yield from _curve(f"probe/{name}", [row["step"] for row in rows], [row["value"] for row in rows])
    steps = records.read(folder, "steps")
    for name in ("loss", "grad_norm", "weight_norm"):
        yield from _curve(f"train/{name}", steps["step"], steps[name])


def _curve(name: str, steps: Any, values: Any) -> Iterator[Point]:
    """At most POINTS points: the first and last, and log-spaced ones between."""
    step, value = np.asarray(steps), np.asarray(values, dtype=np.float64)
    if not len(step):
        return
    chosen = np.arange(len(step))
    if len(step) > POINTS:
        chosen = np.unique(np.geomspace(1, len(step), POINTS).round().astype(np.int64) - 1)
    for index in chosen:
        yield Point(name, int(step[index]), float(value[index]))
