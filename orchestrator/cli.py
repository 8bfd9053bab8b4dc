"""The command line. Commands are thin: they read arguments, call, print, and map outcomes to exit codes.

The only file that sees orchestrator, trainables and analysis together. Heavy imports happen inside the commands, so
that `grokstudy --help` answers at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.driver import Cut, Standing
    from orchestrator.space import Run
    from orchestrator.study import Study
    from trainables.store import Store

DONE, SOME_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 3

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Studies of how transformers learn to reason: a study file in, trained runs and an answer out.",
    epilog="Exit codes: 0 done, 1 some runs failed, 2 bad input, 3 interrupted and resumable.",
)

Root = Annotated[str, typer.Option("--root", envvar="GROKSTUDY_ROOT", help="Folder or URI (s3://...) of all results.")]
StudyFile = Annotated[Path, typer.Argument(help="Study file, e.g. studies/quickstart.yaml.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Training length instead of the study's.")]
First = Annotated[int | None, typer.Option("--first", min=1, help="Only the first so many trials.")]


@app.command(epilog="Example: grokstudy plan studies/decoupling.yaml")
def plan(study: StudyFile, root: Root = "results", as_json: Json = False, steps: Steps = None, first: First = None) -> None:
    """Show what a study would take: trials, runs, steps, time, disk. Trains nothing, writes nothing."""
    from orchestrator.driver import Cut, standing
    from orchestrator.plan import make_plan, workers_here
    from orchestrator.text import plan_text
    from trainables.speed import steps_per_second
    from trainables.store import Store

    read = _load(study)
    state = standing(read, Store(root), Cut(steps, first))
    cpu, asked = read.resources.cpu, read.resources.workers
    made = make_plan(state.trials, state.runs, state.ledger, workers_here(cpu, asked), steps_per_second)
    typer.echo(json.dumps(made.to_json(), indent=1) if as_json else plan_text(read, made, state.complete))


@app.command(epilog="Example: grokstudy run studies/quickstart.yaml")
def run(
    study: StudyFile,
    root: Root = "results",
    steps: Steps = None,
    first: First = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Train failed runs again, too.")] = False,
) -> None:
    """Train what is missing, then answer the study's question. The same command resumes."""
    from rich.console import Console

    from orchestrator.driver import Cut, standing
    from orchestrator.lock import RootBusyError, driver_lock
    from trainables.store import Store

    read, store, console, cut = _load(study), Store(root), Console(), Cut(steps, first)
    before = standing(read, store, cut)
    if before.finished(retry_failed):
        _say_nothing_to_do(read, store, before)
        raise typer.Exit(_exit_code(before))
    _sigterm_is_sigint()
    try:
        with driver_lock(store, read.name):
            after = _train(read, store, before, cut, retry_failed, console)
    except RootBusyError as error:
        _stop(str(error))
    except KeyboardInterrupt:
        after = standing(read, store, cut)
    _conclude(read, store, after, console)
    raise typer.Exit(_exit_code(after))


@app.command(epilog="Example: grokstudy status studies/quickstart.yaml")
def status(study: StudyFile, root: Root = "results", as_json: Json = False) -> None:
    """Show how far a study is, read from the root alone."""
    from orchestrator.driver import standing
    from orchestrator.lock import driver_of
    from orchestrator.text import status_text
    from trainables.store import Store

    read, store = _load(study), Store(root)
    state, driver = standing(read, store), driver_of(store)
    if as_json:
        states = {run_id: vars(found) for run_id, found in state.ledger.states.items()}
        typer.echo(json.dumps({"study": read.name, "driver": driver, "runs": states}, indent=1))
    else:
        typer.echo(status_text(read, state.ledger, driver, _label))


@app.command(epilog="Example: grokstudy report studies/quickstart.yaml")
def report(study: StudyFile, root: Root = "results", as_json: Json = False) -> None:
    """Answer the study's question from the tables, and draw its report anew. Takes a study file or its name."""
    from trainables.store import Store

    text, paths = _report(Store(root), study.stem, as_json)
    typer.echo(text)
    if not as_json:
        typer.echo(f"report: {paths}")


