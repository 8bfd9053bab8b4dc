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
REACHED = "grokstudy.reached"
"""Tag of a run under way: the step up to which its curves are shown."""
RUNNING = "RUNNING"
ENGINES = ("sqlite", "postgresql", "mysql", "mssql")
LARGEST = 1.7976931348623157e308
"""How MLflow stores infinity."""
LONGEST_NAME = 250
LONGEST_PARAM = 6000


class MetricPoint(NamedTuple):
    """One value of one metric."""

    metric: str
    step: int
    value: float


class Dataset(NamedTuple):
    """What a run was trained on."""

    name: str
    digest: str


DATASET = {"source_type": "code", "source": '{"made": "from the configuration and the seed"}'}
CONTEXT = ("mlflow.data.context", "training")
"""Tag of an input that is a dataset."""


class Contents(NamedTuple):
    """A run as it is to be shown. One that is RUNNING has no end: the sync that ends a study sets it."""

    key: str
    name: str
    status: str
    started: int
    """Milliseconds since 1970, as `ended`; a point's time is this plus a millisecond per step."""
    ended: int | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    points: Sequence[MetricPoint]
    dataset: Dataset | None = None


class Shown(NamedTuple):
    """A run that MLflow has."""

    mlflow_id: str
    key: str
    stamp: str | None
    status: str
    experiment: str
    """MLflow's id of it."""


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


def shown_in(uri: str, experiment: str, artifacts: str | None = None) -> list[Shown] | None:
    """The runs of an experiment, the oldest first; None where MLflow itself must be asked, or has to set up first.

    So it has where the artifacts lie elsewhere than in `artifacts`, if that is told.
    """
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import SQLAlchemyError

    path = file_of(uri)
    if path is not None and not path.is_file():
        return None  # connecting would make an empty one
    try:
        with create_engine(uri, poolclass=NullPool).connect() as connection:
            return _shown(connection, experiment, artifacts)
    except SQLAlchemyError:  # no such table, nobody answers: MLflow makes the one and tells the other
        return None


def _shown(connection: Any, experiment: str, artifacts: str | None) -> list[Shown] | None:
    from sqlalchemy import and_, column, select, table

    columns = ("experiment_id", "lifecycle_stage", "artifact_location")
    experiments = table("experiments", *map(column, ("name", *columns)))
    named = select(*(experiments.c[name] for name in columns)).where(experiments.c.name == experiment)
    rows = connection.execute(named).all()
    if [stage for _, stage, _ in rows] != ["active"] or artifacts not in (None, rows[0][2]):
        return None
    runs = table("runs", *map(column, ("run_uuid", "experiment_id", "lifecycle_stage", "start_time", "status")))
    tags = table("tags", *map(column, ("run_uuid", "key", "value")))
    key, stamp = tags.alias("grokstudy_key"), tags.alias("grokstudy_stamp")
    query = (
        select(runs.c.run_uuid, key.c.value, stamp.c.value, runs.c.status)
        .join(key, and_(key.c.run_uuid == runs.c.run_uuid, key.c.key == KEY))
        .outerjoin(stamp, and_(stamp.c.run_uuid == runs.c.run_uuid, stamp.c.key == STAMP))
        .where(runs.c.experiment_id == rows[0][0], runs.c.lifecycle_stage == "active")
        .order_by(runs.c.start_time, runs.c.run_uuid)
    )
    found = connection.execute(query)
    return [Shown(mlflow_id, own, made_of, status, str(rows[0][0])) for mlflow_id, own, made_of, status in found]


def replace_in(
    store: Any, experiment_id: str, runs: Sequence[Contents], replaced: Sequence[str], same: Mapping[str, str]
) -> None:
    """Write runs as MLflow's store would, and put those that they replace into its bin, in one transaction.

    Those whose key is in `same` are written over the run of that id instead.
    """
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlParam, SqlRun, SqlTag
    from sqlalchemy import insert, update

    experiment = store.get_experiment(experiment_id)
    ids = {run.key: same.get(run.key) or uuid.uuid4().hex for run in runs}
    rows: dict[Any, list[dict[str, Any]]] = {table: [] for table in (SqlRun, SqlTag, SqlParam, SqlMetric)}
    for run in runs:
        mlflow_id = ids[run.key]
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
        if same:
            _clear(connection, [*same.values()])
        for table, own in rows.items():
            if own:
                connection.execute(insert(table.__table__), own)
        trained_on = {ids[run.key]: run.dataset for run in runs if run.dataset is not None}
        if trained_on:
            _add_inputs(connection, int(experiment_id), trained_on)


