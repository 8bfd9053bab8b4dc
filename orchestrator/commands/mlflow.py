"""`grokstudy mlflow`, and the sync that ends a run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.common import Json, Root, StudyName, existing, stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.mlflow_view import Synced
    from orchestrator.standings import RunStanding
    from trainables.store import Store

Rebuild = Annotated[bool, typer.Option("--rebuild", help="Remove the study from MLflow first, then write it anew.")]


def mlflow(study: StudyName, root: Root = "results", rebuild: Rebuild = False, as_json: Json = False) -> None:
    """Bring MLflow up to date with a study: MLFLOW_TRACKING_URI, or mlflow.db in the root. Takes a file or a name."""
    store, name = existing(root), Path(study).stem
    try:
        done = sync_study(store, name, rebuild)
    except (ValueError, FileNotFoundError) as error:
        stop(str(error))
    except Exception as error:  # MLflow, its server and its data base have many kinds
        stop(f"MLflow: {first_line(error)}; is MLFLOW_TRACKING_URI right, and does it answer?")
    if as_json:
        typer.echo(json.dumps(asdict(done), indent=1))
    else:
        typer.echo(f"{done.uri}: {done.written} runs written, {done.kept} up to date, {done.removed} removed")


def sync_study(store: Store, name: str, rebuild: bool = False) -> Synced:
    """Read what the tracker is shown from the tables, and write it."""
    from analysis import load
    from analysis.tracking import event_times, probes_of, tracked_curves
    from orchestrator.mlflow_view import sync

    tables = load(store.uri, name)
    asked = tables.trials.sort("horizon").unique("run_id", keep="last").select("trial_id", "run_id")
    times = event_times(tables.events.join(asked, on="trial_id").collect())
    first = probes_of(tables.spec.get("events", {}))

    def curves(run: RunStanding) -> Iterator[tuple[str, int, float]]:
        found = tracked_curves(store, run.run_id, run.horizon, times.get(run.run_id, {}).values(), first)
        return found.iter_rows()

    return sync(store, name, times, curves, rebuild)


def try_to_sync(store: Store, name: str) -> str | None:
    """Sync at the end of a run: the tracking URI, or a warning and None. A finished study does not fail by its view."""
    try:
        return sync_study(store, name).uri
    except Exception as error:
        again = f"grokstudy mlflow {name} --root {store.uri}"
        said = f"warning: MLflow was not brought up to date: {first_line(error)}; do it later with\n  {again}"
        typer.echo(said, err=True)
        return None


def first_line(error: Exception) -> str:
    """An error in one line."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
