"""Whether a study that was changed, in its file or in code from outside, drops runs that were trained for it before."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from grokstudy.orchestrator.runs.trials import Trial
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.options import fields_of
from grokstudy.trainables.plugins import code_of
from grokstudy.trainables.storage.run_dir import run_ids
from grokstudy.trainables.storage.store import DamagedError, Store
from grokstudy.trainables.storage.study_dir import StudyDir


@dataclass(frozen=True)
class Contradiction:
    """A change of a study file that leaves trained runs without a trial."""

    dropped: int
    """Runs with results that the file no longer asks for."""
    diff: str
    """From the file of the last run to the present one."""

    def __str__(self) -> str:
        runs = "1 run that was trained" if self.dropped == 1 else f"{self.dropped} runs that were trained"
        return f"{self.diff}\nWith this change the study no longer asks for {runs}; their rows stay in the root."


def contradiction(store: Store, study: Study, trials: list[Trial]) -> Contradiction | None:
    """None when nothing that was trained is dropped: more seeds, values or steps only add."""
    folder = StudyDir(store, study.name)
    before = folder.find_spec()
    if before is None or before.get("spec_hash") == study.spec_hash:
        return None
    try:
        table = folder.read_trials("run_id", "state")
    except (FileNotFoundError, DamagedError):
        return None  # it is written again, and no run is lost by that
    trained = {row["run_id"] for row in table.to_pylist() if row["state"] not in ("missing", "failed")}
    dropped = trained - {None} - {trial.run_id for trial in trials}
    if not dropped:
        return None
    files = [(folder.read_text(), study.text, str(study.path)), *_edited_files(folder, study)]
    lines: list[str] = []
    for text, now, path in files:
        texts = text.splitlines(), now.splitlines()
        lines += difflib.unified_diff(*texts, "as it was run last", path, lineterm="", n=1)
    return Contradiction(len(dropped), "\n".join(lines))


def _edited_files(folder: StudyDir, study: Study) -> list[tuple[str, str, str]]:
    """Text before and now, and path, of every file of code from outside that the study named before, too."""
    files: dict[str, tuple[str, str, str]] = {}
    for name, earlier in edited(folder, study).items():
        code, kept = code_of(name), folder.read_code(earlier)
        for path in sorted({*code.files, *kept}):
            files[code.place(path)] = (kept.get(path, ""), code.files.get(path, ""), code.place(path))
    return list(files.values())


def edited(folder: StudyDir, study: Study) -> dict[str, str]:
    """Full names of code that is not as it was in the study's last run, each with its name of then."""
    before = folder.code_names()
    return {name: before[word] for word, name in study.code.items() if before.get(word, name) != name}


@dataclass(frozen=True)
class Orphaned:
    """Runs that were trained with code as it was before an edit, and that this study does not take."""

    words: list[str]
    """What was edited, as the study file names it."""
    run_ids: list[str]

    def __str__(self) -> str:
        runs = "1 run was" if len(self.run_ids) == 1 else f"{len(self.run_ids)} runs were"
        shown = ", ".join(self.run_ids[:MOST_SHOWN]) + (" ..." if len(self.run_ids) > MOST_SHOWN else "")
        return (
            f"{', '.join(self.words)} was edited: {runs} trained with the code of before ({shown}) and will not be "
            "taken; --code-as-before goes on with that code"
        )


MOST_SHOWN = 5


def orphaned(store: Store, study: Study, trials: list[Trial]) -> Orphaned | None:
    """Which runs of the root the study would take if code from outside had not been edited; None for none."""
    folder = StudyDir(store, study.name)
    changed = edited(folder, study)
    if not changed:
        return None
    earlier = {trial.run_id: _with_code(trial.config, changed).run_id for trial in trials if trial.run_id is not None}
    begun_ids = {*run_ids(store)}
    lost = [before for now, before in earlier.items() if now != before and before in begun_ids]
    words = [word for word, name in study.code.items() if name in changed]
    return Orphaned(words, list(dict.fromkeys(lost))) if lost else None


def _with_code(config: RunConfig, names: Mapping[str, str]) -> RunConfig:
    """The same run with other code."""
    probes = tuple(names.get(probe, probe) for probe in config.eval.probes)
    evaluation = dataclasses.replace(config.eval, probes=probes)
    trainable = config.trainable
    if trainable is not None:
        trainable = dataclasses.replace(trainable, function=names.get(trainable.function, trainable.function))
    files = [field.attribute for field in fields_of(type(config.data)).values() if field.file is not None]
    named = {name: getattr(config.data, name) for name in files}
    data = dataclasses.replace(config.data, **{key: names.get(name, name) for key, name in named.items()})
    task = names.get(config.task, config.task)
    return dataclasses.replace(config, task=task, data=data, eval=evaluation, trainable=trainable)
