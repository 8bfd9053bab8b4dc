"""The tables of an MLflow that is an SQL database of this process, `sqlite:///...` or `postgresql+psycopg2://...`.

Whole runs are written in one transaction with plain inserts: MLflow's own batches go through its object mapper, ten
times slower, and leave a run half written when they are killed. What is shown is asked for without MLflow, which takes
longer to import than a thousand runs to look up.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

KEY = "grokstudy.key"
"""Tag by which a run is found again: `study`, or `study/run_id`."""
STAMP = "grokstudy.stamp"
"""Tag that is written last: what the run's contents were made from."""
ENGINES = ("sqlite", "postgresql", "mysql", "mssql")
LARGEST = 1.7976931348623157e308
"""How MLflow stores infinity."""
LONGEST_NAME = 250
LONGEST_PARAM = 6000


class Point(NamedTuple):
    """One value of one metric."""

    metric: str
    step: int
    value: float


class Contents(NamedTuple):
    """A run as it is to be shown: one that has ended, so that none is left as running."""

    key: str
    name: str
    status: str
    started: int
    """Milliseconds since 1970, as `ended`; a point's time is this plus a millisecond per step."""
    ended: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    points: Sequence[Point]


class Shown(NamedTuple):
    """A run that MLflow has."""

    mlflow_id: str
    key: str
    stamp: str | None


def is_database(uri: str) -> bool:
    """Whether a tracking URI is an SQL database."""
    return uri.partition(":")[0].partition("+")[0] in ENGINES


def file_of(uri: str) -> Path | None:
    """The file of an sqlite data base; None for any other tracking URI."""
    if not is_database(uri):
        return None
    from sqlalchemy import make_url

    place = make_url(uri)
    return Path(place.database) if place.get_backend_name() == "sqlite" and place.database else None


def shown_in(uri: str, experiment: str) -> list[Shown] | None:
    """The runs of an experiment, the oldest first; None where MLflow itself must be asked, or has to set up first."""
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import SQLAlchemyError

    path = file_of(uri)
    if path is not None and not path.is_file():
        return None  # connecting would make an empty one
    try:
        with create_engine(uri, poolclass=NullPool).connect() as connection:
            return _shown(connection, experiment)
    except SQLAlchemyError:  # no such table, nobody answers: MLflow makes the one and tells the other
        return None


def _shown(connection: Any, experiment: str) -> list[Shown] | None:
    from sqlalchemy import and_, column, select, table

    experiments = table("experiments", *map(column, ("experiment_id", "name", "lifecycle_stage")))
    named = select(experiments.c.experiment_id, experiments.c.lifecycle_stage).where(experiments.c.name == experiment)
    found = connection.execute(named).all()
    if [stage for _, stage in found] != ["active"]:
        return None
    runs = table("runs", *map(column, ("run_uuid", "experiment_id", "lifecycle_stage", "start_time")))
    tags = table("tags", *map(column, ("run_uuid", "key", "value")))
    key, stamp = tags.alias("grokstudy_key"), tags.alias("grokstudy_stamp")
    asked = (
        select(runs.c.run_uuid, key.c.value, stamp.c.value)
        .join(key, and_(key.c.run_uuid == runs.c.run_uuid, key.c.key == KEY))
        .outerjoin(stamp, and_(stamp.c.run_uuid == runs.c.run_uuid, stamp.c.key == STAMP))
        .where(runs.c.experiment_id == found[0][0], runs.c.lifecycle_stage == "active")
        .order_by(runs.c.start_time, runs.c.run_uuid)
    )
    return [Shown(*row) for row in connection.execute(asked)]


def replace_in(store: Any, experiment_id: str, runs: Iterable[Contents], replaced: Sequence[str]) -> None:
    """Write runs as MLflow's store would, and put those that they replace into its bin, in one transaction."""
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlParam, SqlRun, SqlTag
    from sqlalchemy import insert, update

    experiment = store.get_experiment(experiment_id)
    rows: dict[Any, list[dict[str, Any]]] = {table: [] for table in (SqlRun, SqlTag, SqlParam, SqlMetric)}
    for run in runs:
        mlflow_id = uuid.uuid4().hex
        rows[SqlRun].append(_run(run, mlflow_id, experiment))
        rows[SqlTag] += _texts(mlflow_id, {**run.tags, KEY: run.key, "mlflow.runName": run.name})
        rows[SqlParam] += _texts(mlflow_id, {key: value[:LONGEST_PARAM] for key, value in run.params.items()})
        rows[SqlMetric] += [_point(mlflow_id, point, run.started) for point in dict.fromkeys(run.points)]
    rows[SqlMetric].sort(key=lambda row: (row["key"], row["timestamp"]))  # the order of the primary key
    rows[SqlLatestMetric] = _latest(rows[SqlMetric])
    binned = {"lifecycle_stage": "deleted", "deleted_time": round(time.time() * 1000)}
    with store.ManagedSessionMaker(read_only=False) as session:
        connection = session.connection()
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA cache_size = -262144")  # kB: its indices outgrow the default
        if replaced:
            connection.execute(update(SqlRun.__table__).where(SqlRun.run_uuid.in_(replaced)).values(binned))
        for table, own in rows.items():
            if own:
                connection.execute(insert(table.__table__), own)


def _run(run: Contents, mlflow_id: str, experiment: Any) -> dict[str, Any]:
    from mlflow.utils.uri import append_to_uri_path

    times = {"start_time": run.started, "end_time": run.ended, "deleted_time": None}
    source = {"source_type": "UNKNOWN", "source_name": "", "source_version": "", "entry_point_name": ""}
    return {
        **times,
        **source,
        "run_uuid": mlflow_id,
        "name": run.name[:LONGEST_NAME],
        "user_id": "unknown",
        "status": run.status,
        "lifecycle_stage": "active",
        "artifact_uri": append_to_uri_path(experiment.artifact_location, mlflow_id, "artifacts"),
        "experiment_id": int(experiment.experiment_id),
    }


def _texts(mlflow_id: str, texts: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"run_uuid": mlflow_id, "key": key, "value": value} for key, value in texts.items()]


def _point(mlflow_id: str, point: Point, started: int) -> dict[str, Any]:
    unknown = math.isnan(point.value)
    value = 0.0 if unknown else max(-LARGEST, min(LARGEST, point.value))
    place = {"key": point.metric, "step": point.step, "timestamp": started + point.step}
    return {**place, "value": value, "is_nan": unknown, "run_uuid": mlflow_id}


def _latest(points: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last point of every curve of every run, of points in the order of their times."""
    return list({(row["run_uuid"], row["key"]): row for row in points}.values())
