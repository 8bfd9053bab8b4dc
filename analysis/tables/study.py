"""One study's tables: its trials, and of each run the part that the trial asked for.

Reads `<root>/studies/<name>/{study.json, study.yaml, trials.parquet, transplants.parquet}` and `<root>/metrics/`. A
trial is the prefix of its run: evaluations at steps up to its horizon, training steps before it. Nothing is read before
it is needed, except what it takes to tell that a file can be read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from grokstudy.analysis.events import DEPTHS, find_events, measures, series_of, sites_of
from grokstudy.analysis.stops import carried, read_stops
from grokstudy.analysis.tables.parquet import Scan, Skipped, polars_schema
from grokstudy.analysis.tables.thresholds import equal_thresholds
from grokstudy.trainables.events import Event, events_of
from grokstudy.trainables.functions import Trainable
from grokstudy.trainables.schema import METRICS, TABLES, TRANSPLANT_COLUMNS, TRIAL_COLUMNS, Column
from grokstudy.trainables.storage.store import DamagedError, Store
from grokstudy.trainables.storage.study_dir import StudyDir

RESULT_STATES = ("done", "diverged", "stopped")
"""Trials that are results. A crash is not one: it is counted beside them and never becomes a number."""

NO_START = "no_start"
"""Trials whose source never came to the event that they start from: a result, too, but one without a run."""

LENGTH = "train.steps"


@dataclass(frozen=True)
class StudyTables:
    """Lazy frames of one study; `steps`, `evals` and `probes` carry trial_id, horizon, seed and the axes."""

    name: str
    spec: dict[str, Any]
    declared: Mapping[str, Event]
    """The events that are looked for, by name: those of study.json, or of a study file that was edited since."""
    text: str
    trials: pl.LazyFrame
    steps: pl.LazyFrame
    evals: pl.LazyFrame
    probes: pl.LazyFrame
    transplants: pl.DataFrame
    """States of one checkpoint of a run written into another; empty where nobody asked for them."""
    store: Store
    scans: tuple[Scan, ...] = ()
    damaged: tuple[Skipped, ...] = ()

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Files that were left out, or whose rows were not taken twice, as far as has been read."""
        parts = [skipped for scan in self.scans for _, skipped in sorted(scan.skipped.items())]
        return (*self.damaged, *parts)

    @property
    def warnings(self) -> list[str]:
        """One line per such file."""
        return [str(skipped) for skipped in self.skipped]

    @property
    def axes(self) -> list[str]:
        """The swept columns, without the seed."""
        return axes_of(self.spec)

    @cached_property
    def groups(self) -> list[str]:
        """Columns that tell groups apart: the axes, less the length where lengths are prefixes of one run."""
        others = [axis for axis in self.axes if axis != LENGTH]
        if LENGTH not in self.axes:
            return others
        runs = self.trials.group_by([*others, "seed"]).agg(pl.col("run_id").n_unique()).collect()
        return self.axes if runs["run_id"].max() not in (None, 1) else others

    @cached_property
    def independent(self) -> pl.LazyFrame:
        """Trials without those that are the beginning of a longer one: one per group and seed."""
        is_result = pl.col("state").is_in(RESULT_STATES)
        ordered = self.trials.sort(is_result, "horizon", "trial_id", descending=[True, True, False])
        return ordered.unique([*self.groups, "seed"], keep="first", maintain_order=True).sort("trial_id")

    @cached_property
    def results(self) -> pl.LazyFrame:
        """Independent trials that ended as a result: finished, diverged or stopped by the scheduler."""
        return self.independent.filter(pl.col("state").is_in(RESULT_STATES))

    @cached_property
    def series(self) -> pl.LazyFrame:
        """The metric of every event over training: trial_id, event, step, value, n. Computed once."""
        metrics = {event.metric for event in self.declared.values()}
        tidy = measures(self.evals, self._probed, metrics)
        return series_of(tidy, self.declared, self.trials).collect().lazy()

    @cached_property
    def sites(self) -> pl.LazyFrame:
        """The same at every depth that a summary can be read at (`analysis.events.SITES`). Computed once."""
        tidy = measures(self.evals, self._probed, {event.metric for event in self.declared.values()} - set(METRICS))
        return sites_of(tidy, self.declared, self.series).collect().lazy()

    @cached_property
    def _probed(self) -> pl.LazyFrame:
        """What events look at in the probes, and l*. Read once: `series` and `sites` both need it."""
        splits = sorted({split for event in self.declared.values() for split in event.split})
        is_depth = pl.col("probe").is_in(DEPTHS)
        wanted = pl.col("probe").is_in(sorted({event.metric for event in self.declared.values()}))
        rows = self.probes.filter(is_depth | (wanted & pl.col("split").is_in(splits)))
        return rows.select("trial_id", "probe", "split", "layer", "position", "step", "value", "n").collect().lazy()

    @cached_property
    def events(self) -> pl.LazyFrame:
        """Every event of every trial, with seed and axes. Computed once.

        Where a trial was stopped because an event was out of reach, it counts as followed to its horizon without it
        (`analysis.stops.carried`).
        """
        event_rows = find_events(self.series, self.declared, self.sites)
        return self._about(carried(event_rows, self.trials, self.stops)).collect().lazy()

    @cached_property
    def stops(self) -> pl.DataFrame:
        """Trials that a scheduler stopped, with the events that were out of reach (`analysis.stops.STOPS`)."""
        return read_stops(self.store, self.trials.filter(pl.col("state") == "stopped").collect())

    @property
    def onsets(self) -> pl.LazyFrame:
        """The same as the run saw them, who could not know where l* would go: there it has kept its checkpoints."""
        return self._about(find_events(self.series, self.declared))

    def repeated(self, store: Store) -> StudyTables:
        """The same trials with the rows that another root has of their runs, at the evaluations that both have."""
        scans, frames = _scans(store, self.spec, self.trials.collect())
        both = self.evals.select("trial_id", "step").unique()
        evals, probes = (frames[name].join(both, on=["trial_id", "step"], how="semi") for name in ("evals", "probes"))
        return dataclasses.replace(
            self, steps=frames["steps"], evals=evals, probes=probes, store=store, scans=scans, damaged=()
        )

    def until(self, step: int) -> StudyTables:
        """The same trials as if they had been trained to this step, or to their own end where that is before."""
        steps = self.steps.filter(pl.col("step") < step)
        evals, probes = (rows.filter(pl.col("step") <= step) for rows in (self.evals, self.probes))
        return dataclasses.replace(self, steps=steps, evals=evals, probes=probes)

    def _about(self, event_rows: pl.LazyFrame) -> pl.LazyFrame:
        about = self.trials.select("trial_id", "seed", pl.col("state").alias("trial_state"), *self.axes)
        return event_rows.join(about, on="trial_id", how="left").sort("trial_id", "event")

    @cached_property
    def thresholds(self) -> pl.DataFrame:
        """When the metrics of `generalised` and `circuit` cross equal thresholds. Computed once."""
        sides = {name: self.declared[name] for name in ("generalised", "circuit") if name in self.declared}
        return equal_thresholds(self.series.collect(), self.sites.collect(), sides)