@app.command(epilog="Example: grokstudy schema > docs/study.schema.json")
def schema() -> None:
    """Print the JSON Schema of study files, for editors."""
    from orchestrator.study_schema import study_schema

    typer.echo(json.dumps(study_schema(), indent=1))


def main() -> None:
    """Entry point of the `grokstudy` command."""
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def _load(path: Path) -> Study:
    from orchestrator.study import StudyError, load_study

    try:
        return load_study(path)
    except StudyError as error:
        _stop(str(error))
    except OSError as error:
        _stop(f"{path}: {error.strerror or error}")


def _stop(message: str) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(BAD_INPUT)


def _sigterm_is_sigint() -> None:
    """A preemption notice stops as cleanly as Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))


def _train(
    study: Study, store: Store, before: Standing, cut: Cut, retry_failed: bool, console: Console
) -> Standing:
    from orchestrator.driver import drive
    from orchestrator.progress import Board, Display
    from orchestrator.tuner import launch

    todo = len(before.ledger.unsettled(retry_failed))
    settled = len(before.runs) - todo
    console.print(f"{study.name}: {todo} runs to train, {settled} already done. Starting Ray...", highlight=False)

    def execute(runs: list[Run]) -> None:
        board = Board({run.run_id: run for run in runs}, _label)
        with Display(board, console) as display:
            launch(study, runs, store, display)

    return drive(study, store, execute, cut, retry_failed)


def _label(run: Run) -> str:
    """A run's place in the space, without seed and length."""
    values = [str(value) for name, value in run.trials[0].point.items() if name != "train.steps"]
    return " ".join(values) or "all"


def _conclude(study: Study, store: Store, state: Standing, console: Console) -> None:
    """Say what was reached: the answer when all is settled, how to go on when not."""
    from orchestrator.text import failures_text

    if state.ledger.counts().get("failed"):
        typer.echo(failures_text(state.ledger), err=True)
    if not state.finished():
        command = " ".join(["grokstudy", *sys.argv[1:]])
        counts = ", ".join(f"{n} {name}" for name, n in sorted(state.ledger.counts().items()))
        typer.echo(f"interrupted ({counts}). Nothing is lost; go on with:\n  {command}")
        return
    text, path = _report(store, study.name, False)
    uri = _sync_mlflow(store, study, state, path)
    typer.echo(f"\n{text}\n\nreport:  {path}\nmetrics: {store.path('metrics')} (Parquet)")
    typer.echo(f"MLflow:  {Path(sys.executable).parent / 'mlflow'} ui --backend-store-uri {uri}")


def _report(store: Store, name: str, as_json: bool) -> tuple[str, str]:
    from analysis import load
    from analysis.answer import answer, as_json_text, as_text
    from analysis.report import write_report

    try:
        tables = load(store.uri, name)
    except (FileNotFoundError, ValueError) as error:
        _stop(str(error))
    paths = write_report(store.uri, name)
    frame = answer(tables)
    return as_json_text(frame) if as_json else as_text(frame), str(paths.index)


def _sync_mlflow(store: Store, study: Study, state: Standing, report_path: str) -> str:
    from analysis import load
    from orchestrator.mlflow_view import sync

    reached: dict[str, dict[str, float | None]] = {}
    trials = load(store.uri, study.name)
    rows = trials.events.join(trials.trials.select("trial_id", "run_id"), on="trial_id").collect().to_dicts()
    for row in rows:
        reached.setdefault(row["run_id"], {})[row["event"]] = row["time"]
    return sync(store, study, state.ledger, reached, report_path)


def _say_nothing_to_do(study: Study, store: Store, state: Standing) -> None:
    from orchestrator.text import failures_text

    typer.echo(f"{study.name}: all {len(state.runs)} runs are settled, nothing to do.")
    if state.ledger.counts().get("failed"):
        typer.echo(failures_text(state.ledger), err=True)
    typer.echo(f"report: {store.path(f'studies/{study.name}/report/index.html')}")


def _exit_code(state: Standing) -> int:
    if not state.finished():
        return INTERRUPTED
    return SOME_FAILED if state.ledger.counts().get("failed") else DONE
