"""Whether a root is whole: every run, every study, and the files that belong to neither. Reads only."""

from __future__ import annotations

from pathlib import PurePosixPath

from grokstudy.orchestrator.root.verify_run import Fault, verify_run
from grokstudy.trainables.messages import first_line
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage.run_dir import RunDir, run_of
from grokstudy.trainables.storage.store import DamagedError, Store
from grokstudy.trainables.storage.study_dir import StudyDir

TOP = ("driver.json", "mlflow.db", "mlflow-artifacts")
"""Beside runs, metrics and studies; with their companions, such as mlflow.db-wal."""


def verify(store: Store) -> list[Fault]:
    """Everything that is wrong, sorted by path. One recursive listing, then every file is read."""
    files = files_of(store)
    by_run, others = group_by_run(files)
    requested, faults = asked_runs(store, files)
    links = store.links_out()
    faults += [Fault(path, "foreign", "not a file of ours", "move it out of the root") for path in others]
    faults += [Fault(path, "foreign", "a link that leaves the root", "remove it") for path in links]
    for run_id, own in sorted(by_run.items()):
        run = RunDir(store, run_id)
        faults += _looked_at(run, own, requested.get(run_id, False), links)
        if run_id not in requested:
            remedy = "grokstudy gc --orphans removes it"
            faults.append(Fault(run.folder, "orphan", "no study asks for this run", remedy))
    return sorted(faults)


def verify_study(study: StudyDir) -> list[Fault]:
    """What is wrong with the runs of one study that have begun, sorted by path."""
    store, faults = study.store, list[Fault]()
    imported, links = (study.find_spec() or {}).get("spec_hash") == "", store.links_out()
    for run_id in study_runs(study):
        run = RunDir(store, run_id)
        if files := _listed(run, links):
            faults += _looked_at(run, files, imported, links)
    return sorted(faults)


def _looked_at(run: RunDir, files: list[str], imported: bool, links: list[str]) -> list[Fault]:
    """The faults of a run. One that has any is listed anew: it may be in training, and have moved on between two
    folders of the first listing.
    """
    return list(verify_run(run, _listed(run, links), imported)) if list(verify_run(run, files, imported)) else []


def _listed(run: RunDir, links: list[str]) -> list[str]:
    """The files of a run, checkpoints and markers before the rows they vouch for."""
    folders = (run.folder, *(run.parts(table) for table in reversed(TABLES)))
    return _no_folders(
        [path for folder in folders if folder not in links for path in run.store.list(folder, recursive=True)]
    )


def files_of(store: Store) -> list[str]:
    """Every file of a root, without folders."""
    return _no_folders(store.list("", recursive=True))


def _no_folders(paths: list[str]) -> list[str]:
    folders = {str(PurePosixPath(path).parent) for path in paths}
    return [path for path in paths if path not in folders and "." in PurePosixPath(path).name]


def group_by_run(files: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The files of each run, and those that are neither a run's nor a study's."""
    runs: dict[str, list[str]] = {}
    others = []
    for path in files:
        run_id = run_of(path)
        if run_id is not None:
            runs.setdefault(run_id, []).append(path)
        elif not path.startswith(("studies/", *TOP)):
            others.append(path)
    return runs, others


def asked_runs(store: Store, files: list[str]) -> tuple[dict[str, bool], list[Fault]]:
    """The runs that some study asks for, with whether they are imported curves, and studies that cannot be read."""
    requested: dict[str, bool] = {}
    faults = []
    for study in studies_of(store, files):
        try:
            imported = (study.find_spec() or {}).get("spec_hash") == ""
            requested |= dict.fromkeys(study_runs(study), imported)
        except DamagedError as error:
            remedy = "grokstudy run with the study's file writes it again"
            faults.append(Fault(study.trials, "torn", first_line(error), remedy))
    return requested, faults


def studies_of(store: Store, files: list[str]) -> list[StudyDir]:
    """The studies that have trials, among the files of a root."""
    folders = [StudyDir(store, path.split("/")[1]) for path in files if path.startswith("studies/")]
    return [study for study in dict.fromkeys(folders) if study.trials in files]


def study_runs(study: StudyDir) -> list[str]:
    """The runs of a study, from its table of trials. Raises DamagedError for a torn one."""
    return sorted(set(study.read_trials("run_id")["run_id"].drop_null().to_pylist()))
