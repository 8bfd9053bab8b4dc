"""A study as its root alone shows it: one entry per run, with settings, state and times. Needs no study file.

For whoever looks without driving: the MLflow view, `watch`, `logs`. Reads `studies/<name>/` and the markers in `runs/`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grokstudy.orchestrator.runs.state import Ledger, RunState
from grokstudy.orchestrator.runs.trial_table import read_trials
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.run_dir import RunDir, last_lease
from grokstudy.trainables.storage.store import DamagedError, Store

FIXED = ("trial_id", "run_id", "horizon", "seed", "state")
"""Columns of trials.parquet that are not axes, nor about the start."""


@dataclass(frozen=True)
class RunStanding:
    """One run of a study."""

    run_id: str
    trials: tuple[str, ...]
    horizon: int
    """The largest length that the study asks of it, in steps."""
    seed: int
    point: Mapping[str, Any]
    """Its place in the space."""
    state: RunState
    about: Mapping[str, Any]
    """run.json; empty when it never began."""
    attempts: int
    started: float | None
    """Seconds since 1970, as run.json says; of curves from elsewhere, when they were imported."""
    ended: float | None
    """The same for its end, if it has one."""

    @property
    def name(self) -> str:
        """Its place in the space and its seed, in words."""
        words = [str(value) for value in self.point.values()]
        return " ".join([*words, "(imported)" if self.imported else f"seed {self.seed}"])

    @property
    def imported(self) -> str | None:
        """The file that the curves come from, if they were not trained here."""
        return f"{self.about['external']} (sha256 {self.about['sha256']})" if "external" in self.about else None

    @property
    def regime(self) -> str:
        """Its place in the space, without seed and length."""
        return " ".join(str(value) for key, value in self.point.items() if key != "train.steps") or "all"


def study_names(store: Store) -> list[str]:
    """The studies of a root."""
    return [path.split("/")[-1] for path in store.list("studies") if store.exists(f"{path}/study.json")]


def spec_of(store: Store, study: str) -> dict[str, Any]:
    """study.json. Raises ValueError naming the studies that there are."""
    spec: dict[str, Any] | None = store.read_json(f"studies/{study}/study.json")
    if spec is None:
        known = ", ".join(study_names(store)) or "none"
        raise ValueError(f"{store.uri}: there is no study {study!r}; studies here: {known}")
    return spec


def standings(store: Store, study: str) -> list[RunStanding]:
    """Every run of a study, in the order of its trials."""
    rows = read_trials(store, study, "run_id", "trial_id", "horizon", "seed").to_pylist()
    by_run: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["run_id"] is not None:
            by_run.setdefault(row["run_id"], []).append(row)
    about = {run_id: RunDir(store, run_id).read("run.json") or {} for run_id in by_run}
    asked = {run_id: max(int(row["horizon"]) for row in trials) for run_id, trials in by_run.items()}
    states = _states(store, about, asked)
    return [_standing(store, trials, about[run_id], states.get(run_id)) for run_id, trials in by_run.items()]


def _states(store: Store, about: Mapping[str, Mapping[str, Any]], asked: Mapping[str, int]) -> dict[str, RunState]:
    """The states of the runs that have begun, by the rules of the ledger."""
    runs = []
    for run_id, found in about.items():
        if "config" in found:
            config = _config(store, run_id, found["config"])
            train = dataclasses.replace(config.train, steps=asked[run_id])
            runs.append(Run(run_id, dataclasses.replace(config, train=train), ()))
    return Ledger(store, runs, scheduler_stops=True).states


def _config(store: Store, run_id: str, raw: Any) -> RunConfig:
    """Of a run.json. Raises DamagedError when it is none."""
    try:
        return RunConfig.from_dict(raw)
    except (ValueError, TypeError, AttributeError) as error:
        path = store.path(f"runs/{run_id}/run.json")
        raise DamagedError(f"{path}: cannot be read ({error}); run the study again") from None


def _standing(
    store: Store, trials: list[dict[str, Any]], about: Mapping[str, Any], state: RunState | None
) -> RunStanding:
    longest = max(trials, key=lambda row: int(row["horizon"]))
    folder = RunDir(store, longest["run_id"])
    done = (folder.read("DONE.json") or {}) if about else {}
    return RunStanding(
        run_id=longest["run_id"],
        trials=tuple(row["trial_id"] for row in trials),
        horizon=int(longest["horizon"]),
        seed=int(longest["seed"]),
        point={key: value for key, value in longest.items() if key not in FIXED and not key.startswith("start.")},
        state=state or _imported(about, done) or RunState("missing", 0),
        about=about,
        attempts=last_lease(folder)["attempt"],
        started=about.get("started", about.get("imported")),
        ended=_ended(about, done),
    )


def _imported(about: Mapping[str, Any], done: Mapping[str, Any]) -> RunState | None:
    return RunState("done", int(done["step"])) if "external" in about and done else None


def _ended(about: Mapping[str, Any], done: Mapping[str, Any]) -> float | None:
    """When it ended; for markers that do not say so, at least the seconds of the last attempt after the start."""
    if "ended" in done or "started" not in about:
        return done.get("ended")
    return float(about["started"]) + float(done["seconds"]) if "seconds" in done else None
