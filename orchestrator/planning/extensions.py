"""Events that some runs ended without, and the next length at which they may come: how many runs, what it costs.

The next length is twice the longest that was tried, as `grokstudy extend --until-event` doubles. Whether the event then
comes is not known: `nearest` says how close the best of these runs is.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokstudy.orchestrator.planning.cost import Pace, makespan
from grokstudy.orchestrator.study.study import Study
from grokstudy.orchestrator.units import duration
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.events import Event
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import StudyDir

if TYPE_CHECKING:
    from grokstudy.analysis.tables.study import StudyTables


@dataclass(frozen=True)
class Extension:
    """What to do about one event."""

    event: str
    censored: int
    """Runs that ended without it,"""
    runs: int
    """of so many that were followed,"""
    followed_to: int
    """by this step at most."""
    nearest: float | None
    """Best last value of its metric among them,"""
    asked: str
    """and what is asked of it."""
    to: int
    """Length worth trying, in steps."""
    fixed: int
    """Censored runs that cannot be extended: their learning rate depends on the length."""
    run_steps: int
    seconds: float
    command: str

    def __str__(self) -> str:
        lines = [f"{self.event}: not in {self.censored} of {self.runs} runs by step {self.followed_to:,}"]
        if self.nearest is not None:
            lines.append(f"the nearest ended at {self.nearest:.2f} (asked: {self.asked})")
        if self.fixed:
            lines.append(f"{self.fixed} cannot be extended: their learning rate depends on the length")
        if self.run_steps:
            cost = f"{self.run_steps:,} run-steps, about {duration(self.seconds)}"
            lines += [f"to {self.to:,} steps ({cost}):", self.command]
        return "\n    ".join(lines)


def tables_of(study: Study, store: Store) -> StudyTables | None:
    """The study's tables, with the events of the file, so that an edited one is answered as the file says it.

    None for a study without tables.
    """
    from grokstudy.analysis.tables.study import load

    if not StudyDir(store, study.name).has_trials():
        return None
    return dataclasses.replace(load(store.uri, study.name), declared=dict(study.events))


def event_rows(tables: StudyTables) -> list[dict[str, Any]]:
    """Per run and event, its longest trial that is done: trial_horizon, axes, state, last value."""
    import polars as pl

    about = tables.trials.select("trial_id", "run_id", trial_horizon="horizon")
    last = tables.series.drop_nulls("value").sort("step").group_by("trial_id", "event").agg(last=pl.last("value"))
    done = tables.events.filter(pl.col("trial_state").is_in(("done", "stopped"))).join(about, on="trial_id")
    rows = done.join(last, on=["trial_id", "event"], how="left").sort("trial_horizon", "trial_id").collect().to_dicts()
    return list({(row["run_id"], row["event"]): row for row in rows}.values())


def extensions_of(
    rows: Iterable[Mapping[str, Any]], events: Mapping[str, Event], configs: Mapping[str, RunConfig], words: list[str],
    pace: Pace, workers: int,
) -> list[Extension]:  # fmt: skip
    """One per event that is censored somewhere, the cheapest first. `rows`: a run's longest trial per event.

    `words` are those of the command after the study: its root, if that is not the default.
    """
    by_event: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_event.setdefault(row["event"], []).append(row)
    known = {name: (event, by_event.get(name, [])) for name, event in events.items()}
    extensions = [
        _extension(name, *of, configs, words, pace, workers) for name, of in known.items() if _censored(of[1])
    ]
    return sorted(extensions, key=lambda extension: (not extension.run_steps, extension.run_steps))


def _censored(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["state"] == "censored"]


def _extension(
    name: str, event: Event, rows: list[Mapping[str, Any]], configs: Mapping[str, RunConfig], words: list[str],
    pace: Pace, workers: int,
) -> Extension:  # fmt: skip
    censored = _censored(rows)
    lasts = [row["last"] for row in censored if row["last"] is not None]
    left = [row for row in censored if row["run_id"] in configs and configs[row["run_id"]].prefix_stable]
    longest = max(int(row["trial_horizon"]) for row in left or censored)
    work = [(configs[row["run_id"]], int(row["trial_horizon"]), 2 * longest) for row in left]
    nearest = (max if event.rising else min)(lasts) if lasts else None
    return Extension(
        event=name, censored=len(censored), runs=len(rows), followed_to=longest, nearest=nearest,
        asked=event.bound, to=2 * longest,
        fixed=len(censored) - len(left), run_steps=sum(stop - start for _, start, stop in work),
        seconds=makespan((pace.seconds(stretch).mean for stretch in work), workers),
        command=shlex.join(["grokstudy", "extend", *words, "--until-event", name, "--max-steps", str(2 * longest)]),
    )  # fmt: skip


def extensions_text(extensions: list[Extension]) -> str:
    """The extensions in words, below a plan."""
    if not extensions:
        return ""
    return "\n".join(["", "censored, cheapest to extend first:", *(f"  {extension}" for extension in extensions)])
