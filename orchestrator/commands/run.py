"""`grokstudy run`: train what is missing, then answer."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from grokstudy.orchestrator.commands.common import (
    DONE,
    INTERRUPTED,
    SOME_FAILED,
    Cpu,
    First,
    Gpu,
    Json,
    Local,
    Quiet,
    Root,
    Steps,
    StudyFile,
    Workers,
    emit,
    read_study,
    say,
    stop,
    warn_of,
)
from grokstudy.orchestrator.commands.ends import heed_signals, leave_at_once
from grokstudy.orchestrator.commands.mlflow import try_to_sync
from grokstudy.orchestrator.commands.report import draw_report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokstudy.orchestrator.execution.budget import Budget
    from grokstudy.orchestrator.execution.driver import Driver, StudyState
    from grokstudy.orchestrator.runs.trials import Run
    from grokstudy.orchestrator.study.study import Study
    from grokstudy.trainables.storage.store import Store

RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Train failed runs again, too.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask when the study file contradicts runs trained before.")]
MaxHours = Annotated[
    float | None,
    typer.Option("--max-hours", min=0.0, help="Begin nothing more after so many hours; what trains goes on."),
]
MaxCost = Annotated[
    float | None,
    typer.Option("--max-cost", min=0.0, help="The same once workers x hours x resources.price come to so much."),
]
Report = Annotated[bool, typer.Option("--report/--no-report", help="Answer and draw the report at the end.")]


def run(
    study: StudyFile,
    root: Root = "results",
    steps: Steps = None,
    first: First = None,
    cpu: Cpu = None,
    gpu: Gpu = None,
    workers: Workers = None,
    local: Local = None,
    retry_failed: RetryFailed = False,
    report: Report = True,
    yes: Yes = False,
    as_json: Json = False,
    quiet: Quiet = False,
    max_hours: MaxHours = None,
    max_cost: MaxCost = None,
) -> None:
    """Train what is missing, then answer the study's question. The same command resumes after an interruption."""
    limits = (max_hours, max_cost)
    settle(
        study, root, cpu, gpu, workers, local, report, yes, as_json, quiet, retry_failed, steps, first, limits=limits
    )


def settle(
    study: Path, root: str, cpu: float | None, gpu: float | None, workers: int | None, local: bool | None, report: bool,
    yes: bool, as_json: bool, quiet: bool, retry_failed: bool = False, steps: int | None = None,
    first: int | None = None, only_measure: bool = False, limits: tuple[float | None, float | None] = (None, None),
) -> None:  # fmt: skip
    """What the command does, and `measure` with it, which leaves out what would have to be trained."""
    from grokstudy.orchestrator.execution.driver import Cut, Driver
    from grokstudy.orchestrator.execution.simulator import late_warning
    from grokstudy.orchestrator.runs.study_dir import write_study
    from grokstudy.trainables.storage.store import Store

    heed_signals()
    quiet = quiet or as_json
    with _told_when_interrupted("nothing was trained yet"):
        read, store = read_study(study, cpu, gpu, workers), Store(root)
        driver = Driver(read, store, Cut(steps, first))
        before = driver.state()
        _ask_if_contradicted(read, store, before, yes)
        if before.idle(retry_failed):
            if _is_answered(read, store, before) and not before.without_start:
                _say_nothing_to_do(read, store, before, quiet)
            else:
                write_study(store, read, before.trials, before.ledger)
                _conclude(read, store, before, report, quiet)
            _end(read, store, before, as_json)
        if only_measure:
            _say_what_is_untrained(driver, before)
    if warning := late_warning(read, store):
        say(f"warning: {warning}", err=True)
    with _told_when_interrupted("at once, without a last checkpoint"):
        _drive(driver, before, local, retry_failed, quiet, only_measure, _budget(read, *limits))
        after = driver.state()
    if only_measure and driver.untrained(after.ledger):
        raise typer.Exit(INTERRUPTED)
    _conclude(read, store, after, report, quiet)
    _end(read, store, after, as_json)


