"""Whether a root is whole: every run, every study, and the files that belong to neither. Reads only."""

from __future__ import annotations

from pathlib import PurePosixPath

from grokstudy.orchestrator.root.fault import Fault
from grokstudy.orchestrator.root.verify_run import verify_run
from grokstudy.orchestrator.runs.trial_table import read_trials
from grokstudy.trainables.storage.records import SCHEMAS
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import DamagedError, Store

TOP = ("driver.json", "mlflow.db", "mlflow-artifacts")
"""Beside runs, metrics and studies; with their companions, such as mlflow.db-wal."""


def verify(store: Store) -> list[Fault]:
    """Everything that is wrong, sorted by path. One recursive listing, then every file is read."""
    files = files_of(store)
    by_run, others = group_by_run(files)
    asked, faults = asked_runs(store, files)
    faults += [Fault(path, "foreign", "not a file of ours", "move it out of the root") for path in others]
    faults += [Fault(path, "foreign", "a link that leaves the root", "remove it") for path in store.links_out()]
    for run_id, own in sorted(by_run.items()):
        faults += verify_run(RunDir(store, run_id), own, imported=asked.get(run_id, False))
        if run_id not in asked:
            remedy = "grokstudy gc --orphans removes it"
            faults.append(Fault(f"runs/{run_id}", "orphan", "no study asks for this run", remedy))
    return sorted(faults)


def files_of(store: Store) -> list[str]:
    """Every file of a root, without folders."""
    found = store.list("", recursive=True)
    folders = {str(PurePosixPath(path).parent) for path in found}
    return [path for path in found if path not in folders and "." in PurePosixPath(path).name]


def group_by_run(files: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The files of each run, and those that are neither a run's nor a study's."""
    runs: dict[str, list[str]] = {}
    others = []
    for path in files:
        parts = PurePosixPath(path).parts
        if parts[0] == "runs" and len(parts) > 2:
            runs.setdefault(parts[1], []).append(path)
        elif parts[0] == "metrics" and len(parts) > 3 and parts[1] in SCHEMAS and parts[2].startswith("run_id="):
            runs.setdefault(parts[2].removeprefix("run_id="), []).append(path)
        elif parts[0] != "studies" and not parts[0].startswith(TOP):
            others.append(path)
    return runs, others


def asked_runs(store: Store, files: list[str]) -> tuple[dict[str, bool], list[Fault]]:
    """The runs that some study asks for, with whether they are imported curves, and studies that cannot be read."""
    asked: dict[str, bool] = {}
    faults = []
    for path in files:
        parts = PurePosixPath(path).parts
        if parts[0] == "studies" and parts[2:] == ("trials.parquet",):
            try:
                imported = (store.read_json(f"studies/{parts[1]}/study.json") or {}).get("spec_hash") == ""
                asked |= dict.fromkeys(study_runs(store, parts[1]), imported)
            except DamagedError as error:
                remedy = "grokstudy run with the study's file writes it again"
                faults.append(Fault(path, "torn", str(error).splitlines()[0][:80], remedy))
    return asked, faults


def study_runs(store: Store, name: str) -> list[str]:
    """The runs of a study, from its table of trials. Raises DamagedError for a torn one."""
    table = read_trials(store, name, "run_id")
    return sorted(set(table["run_id"].drop_null().to_pylist()))
