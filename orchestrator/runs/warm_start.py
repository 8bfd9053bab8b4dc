"""Where a trial with `start_from` begins: which run of the source study, and after how many steps.

The source is the run of that study that agrees with the trial in seed, model and every option of the data that both
tasks have. Where several agree, it is the one that also agrees in the options in which these differ. The source of a
fork (`state: all`) agrees with the base of the study instead: what the trial's point sets is the change.

A trial without a source is never dropped: it waits (the source has to be trained first), or it has no start (the event
never came there, which is a result). Where the source is gone, or was not carried along into this root, the start that
the study's table names stands, as long as the run that began there is here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from grokstudy.orchestrator.runs.state import Ledger, RunState
from grokstudy.orchestrator.runs.trials import NoStart, Run, Trial
from grokstudy.orchestrator.study.sections import StartFrom
from grokstudy.trainables.config import RunConfig, Start
from grokstudy.trainables.messages import shown
from grokstudy.trainables.options import did_you_mean
from grokstudy.trainables.schema import SEEDS
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import DamagedError, Store
from grokstudy.trainables.storage.study_dir import StudyDir


class Seen(NamedTuple):
    """What the tables say of an event in a run."""

    step: int | None
    """The evaluation at which it was first seen; None while it has not been."""
    until: int | None
    """The last evaluation; None when the event's metric was never measured."""


def seen_events(store: Store, study: str) -> dict[str, dict[str, Seen]]:
    """When each event was first seen in the runs of a study: event -> run_id -> what its longest trial says.

    By the summaries, as the runs saw it: that is where they have kept a checkpoint.
    """
    from grokstudy.analysis.tables.study import load

    tables = load(store.uri, study)
    horizons = tables.trials.select("trial_id", "run_id", trial_horizon="horizon")
    rows = tables.onsets.join(horizons, on="trial_id").sort("trial_horizon").collect()
    seen: dict[str, dict[str, Seen]] = {name: {} for name in tables.declared}
    for row in rows.iter_rows(named=True):
        step = row["upper"] if row["state"] == "observed" else None
        seen[row["event"]][row["run_id"]] = Seen(step, row["horizon"])
    return seen


class _NoStartError(Exception):
    """The event never came: the trial has no start."""

    state = "no_start"


class _WaitingError(_NoStartError):
    """The source has to be trained first, or the study file has to say which it is."""

    state = "waiting"