def _budget(study: Study, hours: float | None, cost: float | None) -> Budget:
    """What this command may take."""
    from grokstudy.orchestrator.execution.budget import Budget

    if cost is not None and not study.resources.price:
        stop("--max-cost needs a price: resources: {price: 0.9} in the study file, of an hour of one worker")
    return Budget(hours, cost, study.resources.price)


def _say_what_is_untrained(driver: Driver, before: StudyState) -> None:
    """Name the runs that cannot be measured, and stop where none can."""
    from grokstudy.orchestrator.console.describe import untrained_text

    lacking = driver.untrained(before.ledger)
    text = f"{driver.study.name}: {untrained_text(lacking)}"
    if len(lacking) == len(before.ledger.unsettled()):
        stop(text)
    if lacking:
        say(text, err=True)


def _drive(
    driver: Driver, before: StudyState, local: bool | None, retry_failed: bool, quiet: bool, only_measure: bool,
    budget: Budget,
) -> None:  # fmt: skip
    """Train, or only measure, and say what ended that before its time."""
    from grokstudy.orchestrator.execution.breaker import HaltedError
    from grokstudy.orchestrator.execution.executor import RayLostError
    from grokstudy.orchestrator.execution.lock import RootBusyError, driver_lock
    from grokstudy.orchestrator.execution.resources import ResourcesError
    from grokstudy.trainables.storage.store import RefusedError, StorageError

    try:
        with driver_lock(driver.store, driver.study.name):
            _train(driver, before, local, retry_failed, quiet, only_measure, budget)
    except (RootBusyError, ResourcesError, RefusedError) as error:
        stop(str(error))
    except (HaltedError, StorageError) as error:
        say(str(error), err=True)
        if isinstance(error, RayLostError):
            leave_at_once(str(error))
    except KeyboardInterrupt:
        say("stopping", err=True)


@contextlib.contextmanager
def _told_when_interrupted(what: str, again: str | None = None) -> Iterator[None]:
    """Ctrl-C here ends the command at once, with a word: what is done, and the command that goes on from there."""
    try:
        yield
    except KeyboardInterrupt:
        say(_resume_text(what, again), err=True)
        raise typer.Exit(INTERRUPTED) from None


def _resume_text(what: str, again: str | None = None) -> str:
    """What was reached, and the command that goes on from there: the same one, unless another is named."""
    command = again or f"grokstudy {shlex.join(sys.argv[1:])}"
    return f"interrupted ({what}). Nothing is lost; resume with:\n  {command}"


def _ask_if_contradicted(study: Study, store: Store, before: StudyState, yes: bool) -> None:
    """Show what a changed study file drops, and go on only when told to."""
    from grokstudy.orchestrator.runs.changes import contradiction

    change = None if yes else contradiction(store, study, before.trials)
    if change is None:
        return
    say(str(change), err=True)
    if not sys.stdin.isatty():  # nobody is there to answer
        stop("To go on with the changed file, add --yes; to keep both, give the changed file another name.")
    try:
        typer.confirm("Go on with the changed file?", abort=True, err=True)
    except typer.Abort:
        stop("nothing was changed")


def _train(
    driver: Driver, before: StudyState, local: bool | None, retry_failed: bool, quiet: bool, only_measure: bool,
    budget: Budget,
) -> None:  # fmt: skip
    from rich.console import Console

    from grokstudy.orchestrator.console.describe import measures_text
    from grokstudy.orchestrator.console.progress import Board, Display
    from grokstudy.orchestrator.execution.executor import Executor
    from grokstudy.orchestrator.runs.state import older_runs, older_text

    study, store, console = driver.study, driver.store, Console(quiet=quiet)
    todo, shares = driver.shared(before.ledger, retry_failed)
    if only_measure:
        todo = [run for run in todo if shares[run.run_id].measured]
    steps = {run_id: state.step for run_id, state in before.ledger.states.items()}
    if message := older_text(older_runs(store, todo)):
        say(message, err=True)
    left = [(run.config, run.config.train.steps - steps[run.run_id] - shares[run.run_id].jumped) for run in todo]
    executor = Executor.choose(study, left, local)
    measured = [shares[run.run_id] for run in todo if shares[run.run_id].measured]
    words = [] if todo and len(measured) == len(todo) else [f"{len(todo) - len(measured)} runs to train"]
    words += [measures_text(measured)] if measured else []
    settled = len(before.runs) - len(before.ledger.unsettled(retry_failed))
    console.print(f"{study.name}: {', '.join(words)}, {settled} already done; {executor}", highlight=False)

    def execute(runs: list[Run]) -> bool:
        shown = {run.run_id: run for run in runs}

        def more() -> list[Run]:
            new = driver.more()
            shown.update({run.run_id: run for run in new})
            return new

        with Display(Board(shown, steps), console) as display:
            return executor.launch(study, runs, store, display, lambda message: say(message, err=True), more, budget)

    after = driver.train(execute, retry_failed, only_measure)
    if budget.gone and (undone := after.ledger.unsettled()):
        steps_left = sum(run.config.train.steps - after.ledger.states[run.run_id].step for run in undone)
        say(f"{budget}; left undone: {len(undone)} runs, {steps_left:,} run-steps", err=True)