def _clear(connection: Any, mlflow_ids: Sequence[str]) -> None:
    """Take runs out, to be written again under the same ids."""
    from mlflow.store.tracking.dbmodels import models
    from sqlalchemy import delete, select

    inputs = models.SqlInput.destination_id.in_(mlflow_ids)
    tagged = select(models.SqlInput.input_uuid).where(inputs)
    connection.execute(delete(models.SqlInputTag.__table__).where(models.SqlInputTag.input_uuid.in_(tagged)))
    connection.execute(delete(models.SqlInput.__table__).where(inputs))
    for table in (models.SqlMetric, models.SqlLatestMetric, models.SqlParam, models.SqlTag, models.SqlRun):
        connection.execute(delete(table.__table__).where(table.run_uuid.in_(mlflow_ids)))


def _add_inputs(connection: Any, experiment_id: int, trained_on: Mapping[str, Dataset]) -> None:
    """Name the data of runs, by their ids; a dataset that many were trained on is there once."""
    from mlflow.store.tracking.dbmodels.models import SqlDataset, SqlInput, SqlInputTag
    from sqlalchemy import insert, select

    named = select(SqlDataset.name, SqlDataset.digest, SqlDataset.dataset_uuid)
    query = named.where(SqlDataset.experiment_id == experiment_id)
    known = {Dataset(name, digest): dataset_id for name, digest, dataset_id in connection.execute(query)}
    new = {dataset: uuid.uuid4().hex for dataset in trained_on.values() if dataset not in known}
    source = {f"dataset_{key}": value for key, value in DATASET.items()}
    datasets = [{**dataset._asdict(), **source, "dataset_uuid": dataset_id} for dataset, dataset_id in new.items()]
    known.update(new)
    inputs = [
        {
            "input_uuid": uuid.uuid4().hex,
            "source_type": "DATASET",
            "source_id": known[dataset],
            "destination_type": "RUN",
            "destination_id": mlflow_id,
        }
        for mlflow_id, dataset in trained_on.items()
    ]
    context = dict(zip(("name", "value"), CONTEXT, strict=True))
    if datasets:
        connection.execute(insert(SqlDataset.__table__), [{**row, "experiment_id": experiment_id} for row in datasets])
    connection.execute(insert(SqlInput.__table__), inputs)
    connection.execute(insert(SqlInputTag.__table__), [{"input_uuid": row["input_uuid"], **context} for row in inputs])


def move_in(store: Any, experiment_id: str, old: str, new: str) -> None:
    """Say that the artifacts of an experiment and of its runs lie elsewhere: MLflow has no call for it."""
    from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlRun
    from sqlalchemy import func, update

    place = update(SqlExperiment).where(SqlExperiment.experiment_id == int(experiment_id))
    runs = update(SqlRun).where(SqlRun.experiment_id == int(experiment_id))
    moved = func.replace(SqlRun.artifact_uri, old, new)
    with store.ManagedSessionMaker(read_only=False) as session:
        session.connection().execute(place.values(artifact_location=new))
        session.connection().execute(runs.values(artifact_uri=moved))


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


def _point(mlflow_id: str, point: MetricPoint, started: int) -> dict[str, Any]:
    unknown = math.isnan(point.value)
    value = 0.0 if unknown else max(-LARGEST, min(LARGEST, point.value))
    place = {"key": point.metric, "step": point.step, "timestamp": started + point.step}
    return {**place, "value": value, "is_nan": unknown, "run_uuid": mlflow_id}


def _latest(points: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last point of every curve of every run, of points in the order of their times."""
    return list({(row["run_uuid"], row["key"]): row for row in points}.values())