def axes_of(spec: dict[str, Any]) -> list[str]:
    """The names of the swept columns, without the seed."""
    return [axis for axis in spec.get("axes", []) if axis != "seed"]


def load(root: str | Path, study: str) -> StudyTables:
    """Open a study; nothing of its metrics is read yet. Raises FileNotFoundError when there is none of that name."""
    store = Store(root)
    folder = StudyDir(store, study)
    spec = _spec(folder)
    trials, damaged = _trials(folder, axes_of(spec))
    transplants, torn = _transplants(folder)
    scans, frames = _scans(store, spec, trials)
    return StudyTables(
        study, spec, events_of(spec), folder.read_text(), trials.lazy(), **frames, transplants=transplants, store=store,
        scans=scans, damaged=(*damaged, *torn),
    )  # fmt: skip


def _scans(
    store: Store, spec: dict[str, Any], trials: pl.DataFrame
) -> tuple[tuple[Scan, ...], dict[str, pl.LazyFrame]]:
    """What reads the rows of these trials, and the frame of each table."""
    about = trials.select("run_id", "trial_id", "horizon", "seed", *axes_of(spec))
    scans = {table: Scan(store, table, columns, about) for table, columns in _columns(spec).items()}
    return tuple(scans.values()), {name: scan.frame for name, scan in scans.items()}


def _columns(spec: dict[str, Any]) -> dict[str, tuple[Column, ...]]:
    """The columns of each table, those of a training function from outside among them."""
    trainable = spec.get("base", {}).get("trainable")
    return dict(TABLES) if trainable is None else {name: Trainable.from_json(trainable).schema(name) for name in TABLES}


def _spec(folder: StudyDir) -> dict[str, Any]:
    spec = folder.read_spec()
    axes = spec.get("axes", [])
    try:
        events_of(spec)
        _columns(spec)
        if not isinstance(axes, list) or not all(isinstance(axis, str) for axis in axes):
            raise ValueError(f"axes: {axes!r} is no list of names")
    except (ValueError, TypeError, AttributeError) as error:
        raise DamagedError(f"{folder.store.path(folder.spec)}: cannot be read ({error}); run the study again") from None
    return spec


def _trials(folder: StudyDir, axes: Sequence[str]) -> tuple[pl.DataFrame, list[Skipped]]:
    """The trials, with every expected column; empty when there are none yet."""
    schema = polars_schema(TRIAL_COLUMNS)
    empty = pl.DataFrame(schema={**schema, **dict.fromkeys(axes, pl.String)})
    if not folder.has_trials():
        return empty, []
    try:
        rows = pl.DataFrame(folder.read_trials())
    except DamagedError:
        return empty, [Skipped(folder.trials, "torn or not Parquet; plan or launch the study again to rewrite it")]
    missing = [name for name in (*schema, *axes) if name not in rows.columns]
    return rows.with_columns(pl.lit(None).alias(name) for name in missing).cast(schema), []


def _transplants(folder: StudyDir) -> tuple[pl.DataFrame, list[Skipped]]:
    """The transplants between checkpoints; empty when there are none."""
    schema = polars_schema(TRANSPLANT_COLUMNS)
    try:
        rows = folder.find_transplants()
        return pl.DataFrame(schema=schema) if rows is None else pl.DataFrame(rows).cast(schema), []
    except DamagedError:
        reason = f"torn or not ours; grokstudy transplants {folder.name} writes it again"
        return pl.DataFrame(schema=schema), [Skipped(folder.transplants, reason)]
