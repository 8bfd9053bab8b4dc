"""Whether a study file that was changed drops runs that were trained for it before."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from grokstudy.orchestrator.runs.trial_table import read_trials
from grokstudy.orchestrator.runs.trials import Trial
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.storage.store import DamagedError, Store


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
    folder = f"studies/{study.name}"
    before = store.read_json(f"{folder}/study.json")
    if before is None or before.get("spec_hash") == study.spec_hash or not store.exists(f"{folder}/trials.parquet"):
        return None
    try:
        table = read_trials(store, study.name, "run_id", "state")
    except DamagedError:
        return None  # it is written again, and no run is lost by that
    trained = {row["run_id"] for row in table.to_pylist() if row["state"] not in ("missing", "failed")}
    dropped = trained - {None} - {trial.run_id for trial in trials}
    if not dropped:
        return None
    old = store.read(f"{folder}/study.yaml").decode(errors="replace").splitlines()
    lines = difflib.unified_diff(old, study.text.splitlines(), "as it was run last", str(study.path), lineterm="", n=1)
    return Contradiction(len(dropped), "\n".join(lines))
