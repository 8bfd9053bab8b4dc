"""`grokstudy run`: train what is missing, then answer."""

from __future__ import annotations

import contextlib
import shlex
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from grokstudy.orchestrator.commands.common import (
    DONE,
    INTERRUPTED,
    SOME_FAILED,
    CodeAsBefore,
    Cpu,
    First,
    Gpu,
    Json,
    Local,
    Quiet,
    Root,
    Settings,
    Steps,
    StudyFile,
    Workers,
    emit,
    read_study,
    say,
    stop,
    study_name,
    warn_of,
)
from grokstudy.orchestrator.commands.ends import heed_signals, leave_at_once
from grokstudy.orchestrator.commands.mlflow import sync_command, syncing_beside, try_to_sync
from grokstudy.orchestrator.commands.notify import Notify, notified
from grokstudy.orchestrator.commands.report import Drawn, draw_report
from grokstudy.trainables.messages import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Set

    from rich.console import Console

    from grokstudy.orchestrator.execution.budget import Budget
    from grokstudy.orchestrator.execution.driver import Driver, StudyState
    from grokstudy.orchestrator.execution.executor import Executor
    from grokstudy.orchestrator.execution.launch import Launch
    from grokstudy.orchestrator.runs.siblings import Share
    from grokstudy.orchestrator.runs.trials import Run
    from grokstudy.orchestrator.study.study import Study
    from grokstudy.orchestrator.tracking.mlflow_sync import Synced

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
    settings: Settings = None,
    local: Local = None,
    retry_failed: RetryFailed = False,
    report: Report = True,
    notify: Notify = None,
    yes: Yes = False,
    code_as_before: CodeAsBefore = False,
    as_json: Json = False,
    quiet: Quiet = False,
    max_hours: MaxHours = None,
    max_cost: MaxCost = None,
) -> None:
    """Train what is missing, then answer the study's question. The same command resumes after an interruption."""
    request = Asked(
        study=study, root=root, steps=steps, first=first, cpu=cpu, gpu=gpu, workers=workers, local=local,
        settings=settings, retry_failed=retry_failed, report=report, yes=yes, code_as_before=code_as_before,
        as_json=as_json, quiet=quiet, max_hours=max_hours, max_cost=max_cost,
    )  # fmt: skip
    with notified(notify, study_name(str(study)), root):
        settle(request)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was asked of `run`, or of `measure`: the options of the commands, by their names."""

    study: Path
    root: str
    steps: int | None = None
    first: int | None = None
    settings: list[str] | None = None
    cpu: float | None = None
    gpu: float | None = None
    workers: int | None = None
    local: bool | None = None
    retry_failed: bool = False
    only_measure: bool = False
    """Leave out what would have to be trained: `measure`."""
    report: bool = True
    yes: bool = False
    code_as_before: bool = False
    as_json: bool = False
    quiet: bool = False
    max_hours: float | None = None
    max_cost: float | None = None

    @property
    def silent(self) -> bool:
        """Whether standard output is not for people."""
        return self.quiet or self.as_json


def settle(request: Asked) -> None:
    """What the command does, and `measure` with it."""
    heed_signals()
    with _told_when_interrupted("nothing was trained yet"):
        code = request.root if request.code_as_before else None
        study = read_study(request.study, request.cpu, request.gpu, request.workers, request.settings, code)
    from grokstudy.orchestrator.execution.driver import Cut, Driver
    from grokstudy.orchestrator.execution.launch import Launch
    from grokstudy.orchestrator.execution.simulator import late_warning
    from grokstudy.orchestrator.runs.study_dir import write_study
    from grokstudy.orchestrator.tracking.follow import followed
    from grokstudy.trainables.storage.store import Store

    with _told_when_interrupted("nothing was trained yet"):
        driver = Driver(study, Store(request.root), Cut(request.steps, request.first))
        before = driver.state()
        if not request.yes:
            _ask_if_contradicted(driver, before)
        if before.idle(request.retry_failed):
            if _is_answered(driver, before) and not before.without_start:
                _say_nothing_to_do(driver, before, request.silent)
            else:
                write_study(driver.store, study, before.trials, before.ledger)
                _conclude(driver, before, request)
            _end(driver, before, request.as_json)
        if request.only_measure:
            _say_what_is_untrained(driver, before)
    if warning := late_warning(study, driver.store):
        say(f"warning: {warning}", err=True)
    with _told_when_interrupted("at once, without a last checkpoint"):
        with followed(driver.store.uri, study.name, shown=request.report) as following:
            launch = Launch(driver.store, study.name)
            _drive(driver, before, request, _budget(study, request), launch)
        after = driver.state()
        launch.end(after.ledger.states)
    if following and not after.idle():
        with _told_when_interrupted("MLflow still shows runs as running", sync_command(driver.store, study.name)):
            try_to_sync(driver.store, study.name)
    if request.only_measure and driver.untrained(after.ledger):
        raise typer.Exit(INTERRUPTED)
    _conclude(driver, after, request)
    _end(driver, after, request.as_json)


def _budget(study: Study, request: Asked) -> Budget:
    """What this command may take."""
    from grokstudy.orchestrator.execution.budget import Budget

    if request.max_cost is not None and not study.resources.price:
        stop("--max-cost needs a price: resources: {price: 0.9} in the study file, of an hour of one worker")
    return Budget(request.max_hours, request.max_cost, study.resources.price)


def _say_what_is_untrained(driver: Driver, before: StudyState) -> None:
    """Name the runs that cannot be measured, and stop where none can."""
    from grokstudy.orchestrator.console.describe import untrained_text

    lacking = driver.untrained(before.ledger)
    text = f"{driver.study.name}: {untrained_text(lacking)}"
    if len(lacking) == len(before.ledger.unsettled()):
        stop(text)
    if lacking:
        say(text, err=True)


def _drive(driver: Driver, before: StudyState, request: Asked, budget: Budget, launch: Launch) -> None:
    """Train, or only measure, and say what ended that before its time."""
    from grokstudy.orchestrator.execution.breaker import HaltedError
    from grokstudy.orchestrator.execution.executor import RayLostError
    from grokstudy.orchestrator.execution.lock import RootBusyError, driver_lock
    from grokstudy.orchestrator.execution.resources import ResourcesError
    from grokstudy.trainables.storage.store import RefusedError, StorageError

    try:
        with driver_lock(driver.store, driver.study.name):
            _train(driver, before, request, budget, launch)
    except (RootBusyError, ResourcesError, RefusedError) as error:
        stop(str(error))
    except (HaltedError, StorageError) as error:
        say(str(error), err=True)
        if isinstance(error, RayLostError):
            leave_at_once(str(error))
    except KeyboardInterrupt:
        say("stopping", err=True)
    finally:
        launch.stop()


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


def _ask_if_contradicted(driver: Driver, before: StudyState) -> None:
    """Show what a changed study file drops, and go on only when told to."""
    from grokstudy.orchestrator.runs.changes import contradiction

    change = contradiction(driver.store, driver.study, before.trials)
    if change is None:
        return
    say(str(change), err=True)
    if not sys.stdin.isatty():  # nobody is there to answer
        earlier = "; to go on with the code as it was, add --code-as-before" if driver.study.code else ""
        stop(f"To go on with what was changed, add --yes; to keep both, give the study file another name{earlier}.")
    try:
        typer.confirm("Go on with the changed file?", abort=True, err=True)
    except typer.Abort:
        stop("nothing was changed")


def _train(driver: Driver, before: StudyState, request: Asked, budget: Budget, launch: Launch) -> None:
    from rich.console import Console

    from grokstudy.orchestrator.console.describe import measures_text
    from grokstudy.orchestrator.console.progress import Board, Display
    from grokstudy.orchestrator.execution.executor import Executor
    from grokstudy.orchestrator.runs.state import older_runs, older_text

    study, store, console = driver.study, driver.store, Console(quiet=request.silent)
    todo, shares = driver.shared(before.ledger, request.retry_failed)
    if request.only_measure:
        todo = [run for run in todo if shares[run.run_id].measured]
    steps = {run_id: state.step for run_id, state in before.ledger.states.items()}
    if message := older_text(older_runs(store, todo)):
        say(message, err=True)
    left = [(run.config, run.config.train.steps - steps[run.run_id] - shares[run.run_id].jumped) for run in todo]
    executor = Executor.choose(study, left, request.local)
    measured = [shares[run.run_id] for run in todo if shares[run.run_id].measured]
    words = [] if todo and len(measured) == len(todo) else [f"{len(todo) - len(measured)} runs to train"]
    words += [measures_text(measured)] if measured else []
    settled = len(before.runs) - len(before.ledger.unsettled(request.retry_failed))
    console.print(f"{study.name}: {', '.join(words)}, {settled} already done; {executor}", highlight=False)
    if executor.foretells and before.complete and not before.waits:  # else more comes than is known now
        _foretell(driver, before, todo, shares, executor, launch, console)

    def execute(runs: list[Run]) -> bool:
        shown = {run.run_id: run for run in runs}

        def more(at_work: Set[str]) -> list[Run] | None:
            new = driver.more(at_work)
            shown.update({run.run_id: run for run in new or []})
            return new

        with Display(Board(shown, steps), console) as display:
            return executor.launch(study, runs, store, display, lambda message: say(message, err=True), more, budget)

    after = driver.train(execute, request.retry_failed, request.only_measure)
    if budget.gone and (undone := after.ledger.unsettled()):
        steps_left = sum(run.config.train.steps - after.ledger.states[run.run_id].step for run in undone)
        say(f"{budget}; left undone: {len(undone)} runs, {steps_left:,} run-steps", err=True)


def _foretell(
    driver: Driver, before: StudyState, todo: list[Run], shares: dict[str, Share], executor: Executor, launch: Launch,
    console: Console,
) -> None:  # fmt: skip
    """Measure what these runs will take, say it, and have it kept.

    Nothing where other machines or GPUs train, nor of a training function, which only a worker may call.
    """
    from grokstudy.orchestrator.planning.cost import makespan_seconds, work_seconds
    from grokstudy.orchestrator.planning.forecast import measured_pace, members_of
    from grokstudy.orchestrator.units import duration

    workers = executor.workers_here(driver.study)
    if workers is None or not todo or driver.study.function is not None:
        return
    began, size = time.monotonic(), members_of(driver.study, measured=True)
    steps = {run_id: state.step for run_id, state in before.ledger.states.items()}
    try:
        with measured_pace(driver.study, min(workers, len(todo)), lambda message: say(message, err=True)) as pace:
            packs = work_seconds(todo, steps, shares, size, workers, pace)
            foretold = makespan_seconds(packs, workers) + pace.start()
    except Exception as error:  # of a task or probe from outside, too: each run's worker says what is wrong with it
        console.print(f"nothing is foretold: {first_line(error)}", highlight=False, markup=False)
        return
    measured = f"measured for {duration(time.monotonic() - began)}"
    console.print(f"foretold to take {foretold} ({measured})", highlight=False)
    launch.begin(executor.kind, workers, foretold, todo, before.ledger.states, shares)


def _conclude(driver: Driver, state: StudyState, request: Asked) -> None:
    """Say what was reached: the answer when all is settled, how to go on when not."""
    from grokstudy.orchestrator.console.describe import failures_text, starts_text
    from grokstudy.trainables.storage.study_dir import StudyDir

    study, store = driver.study, driver.store
    if state.ledger.counts().get("failed"):
        say(failures_text(state.ledger), err=True)
    if state.without_start:
        say(starts_text(state.trials), err=True)
    if not state.idle():
        counts = ", ".join(f"{n} {name}" for name, n in sorted(state.ledger.counts().items()))
        say(_resume_text(counts), err=request.silent)
        return
    if not request.report or not state.runs:
        if not request.silent:
            say(f"{study.name}: all {len(state.runs)} runs are settled")
        return
    with syncing_beside(store, study.name) as sync:
        with _told_when_interrupted("the runs are settled, the answer was not drawn"):
            store.delete(StudyDir(store, study.name).page)  # one of before must not pass for this answer
            if not request.silent:
                say("")
            drawn = draw_report(store, study.name, quiet=request.silent)
        with _told_when_interrupted(
            "the answer is drawn, MLflow was not brought up to date", sync_command(store, study.name)
        ):
            synced = sync()
    if not request.silent:
        say(f"report:  {drawn.page}\nmetrics: {store.path('metrics')} (Parquet)")
        if synced is not None:
            _say_where_mlflow_is(synced)
        _say_what_next(study, drawn)
    warn_of(drawn.warnings)


def _say_where_mlflow_is(synced: Synced) -> None:
    served = synced.uri.startswith("http")
    if not served:
        server = shlex.join([str(Path(sys.executable).parent / "mlflow"), "ui", "--backend-store-uri", synced.uri])
        say(f"MLflow:  {server}")
    address = synced.uri.rstrip("/") if served else "http://127.0.0.1:5000"
    say(f"{'MLflow:' if served else '':8} {address}/{synced.page}")


def _say_what_next(study: Study, drawn: Drawn) -> None:
    """The last lines: the answer in a sentence, and two things to do with it."""
    from grokstudy.orchestrator.console.tables import width

    if drawn.sentences:
        say("\n" + textwrap.fill(f"In short: {drawn.sentences[0]}", min(80, width() or 80), break_on_hyphens=False))
    say("Next: open the report in a browser, and ask a question of your own:")
    say(f"  grokstudy new my_question --like {shlex.quote(str(study.path))}")


def _is_answered(driver: Driver, state: StudyState) -> bool:
    """Whether the root has the answer to the study as it is asked now, not as before an edit or a trial run."""
    from grokstudy.orchestrator.runs.study_dir import is_written
    from grokstudy.trainables.storage.study_dir import StudyDir

    page = StudyDir(driver.store, driver.study.name).page
    return driver.store.exists(page) and is_written(driver.store, driver.study, state.trials, state.ledger)


def _say_nothing_to_do(driver: Driver, state: StudyState, silent: bool) -> None:
    from grokstudy.orchestrator.console.describe import failures_text
    from grokstudy.trainables.storage.study_dir import StudyDir

    if state.ledger.counts().get("failed"):
        say(failures_text(state.ledger), err=True)
    if not silent:
        page = StudyDir(driver.store, driver.study.name).page
        say(f"{driver.study.name}: all {len(state.runs)} runs are settled, nothing to do.")
        say(f"report: {driver.store.path(page)}")


def _end(driver: Driver, state: StudyState, as_json: bool) -> NoReturn:
    """Print the answer as the report has it, if it was asked for as JSON; exit by how the runs ended."""
    from grokstudy.trainables.storage.study_dir import StudyDir

    answer = StudyDir(driver.store, driver.study.name).answer
    if as_json and state.finished() and driver.store.exists(answer):
        emit(driver.store.read(answer).decode().rstrip())
    if not state.finished():
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(SOME_FAILED if state.ledger.counts().get("failed") else DONE)
