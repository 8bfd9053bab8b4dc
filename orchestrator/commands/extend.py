"""`grokstudy extend`: train some runs of a study for longer, from their last checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokstudy.orchestrator.commands.common import (
    CodeAsBefore,
    Cpu,
    Gpu,
    Json,
    Local,
    Quiet,
    Root,
    Settings,
    StudyFile,
    Workers,
    driving,
    read_study,
    say,
    stop,
)
from grokstudy.orchestrator.commands.report import report
from grokstudy.orchestrator.commands.run import run

if TYPE_CHECKING:
    from grokstudy.orchestrator.runs.trials import Trial
    from grokstudy.orchestrator.study.study import Study
    from grokstudy.trainables.storage.store import Store

Length = Annotated[int | None, typer.Option("--steps", min=1, help="New training length.")]
Condition = Annotated[
    str | None, typer.Option("--where", help="Which trials, in SQL, e.g. \"event = 'circuit' AND state = 'censored'\".")
]
UntilEvent = Annotated[str | None, typer.Option("--until-event", help="Double the length until this event is reached.")]
MaxSteps = Annotated[int | None, typer.Option("--max-steps", min=1, help="Longest length with --until-event.")]


def extend(
    study: StudyFile,
    root: Root = "results",
    steps: Length = None,
    where: Condition = None,
    until_event: UntilEvent = None,
    max_steps: MaxSteps = None,
    cpu: Cpu = None,
    gpu: Gpu = None,
    workers: Workers = None,
    settings: Settings = None,
    local: Local = None,
    code_as_before: CodeAsBefore = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Go on with trained runs: to --steps, or with --until-event to twice the length until it comes or --max-steps."""
    from grokstudy.orchestrator.execution.driver import study_state
    from grokstudy.orchestrator.runs.study_dir import extensions
    from grokstudy.trainables.storage.store import Store

    if (steps is None) == (until_event is None) or (until_event is None) != (max_steps is None):
        stop("say how far: either --steps N, or --until-event NAME with --max-steps N")
    read = read_study(study, settings=settings, code_of_root=root if code_as_before else None)
    store, silent = Store(root), quiet or as_json
    how: dict[str, Any] = {
        "cpu": cpu, "gpu": gpu, "workers": workers, "local": local, "settings": settings,
        "code_as_before": code_as_before,
    }  # fmt: skip
    if extensions(store, read.name) and not study_state(read, store).idle():  # an extension that was cut short
        _go_on(read.path, root, quiet=silent, **how)
    while lengths := _ask(read, store, steps, where, until_event, max_steps):
        if not silent:
            say(f"{read.name}: {len(lengths)} runs to {max(lengths.values()):,} steps")
        if until_event is None:
            break
        _go_on(read.path, root, quiet=silent, **how)
    if until_event is None:
        run(read.path, root, as_json=as_json, quiet=quiet, **how)
    if not silent:
        say(f"{read.name}: every run has reached {until_event}, or {max_steps:,} steps")
    report(read.name, root, code_as_before=code_as_before, as_json=as_json, quiet=quiet)


def _go_on(study: Path, root: str, **how: Any) -> None:
    """Train, and come back only if all went well."""
    try:
        run(study, root, report=False, **how)
    except typer.Exit as ended:
        if ended.exit_code:
            raise


def _ask(
    study: Study, store: Store, steps: int | None, where: str | None, event: str | None, most: int | None
) -> dict[str, int]:
    """Ask for longer runs; returns their new lengths."""
    from grokstudy.orchestrator.execution.driver import study_state
    from grokstudy.orchestrator.runs.study_dir import extend as ask
    from grokstudy.orchestrator.runs.study_dir import write_study

    rows = [
        row
        for row in _rows(study, store, where)
        if event is None or (row["event"], row["state"]) == (event, "censored")
    ]
    lengths = {row["run_id"]: steps or min(2 * int(row["trial_horizon"]), most or 0) for row in rows}
    longer = {row["run_id"]: lengths[row["run_id"]] for row in rows if lengths[row["run_id"]] > row["trial_horizon"]}
    if not longer:
        return {}
    with driving(store, study.name):
        _refuse_if_length_matters(study_state(study, store).trials, longer)
        for length in sorted(set(longer.values())):
            ask(store, study.name, [run_id for run_id, wanted in longer.items() if wanted == length], length)
        state = study_state(study, store)
        write_study(store, study, state.trials, state.ledger)
    return longer


def _refuse_if_length_matters(trials: list[Trial], longer: dict[str, int]) -> None:
    for trial in trials:
        if trial.config.run_id in longer and not trial.config.prefix_stable:
            stop(
                f"{trial.trial_id}: its learning rate depends on the length (optim.schedule: "
                f"{trial.config.optim.schedule}), so it cannot be extended; change train.steps and run the study"
            )


def _rows(study: Study, store: Store, where: str | None) -> list[dict[str, Any]]:
    """Per run and event, its longest trial that is done and meets the condition."""
    import polars as pl

    from grokstudy.analysis.query import where as rows_where
    from grokstudy.orchestrator.planning.extensions import event_rows, tables_of

    tables = tables_of(study, store)
    rows = event_rows(tables) if tables else []
    if not rows:
        stop(f"{store.uri}: no run of {study.name} is done; run the study first")
    if where is None:
        return rows
    try:
        return rows_where(pl.DataFrame(rows, infer_schema_length=None), where).to_dicts()
    except ValueError as error:
        stop(f"--where: {error}")
