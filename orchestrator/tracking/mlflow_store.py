"""One experiment of one MLflow: which runs it shows, and their contents written whole.

An SQL database of this process is read and written by its tables (`mlflow_tables.py`), a server by the public API.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from grokstudy.orchestrator.tracking.mlflow_tables import (
    CONTEXT,
    DATASET,
    KEY,
    REACHED,
    RUNNING,
    STAMP,
    Contents,
    Dataset,
    MetricPoint,
    Shown,
    file_of,
    is_database,
    move_in,
    replace_in,
    shown_in,
)


class Tracker:
    """One experiment of one MLflow, which is imported, and asked to set up, only when that is needed."""

    def __init__(self, uri: str, experiment: str, artifacts: str | None) -> None:
        """Name it; `artifacts` None leaves their place to a server."""
        self.uri, self._name, self._artifacts = uri, experiment, artifacts
        self.restored = False
        """Whether the experiment had been deleted."""

    @cached_property
    def _client(self) -> Any:
        _check_writable(self.uri)
        # Its own 7 take minutes to say that nobody answers.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        from mlflow import MlflowClient

        for name in ("alembic", "mlflow"):  # importing MLflow sets its own level
            logging.getLogger(name).setLevel(logging.WARNING)
        return MlflowClient(tracking_uri=self.uri)

    @cached_property
    def experiment(self) -> str:
        """Its id. It is created if there is none, and taken out of the bin."""
        experiment = self._client.get_experiment_by_name(self._name)
        if experiment is None:
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return str(self._client.create_experiment(self._name, artifact_location=self._artifacts, tags=kind))
        if experiment.lifecycle_stage != "active":
            self._client.restore_experiment(experiment.experiment_id)
            self.restored = True
        mlflow_id, place = str(experiment.experiment_id), experiment.artifact_location
        if self._beside is not None and place != self._beside:
            move_in(self._client._tracking_client.store, mlflow_id, place, self._beside)
        return mlflow_id

    @property
    def _beside(self) -> str | None:
        """Where artifacts lie when it is beside the data base: both move with the root. None where they do not."""
        path = file_of(self.uri)
        if path is None or self._artifacts is None:
            return None
        return self._artifacts if self._artifacts.rpartition("/")[0] == path.absolute().parent.as_uri() else None

    def known(self, study: str) -> dict[str, Shown]:
        """The runs of a study by key. A second run of one key, left by two syncs at a time, is removed."""
        rows = shown_in(self.uri, self._name, self._beside) if is_database(self.uri) else None
        runs: dict[str, Shown] = {}
        for run in self._shown() if rows is None else rows:
            if run.key.split("/")[0] == study:
                if run.key in runs:
                    self.remove(run.mlflow_id)
                runs.setdefault(run.key, run)
        return runs

    def _shown(self) -> Iterator[Shown]:
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment], order_by=["attributes.start_time ASC"], max_results=1000, page_token=token
            )
            for run in page:
                tags = run.data.tags
                yield Shown(run.info.run_id, tags.get(KEY, ""), tags.get(STAMP), run.info.status, self.experiment)
            token = page.token
            if not token:
                return

    def remove(self, mlflow_id: str) -> None:
        """Put a run into MLflow's bin (`mlflow gc` empties it)."""
        self._client.delete_run(mlflow_id)

    def replace(self, runs: Sequence[Contents], known: Mapping[str, Shown]) -> None:
        """Write whole runs in place of those of the same key. One under way grows, on the page that a person has open.

        In a data base it keeps its id until it has ended, on a server as long as it is under way.
        """
        experiment = self.experiment
        old_runs = {run.key: known[run.key] for run in runs if run.key in known}
        if is_database(self.uri):
            same = {key: old.mlflow_id for key, old in old_runs.items() if old.status == RUNNING}
            replaced = [old.mlflow_id for key, old in old_runs.items() if key not in same]
            replace_in(self._client._tracking_client.store, experiment, runs, replaced, same)
            return
        for run in runs:
            old = old_runs.get(run.key)
            if old is not None and old.stamp is not None and old.status == run.status == RUNNING:
                self._grow(old.mlflow_id, run)
                continue
            if old is not None:
                self.remove(old.mlflow_id)
            self._write(run)

    def _write(self, run: Contents) -> None:
        parent = {key: value for key, value in run.tags.items() if key == "mlflow.parentRunId"}
        mlflow_id = self.create(run.key, run.name, run.started, run.ended, run.status, parent)
        self._log(mlflow_id, run.points, run.started)
        if run.dataset is not None:
            self._name_data(mlflow_id, run.dataset)
        self.describe(mlflow_id, run.params, run.tags)

    def _grow(self, mlflow_id: str, run: Contents) -> None:
        """Write the points after those that a run has, and the events that came since."""
        data = self._client.get_run(mlflow_id).data
        reached = int(data.tags[REACHED])
        new = [point for point in run.points if point.step > reached or point.metric not in data.metrics]
        self._log(mlflow_id, new, run.started)
        self.describe(mlflow_id, {}, run.tags)

    def _log(self, mlflow_id: str, points: Sequence[MetricPoint], started: int) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(p.metric, p.value, started + p.step, p.step) for p in points]
        self._client.log_batch(mlflow_id, metrics=metrics)

    def _name_data(self, mlflow_id: str, dataset: Dataset) -> None:
        from mlflow.entities import Dataset as Named
        from mlflow.entities import DatasetInput, InputTag

        named = Named(**dataset._asdict(), **DATASET)
        self._client.log_inputs(mlflow_id, [DatasetInput(named, [InputTag(*CONTEXT)])])

    def create(self, key: str, name: str, started: int, ended: int | None, status: str, tags: Mapping[str, str]) -> str:
        """Create a run that has already ended, but for one under way, which the next sync ends if nobody else does."""
        run = self._client.create_run(self.experiment, start_time=started, run_name=name, tags={KEY: key, **tags})
        self.end(run.info.run_id, status, ended)
        return str(run.info.run_id)

    def end(self, mlflow_id: str, status: str, ended: int | None) -> None:
        """Set how and when a run ended, or that it is under way."""
        if status == RUNNING:
            self._client.update_run(mlflow_id, status)
        else:
            self._client.set_terminated(mlflow_id, status, ended)

    def describe(self, mlflow_id: str, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Write parameters and tags, which come last: the stamp is one of them."""
        from mlflow.entities import Param, RunTag

        named = [Param(key, value) for key, value in params.items()]
        for begin in range(100, len(named), 100):
            self._client.log_batch(mlflow_id, params=named[begin : begin + 100])
        shown = [RunTag(key, value) for key, value in tags.items()]
        self._client.log_batch(mlflow_id, params=named[:100], tags=shown)

    def artifacts(self, mlflow_id: str, folder: Path, name: str) -> None:
        """Upload a folder; files of the same name are replaced."""
        self._client.log_artifacts(mlflow_id, str(folder), name)


def _check_writable(uri: str) -> None:
    """Raise ValueError where MLflow would try for minutes to open a data base that this process may not write."""
    path = file_of(uri)
    if path is not None and not all(os.access(place, os.W_OK) for place in (path.parent, path) if place.exists()):
        raise ValueError(
            f"{path}: MLflow's data base cannot be written there (read-only, or another's); set MLFLOW_TRACKING_URI to "
            "one elsewhere, or name another --root"
        )