@dataclass
class Sources:
    """Finds the starts of trials; reads each source study once."""

    store: Store
    study: str
    """The study whose trials begin."""
    _runs: dict[str, dict[str, Run]] = field(default_factory=dict)
    _states: dict[str, RunState] = field(default_factory=dict)
    _seen: dict[str, Mapping[str, Mapping[str, Seen]]] = field(default_factory=dict)

    def begin(self, trial: Trial) -> Trial:
        """The trial with its start, or with the reason why it has none."""
        if trial.start_from is None:
            return trial
        try:
            start = self._start(trial, trial.start_from)
        except _NoStartError as error:
            return self._begun_before(trial) or dataclasses.replace(trial, no_start=NoStart(error.state, str(error)))
        return _with(trial, start)

    def _begun_before(self, trial: Trial) -> Trial | None:
        """The trial as it was begun, if it was asked for as it is now and its run is here."""
        if trial.trial_id not in self._recorded:
            return None
        source, start = self._recorded[trial.trial_id]
        assert trial.start_from is not None, "who has been begun before"
        original = _with(trial, dataclasses.replace(start, state=trial.start_from.state))
        match = source == str(trial.start_from) and RunDir(self.store, original.config.run_id).has("run.json")
        return original if match else None

    @cached_property
    def _recorded(self) -> dict[str, tuple[str, Start]]:
        """What was asked for and where it began, by trial, as the study's table says."""
        columns, folder = ["trial_id", "start.from", "start.run_id", "start.step"], StudyDir(self.store, self.study)
        if not folder.has_trials():
            return {}
        table = folder.read_trials()
        rows = table.select(columns).to_pylist() if set(columns) <= set(table.column_names) else []
        return {
            row["trial_id"]: (row["start.from"], Start(run_id=row["start.run_id"], step=row["start.step"]))
            for row in rows
            if row["start.run_id"] is not None
        }

    def _start(self, trial: Trial, wanted: StartFrom) -> Start:
        run = self._source(trial, wanted)
        if run.config.run_id != run.run_id:
            raise _WaitingError(f"{_name(run, wanted)} was trained by other numerics; run {wanted.study} again first")
        state = self._state(run)
        if wanted.step is not None:
            if state.step < wanted.step:
                so_far = f"{_name(run, wanted)} has {state.step:,} of {wanted.step:,} steps"
                raise _WaitingError(f"{so_far}; run {wanted.study}, or extend it with --steps {wanted.step}")
            return Start(run_id=run.run_id, step=wanted.step, state=wanted.state)
        if not state.settled:
            so_far = f"{_name(run, wanted)} is {state.state} at step {state.step:,}"
            raise _WaitingError(f"{so_far}; run {wanted.study} first")
        return Start(run_id=run.run_id, step=self._first_seen(run, wanted), state=wanted.state)

    def _first_seen(self, run: Run, wanted: StartFrom) -> int:
        """The step of an event."""
        if wanted.study not in self._seen:
            self._seen[wanted.study] = seen_events(self.store, wanted.study)
        events, event = self._seen[wanted.study], str(wanted.event)
        if event not in events:
            known = did_you_mean(event, list(events))
            raise _WaitingError(f"study {wanted.study} has no event {event!r}; {known}")
        seen = events[event].get(run.run_id, Seen(None, None))
        if seen.until is None:
            raise _WaitingError(f"{_name(run, wanted)} has not measured event {event}")
        if seen.step is None:
            raise _NoStartError(f"event {event} not reached by step {seen.until:,} in {_name(run, wanted)}")
        return seen.step

    def _source(self, trial: Trial, wanted: StartFrom) -> Run:
        """The one run of the source study that agrees with a trial."""
        runs = self._runs_of(wanted.study)
        options_here = _options(trial.origin or trial.config)
        known = {run_id: _options(run.config) for run_id, run in runs.items()}
        matching = [run_id for run_id, options in known.items() if not _differences(options_here, options)]
        varied = {
            key for one in matching for key in known[one] if any(known[one][key] != known[x][key] for x in matching)
        }
        agreeing = [run_id for run_id in matching if all(known[run_id][key] == options_here.get(key) for key in varied)]
        if len(agreeing) == 1:
            return runs[agreeing[0]]
        if matching:
            differ = ", ".join(sorted(varied)) or "nothing that is compared"
            agree = f"{len(matching)} runs of study {wanted.study} agree with the trial"
            raise _WaitingError(f"{agree} and differ in {differ}; set that here as in the run that is meant")
        raise _WaitingError(_no_source(options_here, known, wanted.study))

    def _runs_of(self, study: str) -> dict[str, Run]:
        """The runs of a study that have begun, with the largest length that it asks of each."""
        if study not in self._runs:
            folder = StudyDir(self.store, study)
            if not folder.has_trials():
                raise _WaitingError(f"study {study} is not in {self.store.uri}; run it there first")
            rows = folder.read_trials("run_id", "horizon").to_pylist()
            horizons: dict[str, int] = {}
            for row in rows:
                horizons[row["run_id"]] = max(int(row["horizon"]), horizons.get(row["run_id"], 0))
            self._runs[study] = {i: run for i, steps in horizons.items() if i and (run := self._begun(i, steps))}
        return self._runs[study]

    def _begun(self, run_id: str, steps: int) -> Run | None:
        try:
            config = RunDir(self.store, run_id).config()
        except DamagedError:
            return None  # it is written anew when its study is run
        return None if config is None else Run(run_id, config.with_steps(steps), ())

    def _state(self, run: Run) -> RunState:
        if run.run_id not in self._states:
            self._states |= Ledger(self.store, [run], scheduler_stops=True).states
        return self._states[run.run_id]


def _with(trial: Trial, start: Start) -> Trial:
    return dataclasses.replace(trial, config=dataclasses.replace(trial.config, start=start))


def _name(run: Run, wanted: StartFrom) -> str:
    return f"run {run.run_id} of study {wanted.study}"


def _options(config: RunConfig) -> dict[str, Any]:
    """Every option by its dotted name, and the seeds; not how long it trains and what only says how to run it."""
    skipped = {"task", "train.steps", "train.checkpoint_every", "start.run_id", "start.step", "start.state", "numerics"}
    options = {key: value for key, value in config.flat().items() if key not in (*skipped, *SEEDS)}
    seeds = [config.seed, config.starting_seed, config.drawing_seed]
    return {"seed": seeds[0] if len({*seeds}) == 1 else seeds, **options}


def _differences(target: Mapping[str, Any], source: Mapping[str, Any]) -> list[str]:
    """What of seed, model and data differs; options that only one of the two tasks has are no difference."""
    compared = [key for key in source if key in target and (key == "seed" or key.startswith(("model.", "data.")))]
    return [key for key in compared if target[key] != source[key]]


def _no_source(target: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]], study: str) -> str:
    """Say how the nearest run differs."""
    if not sources:
        return f"no run of study {study} has begun; run it first"
    nearest = min(sources, key=lambda run_id: len(_differences(target, sources[run_id])))
    differ = [f"{key} is {shown(sources[nearest][key])} there, not {shown(target[key])}"
              for key in _differences(target, sources[nearest])]  # fmt: skip
    return f"no run of study {study} that has begun agrees; the nearest is {nearest}: {', '.join(differ)}"