def _conclude(study: Study, store: Store, state: StudyState, report: bool, quiet: bool) -> None:
    """Say what was reached: the answer when all is settled, how to go on when not."""
    from grokstudy.orchestrator.console.describe import failures_text, starts_text
    from grokstudy.trainables.storage.study_dir import StudyDir

    if state.ledger.counts().get("failed"):
        say(failures_text(state.ledger), err=True)
    if state.without_start:
        say(starts_text(state.trials), err=True)
    if not state.idle():
        counts = ", ".join(f"{n} {name}" for name, n in sorted(state.ledger.counts().items()))
        say(_resume_text(counts), err=quiet)
        return
    if not report or not state.runs:
        if not quiet:
            say(f"{study.name}: all {len(state.runs)} runs are settled")
        return
    with _told_when_interrupted("the runs are settled, the answer was not drawn"):
        store.delete(StudyDir(store, study.name).page)  # one of before must not pass for this answer
        text, index, warnings = draw_report(store, study.name)
    again = f"grokstudy mlflow sync {study.name} --root {shlex.quote(store.uri)}"
    with _told_when_interrupted("the answer is drawn, MLflow was not brought up to date", again):
        uri = try_to_sync(store, study.name)
    if not quiet:
        say(f"\n{text}\n\nreport:  {index}\nmetrics: {store.path('metrics')} (Parquet)")
        if uri is not None:
            say(f"MLflow:  {_how_to_open(uri)}")
    warn_of(warnings)


def _how_to_open(uri: str) -> str:
    """A server is there to be opened; a data base needs one."""
    command = Path(sys.executable).parent / "mlflow"
    return uri if uri.startswith("http") else f"{command} ui --backend-store-uri {uri}"


def _is_answered(study: Study, store: Store, state: StudyState) -> bool:
    """Whether the root has the answer to the study as it is asked now, not as before an edit or a trial run."""
    from grokstudy.orchestrator.runs.study_dir import is_written
    from grokstudy.trainables.storage.study_dir import StudyDir

    report = store.exists(StudyDir(store, study.name).page)
    return report and is_written(store, study, state.trials, state.ledger)


def _say_nothing_to_do(study: Study, store: Store, state: StudyState, quiet: bool) -> None:
    from grokstudy.orchestrator.console.describe import failures_text
    from grokstudy.trainables.storage.study_dir import StudyDir

    if state.ledger.counts().get("failed"):
        say(failures_text(state.ledger), err=True)
    if not quiet:
        say(f"{study.name}: all {len(state.runs)} runs are settled, nothing to do.")
        say(f"report: {store.path(StudyDir(store, study.name).page)}")


def _end(study: Study, store: Store, state: StudyState, as_json: bool) -> NoReturn:
    """Print the answer as the report has it, if it was asked for as JSON; exit by how the runs ended."""
    from grokstudy.trainables.storage.study_dir import StudyDir

    answer = StudyDir(store, study.name).answer
    if as_json and state.finished() and store.exists(answer):
        emit(store.read(answer).decode().rstrip())
    if not state.finished():
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(SOME_FAILED if state.ledger.counts().get("failed") else DONE)
