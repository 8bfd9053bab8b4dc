"""Whether a study file that was changed drops runs that were trained for it before."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from grokstudy.orchestrator.runs.trials import Trial
from grokstudy.orchestrator.study.study import Study
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
    old = folder.read_text().splitlines()
    lines = difflib.unified_diff(old, study.text.splitlines(), "as it was run last", str(study.path), lineterm="", n=1)
    return Contradiction(len(dropped), "\n".join(lines))
