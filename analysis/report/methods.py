"""How the numbers of a study came about, in one line: task, model, length, seeds, machines, hours against those
foretold, commit, audit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from grokstudy.analysis.labels import steps_text
from grokstudy.analysis.tables.study import StudyTables
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import DamagedError, Store
from grokstudy.trainables.storage.study_dir import StudyDir

EXECUTORS = {"ray": "Ray Tune", "local": "workers without Ray"}
WHOLE = 0.995
"""Of the run-steps: where a scheduler ended runs, fewer were trained than foretold, which is said."""
LONG_S = 2 * 3600
"""From so many seconds on, hours are told, not minutes."""
FORECAST = ("seconds", "seconds_low", "seconds_high", "run_steps")
READERS = 16
"""Files that are read at a time: a root may be far away."""


def methods(store: Store, tables: StudyTables, versions: Mapping[str, Any]) -> str:
    """Task, model, steps, seeds, hosts, hours, commit, audit, as far as the root says; hours are of whole runs."""
    runs = tables.trials.select("run_id").drop_nulls().unique(maintain_order=True).collect()["run_id"].to_list()
    with ThreadPoolExecutor(READERS) as pool:
        started = [about for about in pool.map(lambda run: _read(store, run, "run.json"), runs) if about]
        ended = [done for done in pool.map(lambda run: _read(store, run, "DONE.json"), runs) if done]
    seeds = tables.trials.select("seed").unique().collect().height
    parts = [
        *_trained([about.get("config") or {} for about in started]),
        f"{len(runs)} runs with {seeds} seeds" if seeds != 1 else f"{len(runs)} runs with one seed",
        _machines(started),
        _hours(done.get("seconds") for done in ended),
        _foretold(store, tables.name),
        f"commit {str(versions['commit'])[:12]}" if versions.get("commit") else "",
        _audited(store, tables.name, {*runs}),
    ]
    return "; ".join(part for part in parts if part)


def _read(store: Store, run: str, name: str) -> dict[str, Any] | None:
    try:
        return RunDir(store, run).read(name)
    except (OSError, ValueError):
        return None  # verify says what is wrong with it


def _trained(configs: list[dict[str, Any]]) -> list[str]:
    """Task, model and length; a setting that differs between runs as its values in order."""
    sections = {name: [config[name] for config in configs if isinstance(config.get(name), dict)]
                for name in ("model", "train")}  # fmt: skip
    if not configs or not all(sections.values()):
        return []

    def values(section: str, option: str, text: Any = str) -> str:
        distinct_values = {part[option] for part in sections[section] if part.get(option) is not None}
        return " or ".join(text(value) for value in sorted(distinct_values))

    tasks = " or ".join(sorted({str(config.get("task")) for config in configs}))
    blocks = f"{values('model', 'layers')} layers, {values('model', 'loops')} times"
    model = f"{values('model', 'family')} of width {values('model', 'width')} ({blocks})"
    return [
        f"task {tasks}",
        model,
        f"{values('train', 'steps', steps_text)} steps of {values('train', 'batch')} examples",
    ]


def _machines(started: list[dict[str, Any]]) -> str:
    hosts = sorted({str(about["host"]) for about in started if about.get("host")})
    torch = sorted({str(about["versions"]["torch"]) for about in started if (about.get("versions") or {}).get("torch")})
    names = hosts[0] if len(hosts) == 1 else f"{len(hosts)} machines"
    software = f" with torch {', '.join(torch)}" if torch else ""
    executors = {EXECUTORS[about["executor"]] for about in started if about.get("executor") in EXECUTORS}
    ways = f" by {' and '.join(sorted(executors))}" if executors else ""
    return f"trained on {names}{ways}{software}" if hosts else ""


def _hours(seconds: Iterable[float | None]) -> str:
    known = [value for value in seconds if value is not None]
    total = sum(known)
    return f"{total / 3600:.1f} run-hours" if total >= 360 else f"{total / 60:.1f} run-minutes" if known else ""


def _foretold(store: Store, study: str) -> str:
    """What launches that ended were foretold to take, and what they took; how many were cut short."""
    try:
        launches = (store.read_json(StudyDir(store, study).launches) or {}).get("launches", [])
        ended = [launch for launch in launches if launch["ended"] and not launch["ended"]["cut_short"]]
        cut = len(launches) - len(ended)
        words = [_compared([(launch["foretold"], launch["ended"]) for launch in ended])] if ended else []
        words += [f"{cut} launch{'es' if cut > 1 else ''} cut short"] if cut else []
        return ", ".join(words)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError):
        return ""  # torn or foreign


def _compared(launches: list[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> str:
    """Forecasts and ends, summed, in one unit. Where fewer run-steps were carried out than foretold, it says so."""
    told = {key: [forecast[key] for forecast, _ in launches] for key in FORECAST}
    steps, took = (sum(end[key] for _, end in launches) for key in ("run_steps", "seconds"))
    unit, size = ("h", 3600) if sum(told["seconds"]) >= LONG_S else ("min", 60)
    lows, highs = told["seconds_low"], told["seconds_high"]
    interval = "" if None in (*lows, *highs) else f" ({sum(lows) / size:.1f} to {sum(highs) / size:.1f})"
    share = steps / sum(told["run_steps"])
    fewer = "" if share > WHOLE else f" for {share:.0%} of the run-steps"
    return f"foretold {sum(told['seconds']) / size:.1f} {unit}{interval}, took {took / size:.1f} {unit}{fewer}"


def _audited(store: Store, study: str, runs: set[str]) -> str:
    """What came of the last audit; nothing where it was of runs that the study asks for no more."""
    try:
        audit = StudyDir(store, study).find_audit() or {"label": None, "runs": []}
    except (DamagedError, OSError):
        return ""  # the next audit writes it again
    of = {str(row["run_id"]) for row in audit["runs"]}
    known = audit["label"] and of and of <= runs
    return f"audited: {audit['label']} ({len(of)} of {len(runs)} runs trained again)" if known else ""
