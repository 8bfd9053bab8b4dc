"""The only file that talks to MLflow: runs found by our tag, and their contents written whole.

A store that is an SQL database of this process (`sqlite:///...`, `postgresql+psycopg2://...`) gets the points of a
run in one transaction with plain inserts: MLflow's own batches go through its object mapper, ten times slower. A
server gets the public API.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

KEY = "grokstudy.key"
"""Tag by which a run is found again: `study`, or `study/run_id`."""
STAMP = "grokstudy.stamp"
"""Tag that is written last: what the run's contents were made from."""
LARGEST = 1.7976931348623157e308
"""How MLflow stores infinity."""


class Point(NamedTuple):
    """One value of one metric."""

    metric: str
    step: int
    value: float


class Tracker:
    """One experiment of one MLflow."""

    def __init__(self, uri: str, experiment: str, artifacts: str | None) -> None:
        """Connect, and create the experiment if there is none; `artifacts` None leaves their place to a server."""
        # Its own 7 take minutes to say that nobody answers.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        from mlflow import MlflowClient

        for name in ("alembic", "mlflow"):  # importing MLflow sets its own level
            logging.getLogger(name).setLevel(logging.WARNING)
        self.uri = uri
        self._client: Any = MlflowClient(tracking_uri=uri)
        self.experiment = self._experiment(experiment, artifacts)

    def _experiment(self, name: str, artifacts: str | None) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return str(self._client.create_experiment(name, artifact_location=artifacts, tags=kind))
        if experiment.lifecycle_stage != "active":
            self._client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def known(self, study: str) -> dict[str, Any]:
        """The runs of a study by key. A second run of one key, left by two syncs at a time, is removed."""
        runs: dict[str, Any] = {}
        for run in self._runs():
            key = run.data.tags.get(KEY, "")
            if key.split("/")[0] == study:
                if key in runs:
                    self.remove(run.info.run_id)
                runs.setdefault(key, run)
        return runs

    def _runs(self) -> Iterator[Any]:
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment], order_by=["attributes.start_time ASC"], max_results=1000, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def remove(self, mlflow_id: str) -> None:
        """Put a run into MLflow's bin (`mlflow gc` empties it)."""
        self._client.delete_run(mlflow_id)

    def create(self, key: str, name: str, started: int, ended: int, status: str, tags: Mapping[str, str]) -> str:
        """Create a run that has already ended: one that nobody finishes writing is not left as running."""
        run = self._client.create_run(self.experiment, start_time=started, run_name=name, tags={KEY: key, **tags})
        self.end(run.info.run_id, status, ended)
        return str(run.info.run_id)

    def end(self, mlflow_id: str, status: str, ended: int) -> None:
        """Set how and when a run ended."""
        self._client.set_terminated(mlflow_id, status, ended)

    def describe(self, mlflow_id: str, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Write parameters and tags."""
        from mlflow.entities import Param, RunTag

        named = [Param(key, value) for key, value in params.items()]
        for begin in range(100, len(named), 100):
            self._client.log_batch(mlflow_id, params=named[begin : begin + 100])
        shown = [RunTag(key, value) for key, value in tags.items()]
        self._client.log_batch(mlflow_id, params=named[:100], tags=shown)

    def points(self, runs: Iterable[tuple[str, Sequence[Point], int]]) -> None:
        """Write the points of new runs: (id, points, start); the time of each is the start plus a ms per step."""
        from mlflow.entities import Metric
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        store = self._client._tracking_client.store
        if isinstance(store, SqlAlchemyStore):
            _insert(store, [_row(run, p, started) for run, points, started in runs for p in dict.fromkeys(points)])
            return
        for mlflow_id, points, started in runs:
            metrics = [Metric(p.metric, p.value, started + p.step, p.step) for p in points]
            self._client.log_batch(mlflow_id, metrics=metrics)

    def artifacts(self, mlflow_id: str, folder: Path, name: str) -> None:
        """Upload a folder; files of the same name are replaced."""
        self._client.log_artifacts(mlflow_id, str(folder), name)


def _insert(store: Any, rows: list[dict[str, Any]]) -> None:
    """The rows that MLflow's `log_batch` would write for runs without any, in one transaction."""
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric
    from sqlalchemy import insert

    latest: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        curve = (row["run_uuid"], row["key"])
        if curve not in latest or row["step"] >= latest[curve]["step"]:
            latest[curve] = row
    if not rows:
        return
    rows.sort(key=lambda row: (row["key"], row["timestamp"]))  # the order of the primary key
    with store.ManagedSessionMaker(read_only=False) as session:
        if session.connection().dialect.name == "sqlite":
            session.connection().exec_driver_sql("PRAGMA cache_size = -262144")  # kB: its indices outgrow the default
        session.connection().execute(insert(SqlMetric.__table__), rows)
        session.connection().execute(insert(SqlLatestMetric.__table__), list(latest.values()))


def _row(mlflow_id: str, point: Point, started: int) -> dict[str, Any]:
    unknown = math.isnan(point.value)
    value = 0.0 if unknown else max(-LARGEST, min(LARGEST, point.value))
    place = {"key": point.metric, "step": point.step, "timestamp": started + point.step}
    return {**place, "value": value, "is_nan": unknown, "run_uuid": mlflow_id}
