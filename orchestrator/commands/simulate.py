"""`grokstudy simulate`."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokstudy.orchestrator.commands.common import Json, Root, StudyFile, emit, existing, read_study, say, stop

if TYPE_CHECKING:
    from grokstudy.orchestrator.execution.simulator import Outcome

Rules = Annotated[
    list[str] | None,
    typer.Option("--scheduler", help="Scheduler, with options as in 'futility, chance: 0.1'; may be given again."),
]
Searches = Annotated[
    list[str] | None, typer.Option("--search", help="Searcher, as in 'tpe, trials: 20'; may be given again.")
]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Simulations of each policy.")]
AtOnce = Annotated[int, typer.Option("--workers", min=1, help="Workers that train at a time.")]
Picture = Annotated[
    Path | None, typer.Option("--figure", help="Draw what each policy spends and finds: a file.svg, .pdf or .png.")
]
EventName = Annotated[str, typer.Option("--event", help="The event that is to be found.")]


def simulate(
    study: StudyFile,
    root: Root = "results",
    scheduler: Rules = None,
    search: Searches = None,
    seeds: Seeds = 20,
    workers: AtOnce = 4,
    event: EventName = "generalised",
    figure: Picture = None,
    as_json: Json = False,
) -> None:
    """Try searchers and schedulers on the curves that a study has recorded: steps spent, events found and missed."""
    read, store = read_study(study), existing(root)
    from grokstudy.orchestrator.console.tables import table, width
    from grokstudy.orchestrator.execution.simulator import Policy, recorded_trials
    from grokstudy.orchestrator.execution.simulator import simulate as play
    from grokstudy.orchestrator.schedulers import SCHEDULERS
    from grokstudy.orchestrator.search import SEARCHERS

    if event not in read.events:
        stop(f"--event {event}: is no event of {read.name}; its events: {', '.join(read.events)}")
    if figure is not None and figure.suffix not in (".svg", ".pdf", ".png"):
        stop(f"--figure {figure}: ends with {figure.suffix or 'no suffix'}; known: .svg, .pdf, .png")
    task = read.task
    rules = [_kind(text, "scheduler", SCHEDULERS, task) for text in scheduler or ["fifo"]]
    searches = [_kind(text, "search", SEARCHERS, task) for text in search or ["grid"]]
    try:
        recorded = recorded_trials(read, store)
    except FileNotFoundError as error:
        stop(str(error))
    if not recorded:
        stop(f"{store.uri}: no trial of {read.name} was trained to its end; run the study first")
    rows, shares = [], []
    reach = sum(event in trial.reached for trial in recorded)
    whole = sum(trial.horizon for trial in recorded)
    for searcher in searches:
        for rule in rules:
            policy, began = Policy(searcher, rule), time.monotonic()
            outcomes = [play(read, recorded, policy, event, seed, workers) for seed in range(seeds)]
            rows.append(_row(policy.name, outcomes, time.monotonic() - began))
            shares.append({"policy": policy.name, **_shares(outcomes, whole, reach)})
    if figure is not None:
        _draw(figure, shares, event)
    if as_json:
        emit(json.dumps(rows, indent=1))
        return
    note = f"{len(recorded)} recorded runs, {whole:,} run-steps, {reach} reach {event}; medians over {seeds} seeds"
    say(f"{read.name}: {note}\n{table([_words(row, whole) for row in rows], width())}")


def _kind(text: str, section: str, kinds: Any, task: str) -> tuple[str, Any]:
    """Read `name` or `name, option: value, ...`."""
    import yaml

    from grokstudy.orchestrator.study.read_sections import on_headline
    from grokstudy.trainables.options import fields_of

    name, _, rest = text.partition(",")
    try:
        given = yaml.safe_load("{" + rest + "}") or {}
    except yaml.YAMLError:
        stop(f"--{section} {text!r}: is not 'name, option: value, ...'")
    if name.strip() not in kinds:
        stop(f"--{section} {name.strip()}: is unknown; known: {', '.join(kinds)}")
    options = kinds[name.strip()].Options
    for key, value in given.items():
        field = fields_of(options).get(key)
        if field is None:
            stop(f"--{section} {text!r}: {key} is unknown; known: {', '.join(fields_of(options)) or 'none'}")
        given[key] = tuple(value) if isinstance(value, list) else value
        if field.block is not None:
            given[key] = field.block(**value) if isinstance(value, dict) else stop(f"--{section}: {key} is a mapping")
        elif misfit := field.misfit(given[key]):
            stop(f"--{section} {text!r}: {key} {misfit}")
    return name.strip(), on_headline(options(**given), task)


def _row(policy: str, outcomes: list[Outcome], seconds: float) -> dict[str, Any]:
    """Medians over the seeds, and how much faster than training it was."""
    values: dict[str, Any] = {"policy": policy}
    for name in asdict(outcomes[0]):
        numbers = [getattr(outcome, name) for outcome in outcomes]
        known = [number for number in numbers if number is not None]
        values[name] = statistics.median(known) if known else None
    real = sum(outcome.seconds for outcome in outcomes)
    return {**values, "times_real": real / seconds if real and seconds else None}


def _shares(outcomes: list[Outcome], whole: int, reach: int) -> dict[str, float | None]:
    """Steps spent and events found, as shares of what was recorded: median, least and most over the seeds."""
    spent, found = ([getattr(outcome, name) for outcome in outcomes] for name in ("run_steps", "found"))
    values: dict[str, float | None] = {}
    for name, numbers, of in (("spent", spent, whole), ("found", found, reach)):
        for end, value in (("", statistics.median(numbers)), ("_low", min(numbers)), ("_high", max(numbers))):
            values[name + end] = value / of if of else None
    return values


def _draw(path: Path, shares: list[dict[str, Any]], event: str) -> None:
    from grokstudy.analysis.figures.policies import policies
    from grokstudy.analysis.report.images import pictures

    drawn = pictures(policies(shares, event), "grokstudy simulate with --figure")
    try:
        path.write_bytes(drawn[f"policies{path.suffix}"])
    except OSError as error:
        stop(f"--figure {path}: cannot be written ({error.strerror})")
    say(f"figure: {path}", err=True)


def _words(row: dict[str, Any], whole: int) -> dict[str, str]:
    error, faster = row["boundary_error"], row["times_real"]
    return {
        "policy": row["policy"],
        "runs": f"{row['runs']:g}",
        "run-steps": f"{row['run_steps']:,.0f} ({row['run_steps'] / whole:.0%})",
        "found": f"{row['found']:g}",
        "killed": f"{row['killed']:g}",
        "never tried": f"{row['untried']:g}",
        "boundary wrong": "not defined" if error is None else f"{error:.1%}",
        "times real": "not known" if faster is None else f"{faster:,.0f}",
    }
