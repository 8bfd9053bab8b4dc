"""`grokstudy mlflow`, and the sync that ends a run."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from grokstudy.orchestrator.commands.common import Json, Quiet, Root, emit, existing, say, stop, study_name, warn_of
from grokstudy.orchestrator.commands.complete import studies as studies_of_root
from grokstudy.trainables.messages import first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection

    from grokstudy.analysis.tables.parquet import Skipped
    from grokstudy.orchestrator.runs.status import RunRecord
    from grokstudy.orchestrator.tracking.mlflow_sync import Synced
    from grokstudy.trainables.storage.store import Store

Studies = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[sync] [STUDY]...",
        help="Names of studies in the root, or their files; all if none.",
        autocompletion=studies_of_root,
    ),
]
Every = Annotated[
    float | None,
    typer.Option("--every", min=1.0, help="Again every so many seconds, as long as somebody trains in the root."),
]
Rebuild = Annotated[bool, typer.Option("--rebuild", help="Remove the studies from MLflow first, then write them anew.")]


def mlflow(
    studies: Studies = None,
    root: Root = "results",
    rebuild: Rebuild = False,
    every: Every = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Bring MLflow up to date with studies of the root: MLFLOW_TRACKING_URI, or mlflow.db in the root.

    While somebody trains there, runs under way are shown as running.
    """
    from grokstudy.orchestrator.execution.lock import trained_study
    from grokstudy.orchestrator.tracking.follow import pause, yield_to_training
    from grokstudy.trainables.storage.study_dir import study_names

    store, words = existing(root), list(studies or [])
    named = words[1:] if words[:1] == ["sync"] else words
    termination, spent = yield_to_training() if every is not None else None, 0.0
    while True:
        trained = trained_study(store)
        driven = {name: name == trained for name in study_names(store)}
        names = [study_name(name) for name in named] or list(driven)
        try:
            done = {name: _synced(store, name, rebuild, driven.get(name, False)) for name in names}
        except typer.Exit:  # what is wrong was said; it may be right the next time
            if termination is None or trained is None:
                raise
            done = {}
        if termination is None or trained is None:
            break
        before, spent = spent, time.process_time()
        if termination.wait(pause(every or 0.0, spent - before)):
            break
        rebuild = rebuild and not done
    if as_json:
        emit(json.dumps([{"study": name, **asdict(synced)} for name, (synced, _) in done.items()], indent=1))
    elif not quiet:
        for name, (synced, _) in done.items():
            counts = f"{synced.written} runs written, {synced.kept} up to date, {synced.removed} removed"
            say(f"{name}: {counts}: {synced.uri}")
            if synced.restored:
                say("  the experiment had been deleted in MLflow; it is back, with what the root has")
    warn_of(line for _, warnings in done.values() for line in warnings)


def _synced(store: Store, name: str, rebuild: bool, driven: bool) -> tuple[Synced, list[str]]:
    """Sync one study, or say what is wrong."""
    try:
        return sync_study(store, name, rebuild, driven)
    except (ValueError, FileNotFoundError) as error:
        stop(str(error))
    except Exception as error:  # MLflow, its server and its data base have many kinds
        stop(f"MLflow: {first_line(error)}; is MLFLOW_TRACKING_URI right, and does it answer?")


def sync_study(store: Store, name: str, rebuild: bool = False, driven: bool = False) -> tuple[Synced, list[str]]:
    """Read what the tracker is shown from the tables, and write it; names the files that were left out."""
    from grokstudy.analysis import load
    from grokstudy.analysis.answer import classed
    from grokstudy.analysis.curves import event_times, tracked_curves
    from grokstudy.orchestrator.tracking.mlflow_sync import sync

    tables = load(store.uri, name)
    longest = tables.trials.sort("horizon").unique("run_id", keep="last").select("trial_id", "run_id")
    times = event_times(tables.events.join(longest, on="trial_id").collect())
    first = [event.metric for event in tables.declared.values()]
    skipped: dict[str, Skipped] = {}

    def curves(runs: Sequence[RunRecord]) -> Iterator[tuple[str, str, int, float]]:
        horizons = {run.run_id: run.horizon for run in runs}
        reached = {run.run_id: times.get(run.run_id, {}).values() for run in runs}
        return tracked_curves(store, horizons, reached, first, skipped).iter_rows()

    kinds = classed(tables).join(longest, on="trial_id").select("run_id", "kind", "lead").collect()
    judged = {run_id: (kind, lead) for run_id, kind, lead in kinds.iter_rows()}
    synced = sync(store, name, times, judged, curves, rebuild, driven)
    return synced, [*tables.warnings, *map(str, skipped.values())]


def try_to_sync(store: Store, name: str) -> Synced | None:
    """Sync at the end of a run; a warning, and None, where that fails. A finished study does not fail by its view."""
    try:
        return sync_study(store, name)[0]
    except Exception as error:
        _warn(store, name, first_line(error))
        return None


def _warn(store: Store, name: str, why: str) -> None:
    again = sync_command(store, name)
    say(f"warning: MLflow was not brought up to date: {why}; do it later with\n  {again}", err=True)


def sync_command(store: Store, name: str) -> str:
    """What a person types to sync a study."""
    return shlex.join(["grokstudy", "mlflow", "sync", name, "--root", store.uri])


@contextlib.contextmanager
def syncing_beside(store: Store, name: str) -> Iterator[Callable[[], Synced | None]]:
    """Sync in a process of its own meanwhile; what is given syncs what has come since, and is as `try_to_sync`.

    Most of a sync is importing MLflow and making its data base, and needs nothing of the report.
    """
    import multiprocessing

    from grokstudy.orchestrator.tracking.follow import PATIENCE_S

    spawn = multiprocessing.get_context("spawn")
    ours, its = spawn.Pipe()
    process = spawn.Process(target=_sync_twice, args=(its, store.uri, name), daemon=True)
    process.start()
    its.close()

    def again() -> Synced | None:
        synced, why = None, "the process that does it ended"
        with contextlib.suppress(OSError, EOFError):
            ours.send(None)
            synced, why = ours.recv()
        if synced is None:
            _warn(store, name, why)
        return synced

    try:
        yield again
    finally:
        ours.close()  # it ends after the sync under way: making MLflow's data base is better not cut short
        process.join(PATIENCE_S)
        process.terminate()


def _sync_twice(asked: Connection, root: str, name: str) -> None:
    from grokstudy.trainables.storage.store import Store

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which ends this
    store = Store(root)
    synced, why = None, ""
    try:
        sync_study(store, name)
    except FileNotFoundError:  # the report of before goes meanwhile
        pass
    except Exception as error:  # a server that does not answer is not waited for twice
        why = first_line(error)
    try:
        asked.recv()
    except EOFError:  # the command was interrupted
        return
    try:
        synced = None if why else sync_study(store, name)[0]
    except Exception as error:
        why = first_line(error)
    asked.send((synced, why))
