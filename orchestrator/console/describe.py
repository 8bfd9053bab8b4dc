"""Plain text for people: plan, status and failures, readable at 80 columns."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from grokstudy.orchestrator.console.progress import duration
from grokstudy.orchestrator.console.tables import width
from grokstudy.orchestrator.execution.breaker import cause
from grokstudy.orchestrator.planning.cost import Plan
from grokstudy.orchestrator.runs.state import Ledger
from grokstudy.orchestrator.runs.trials import Run, Trial
from grokstudy.orchestrator.study.resolve import point_text
from grokstudy.orchestrator.study.study import Study

STATES = ("done", "diverged", "stopped", "failed", "interrupted", "missing")
NO_START = {
    "waiting": "waiting for the run to start from",
    "no_start": "without a start, which is a result",
}
MOST_STARTS = 20
"""Trials without a start that are spelled, of each kind."""


def plan_text(study: Study, plan: Plan, complete: bool) -> str:
    """The plan, one figure a line."""
    low, high = plan.parameters
    saved = plan.steps_asked - plan.steps_needed
    share = f" ({saved / plan.steps_asked:.0%} saved by sharing prefixes)" if saved else ""
    lines = {
        "trials": f"{plan.trials:,}" + ("" if complete else " so far; the search asks for more as values come in"),
        "runs": f"{plan.runs:,}, of which {plan.runs_todo:,} to train",
        "steps": f"{plan.steps_asked:,} asked, {plan.steps_needed:,} to be trained once{share}",
        "to do": f"{plan.steps_todo:,} steps",
        "parameters": f"{low:,}" if low == high else f"{low:,} to {high:,}",
        "time": _time(plan),
        "disk": f"{_bytes(plan.disk_bytes)}, of which {_bytes(plan.checkpoint_bytes)} checkpoints",
    }
    title = textwrap.fill(f"{study.name}: {study.hypothesis}".strip(), min(79, width() or 79))
    return "\n".join([title, *(f"  {k:<11} {v}" for k, v in lines.items())])


def _time(plan: Plan) -> str:
    if plan.steps_per_second is None:
        return "none"
    workers = "1 worker" if plan.workers == 1 else f"{plan.workers} workers"
    return f"about {duration(plan.seconds)} on this machine ({plan.steps_per_second:.3g} steps/s each, {workers})"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def status_text(study: Study, ledger: Ledger, driver: Mapping[str, Any] | None, label: Callable[[Run], str]) -> str:
    """Runs per state and regime."""
    groups: dict[str, Counter[str]] = {}
    for run_id, run in ledger.runs.items():
        groups.setdefault(label(run), Counter())[ledger.states[run_id].state] += 1
    shown = [state for state in STATES if any(tally[state] for tally in groups.values())]
    wide = max([len(name) for name in groups] + [6])
    lines = [f"{'regime':<{wide}}" + "".join(f"{state:>13}" for state in shown)]
    lines += [f"{name:<{wide}}" + "".join(f"{tally[state]:>13}" for state in shown) for name, tally in groups.items()]
    done = sum(state.step for state in ledger.states.values())
    asked = sum(run.config.train.steps for run in ledger.runs.values())
    lines.append(f"{done:,} of {asked:,} steps are safe in the root")
    states = ledger.states.values()
    lines += [f"damaged: {state.error}" for state in states if state.state == "interrupted" and state.error]
    if driver is not None:
        lines.append(f"being driven by process {driver['pid']} on {driver['host']} (study {driver['study']})")
    return "\n".join([f"{study.name}: {len(ledger.runs)} runs", *lines])


def starts_text(trials: list[Trial]) -> str:
    """Trials that cannot be trained because of their start, each with its source and what to do; empty for none."""
    lines = []
    for state, meaning in NO_START.items():
        mine = [trial for trial in trials if trial.no_start is not None and trial.no_start.state == state]
        if mine:
            lines.append(f"{len(mine)} trial{'' if len(mine) == 1 else 's'} {meaning}:")
            lines += [f"  {trial.trial_id} ({_point(trial)}): {_note(trial)}" for trial in mine[:MOST_STARTS]]
            lines += [f"  and {len(mine) - MOST_STARTS} more"] if len(mine) > MOST_STARTS else []
    return "\n".join(lines)


def starts_json(trials: list[Trial]) -> dict[str, list[dict[str, str]]]:
    """The same as plain values, under `without_start`; empty for none."""
    found = [{"trial_id": trial.trial_id, **vars(trial.no_start)} for trial in trials if trial.no_start is not None]
    return {"without_start": found} if found else {}


def _point(trial: Trial) -> str:
    return point_text(trial.point) or str(trial.start_from)


def _note(trial: Trial) -> str:
    return "" if trial.no_start is None else trial.no_start.note


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
    return "\n".join(lines)
