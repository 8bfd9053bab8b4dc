"""Plain text for people: plan, status and failures, readable at 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from grokstudy.orchestrator.console.tables import table, width
from grokstudy.orchestrator.console.watch import headline, rows
from grokstudy.orchestrator.planning.cost import Plan
from grokstudy.orchestrator.runs.siblings import Share
from grokstudy.orchestrator.runs.state import Ledger, cause
from grokstudy.orchestrator.runs.status import StudyStatus
from grokstudy.orchestrator.runs.trials import Trial
from grokstudy.orchestrator.search.space import plain
from grokstudy.orchestrator.study.fields import config_fields
from grokstudy.orchestrator.study.resolve import point_text
from grokstudy.orchestrator.study.study import Study
from grokstudy.orchestrator.units import bytes_text
from grokstudy.trainables.messages import printable
from grokstudy.trainables.options import fields_of
from grokstudy.trainables.plugins import code_of

NO_START = {
    "waiting": "waiting for the run to start from",
    "no_start": "without a start, which is a result",
}
TRAINED_ON = ("circuit_strength", "hop1_writer")
"""Measures that are scored on chains of which most may have been trained."""
EARLIER = (
    f"{TRAINED_ON[0]} and {TRAINED_ON[1]} count chains that were trained; for\n"
    f"{'':14}untrained ones base: {{eval: {{probes: [logit_lens, capacity, mediation]}}}}"
)
MOST_STARTS = 20
"""Trials without a start that are spelled, of each kind."""


def plan_text(study: Study, plan: Plan, complete: bool) -> str:
    """The plan, one figure a line."""
    saved = plan.steps_asked - plan.steps_needed
    share = f" ({saved / plan.steps_asked:.0%} saved by sharing prefixes)" if saved else ""
    measured = f", {plan.runs_measured:,} to measure anew" if plan.runs_measured else ""
    taken_over = f"; {plan.steps_replayed:,} to replay and {plan.steps_jumped:,} to jump over, trained before"
    lines = {
        "trials": f"{plan.trials:,}" + ("" if complete else " so far; the search asks for more as values come in"),
        "runs": f"{plan.runs:,}, of which {plan.runs_todo - plan.runs_measured:,} to train{measured}",
        "steps": f"{plan.steps_asked:,} asked, {plan.steps_needed:,} to be trained once{share}",
        "to do": f"{plan.steps_todo:,} steps{taken_over if plan.steps_replayed + plan.steps_jumped else ''}",
        **(
            {} if plan.parameters is None else {"parameters": " to ".join(f"{n:,}" for n in sorted({*plan.parameters}))}
        ),
        "time": _time(plan),
        "disk": f"{bytes_text(plan.disk_bytes)}, of which {bytes_text(plan.checkpoint_bytes)} checkpoints",
    }
    if study.resources.price:
        cost, hours = cost_json(study, plan), plan.seconds / 3600 * plan.workers
        known = plan.seconds and cost["cost_low"] is not None and cost["cost_high"] is not None
        interval = f" ({cost['cost_low']:.2f} to {cost['cost_high']:.2f})" if known else ""
        price = f"{hours:.1f} hours of workers at {study.resources.price:g}"
        lines["cost"] = f"{cost['cost']:.2f}{interval}, {price}"
    if any(event.metric in TRAINED_ON for event in study.events.values()):
        lines["circuit"] = EARLIER
    title = textwrap.fill(printable(f"{study.name}: {study.hypothesis}".strip()), min(79, width() or 79))
    return "\n".join([title, *(figure_line(name, text) for name, text in lines.items() if text)])


def figure_line(name: str, text: str) -> str:
    """A figure of the plan, broken below itself where a terminal is narrower."""
    limit, lines = width(), f"  {name:<11} {text}".splitlines()
    if limit is None:
        return "\n".join(lines)
    return "\n".join(textwrap.fill(line, max(limit - 1, 30), subsequent_indent=" " * 14) for line in lines)


def cost_json(study: Study, plan: Plan) -> dict[str, float | None]:
    """What the plan costs at `resources.price`: cost, cost_low, cost_high; null without a price, or an interval."""
    price = plan.workers * study.resources.price / 3600
    bounds = {"cost": plan.seconds, "cost_low": plan.seconds_low, "cost_high": plan.seconds_high}
    return {name: None if not price or bound is None else price * bound for name, bound in bounds.items()}


def code_text(study: Study) -> str:
    """What code from outside the study names, its files, and the options that it declares; empty without any."""
    lines: list[str] = []
    for word, name in study.code.items():
        code = code_of(name)
        lines.append(f"  {'code' if not lines else '':<11} {word} ({code.digest}: {', '.join(sorted(code.files))})")
        lines += [f"{'':14}  {key} = {value}: {doc}" for key, value, doc in _own_options(study, name)]
    return printable("\n".join(["", *lines])) if lines else ""


def code_json(study: Study, orphaned: list[str]) -> dict[str, Any]:
    """The same as plain values, under `code`, with the runs that an edit orphans; empty without any."""
    named = {
        word: {"name": name, "files": sorted(code_of(name).files),
               "options": {key: value for key, value, _ in _own_options(study, name)}}
        for word, name in study.code.items()
    }  # fmt: skip
    return {"code": named, "orphaned": orphaned} if named else {}


def _own_options(study: Study, name: str) -> list[tuple[str, Any, str]]:
    """Key, value and meaning of each option that code from outside declares for the study."""
    if name == study.search_kind:
        values = asdict(study.search)
        return [
            (f"search.{key}", values[field.attribute], field.doc)
            for key, field in fields_of(type(study.search)).items()
        ]
    section = {study.task: "data.", study.function: "own."}.get(name)
    if section is None:
        return []
    varied = {key for axis in study.axes for value in axis.corners() for key in axis.settings(value)}
    settings = plain({**study.settings, **study.derived})
    return [
        (key, "varied" if key in varied else settings.get(key, field.default), field.doc)
        for key, field in config_fields(study.task, study.function).items()
        if key.startswith(section)
    ]


def measures_text(shares: list[Share]) -> str:
    """How many runs are only measured, and how: one share for each."""
    total = sum(shares, Share())
    runs = "1 run" if len(shares) == 1 else f"{len(shares):,} runs"
    return f"{runs} to measure anew ({total.replayed:,} steps to replay, {total.jumped:,} to jump over)"


def untrained_text(lacking: Mapping[str, int]) -> str:
    """Runs that cannot be measured, with the steps that nobody has trained."""
    more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
    runs = f"{len(lacking)} run{'' if len(lacking) == 1 else 's'} ({', '.join([*lacking][:5])}{more})"
    return f"{runs} cannot be measured before {sum(lacking.values()):,} steps are trained, which grokstudy run does"


def _time(plan: Plan) -> str:
    if not plan.seconds:
        return "none"
    speed = "" if plan.steps_per_second is None else f", {plan.steps_per_second:.3g} steps/s each"
    workers = "1 worker" if plan.workers == 1 else f"{plan.workers} workers"
    return f"about {plan.time} on {workers} of this machine{speed}"


def status_text(study: Study, now: StudyStatus, driver: Mapping[str, Any] | None) -> str:
    """One look of `watch`, with what is damaged and who drives the root."""
    lines = [f"{study.name}: {headline(now)}", table(rows(now), width())]
    errors = [run.state.error for run in now.runs if run.state.state == "interrupted" and run.state.error]
    lines += [f"damaged: {error}" for error in errors]
    if driver is not None:
        lines.append(f"being driven by process {driver['pid']} on {driver['host']} (study {driver['study']})")
    return printable("\n".join(lines))


def starts_text(trials: list[Trial]) -> str:
    """Trials that cannot be trained because of their start, each with its source and what to do; empty for none."""
    lines = []
    for state, meaning in NO_START.items():
        starts = [(trial, trial.no_start) for trial in trials if trial.no_start is not None]
        waiting = [(trial, no_start) for trial, no_start in starts if no_start.state == state]
        if waiting:
            lines.append(f"{len(waiting)} trial{'' if len(waiting) == 1 else 's'} {meaning}:")
            for trial, no_start in waiting[:MOST_STARTS]:
                place = point_text(trial.point) or str(trial.start_from)
                lines.append(f"  {trial.trial_id} ({place}): {no_start.note}")
            lines += [f"  and {len(waiting) - MOST_STARTS} more"] if len(waiting) > MOST_STARTS else []
    return printable("\n".join(lines))


def starts_json(trials: list[Trial]) -> dict[str, list[dict[str, str]]]:
    """The same as plain values, under `without_start`; empty for none."""
    starts = [{"trial_id": trial.trial_id, **vars(trial.no_start)} for trial in trials if trial.no_start is not None]
    return {"without_start": starts} if starts else {}


def failures_text(ledger: Ledger) -> str:
    """Failed runs by cause, the most frequent first, each cause with one traceback."""
    causes: dict[str, list[str]] = {}
    for run_id, state in ledger.states.items():
        if state.state == "failed":
            causes.setdefault(cause(state.error, state.traceback), []).append(run_id)
    count = sum(map(len, causes.values()))
    lines = [f"{count} run{'' if count == 1 else 's'} failed; retry with --retry-failed"]
    for run_ids in sorted(causes.values(), key=len, reverse=True):
        state = ledger.states[run_ids[0]]
        more = f" and {len(run_ids) - 5} more" if len(run_ids) > 5 else ""
        lines.append(f"{len(run_ids)} x {state.error or 'no message'}\n  runs {', '.join(run_ids[:5])}{more}")
        if state.traceback:
            lines.append("  " + state.traceback.strip().replace("\n", "\n  "))
    return printable("\n".join(lines))
