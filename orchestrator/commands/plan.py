"""`grokstudy plan`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from grokstudy.orchestrator.commands.common import (
    CodeAsBefore,
    Cpu,
    First,
    Gpu,
    Json,
    Root,
    Settings,
    Steps,
    StudyFile,
    Workers,
    emit,
    read_study,
    say,
)

if TYPE_CHECKING:
    from grokstudy.analysis.tables.study import StudyTables
    from grokstudy.orchestrator.planning.precision import Precision
    from grokstudy.orchestrator.study.study import Study
    from grokstudy.trainables.storage.store import Store


def _precision(
    study: Study, store: Store, decades: float | None, wanted: float, tables: StudyTables | None
) -> Precision | None:
    """How wide the contrast of two groups will be; None where there is nothing to compare, or no spread is known.

    Nor where seeds are crossed: their runs are not independent.
    """
    from grokstudy.orchestrator.planning.precision import Spread, precision, spread_in_root

    event = next((name for name in ("generalised", *study.events) if name in study.events), None)
    if event is None or not study.axes or study.crossed is not None:
        return None
    spread = Spread(decades, 0, 0.0, ()) if decades else spread_in_root(study, store, event, tables)
    return None if spread is None else precision(study, event, spread, wanted)


SpreadOf = Annotated[
    float | None,
    typer.Option("--spread", min=0.001, help="Spread of event times over seeds, in decades, instead of the root's."),
]
Width = Annotated[
    float, typer.Option("--width", min=0.001, help="Half width that a contrast is wanted to have, in decades.")
]


def plan(
    study: StudyFile,
    root: Root = "results",
    steps: Steps = None,
    first: First = None,
    cpu: Cpu = None,
    gpu: Gpu = None,
    workers: Workers = None,
    settings: Settings = None,
    code_as_before: CodeAsBefore = False,
    spread: SpreadOf = None,
    width: Width = 0.1,
    as_json: Json = False,
) -> None:
    """Show what a study would take, and what would settle events that have not come. Trains nothing, writes nothing."""
    read = read_study(study, cpu, gpu, workers, settings, root if code_as_before else None)  # before torch is imported
    from grokstudy.orchestrator.console.describe import (
        code_json,
        code_text,
        cost_json,
        figure_line,
        plan_text,
        starts_json,
        starts_text,
    )
    from grokstudy.orchestrator.execution.driver import Cut, Driver
    from grokstudy.orchestrator.execution.executor import Executor
    from grokstudy.orchestrator.execution.simulator import late_warning
    from grokstudy.orchestrator.planning.cost import costly, make_plan, workers_here
    from grokstudy.orchestrator.planning.extensions import event_rows, extensions_of, extensions_text, tables_of
    from grokstudy.orchestrator.planning.forecast import measured_pace, members_of
    from grokstudy.orchestrator.runs.changes import orphaned
    from grokstudy.orchestrator.runs.state import older_runs, older_text
    from grokstudy.trainables.storage.store import Store

    store = Store(root)
    driver = Driver(read, store, Cut(steps, first))
    state = driver.state()
    todo, shares = driver.shared(state.ledger)
    left = [(run.config, run.config.train.steps - state.ledger.states[run.run_id].step) for run in todo]
    executor = Executor.choose(read, left, None)
    here = workers_here(read.resources.cpu, read.resources.workers)
    at_a_time = min(here, executor.workers or here)
    beside = min(at_a_time, max(1, len(todo))) if executor.measured else 1  # others would take longer to start
    kept = len(read.events), read.resources.checkpoint_bytes, read.resources.keep_checkpoints == "all"
    size = members_of(read, executor.measured)
    with measured_pace(read, beside, lambda message: say(message, err=True)) as pace:
        made = make_plan(state.trials, state.runs, state.ledger, at_a_time, pace, shares, *kept, size)
        often = costly([run.config for run in todo], pace)
        configs = {run.run_id: run.config for run in state.runs}
        words = [str(study), *(["--root", root] if root != "results" else [])]
        words += [word for setting in settings or () for word in ("--set", setting)]
        tables = None if made.runs_todo or steps or first else tables_of(read, store)
        longer = extensions_of(event_rows(tables) if tables else [], read.events, configs, words, pace, at_a_time)
    lost = orphaned(store, read, state.trials)
    sharp = _precision(read, store, spread, width, tables)
    if as_json:
        extensions = {"extensions": [asdict(extension) for extension in longer]}
        cadence = {"evaluation": None if often is None else asdict(often)}
        code = code_json(read, [] if lost is None else lost.run_ids)
        precision = {"precision": None if sharp is None else asdict(sharp)}
        document = {
            **asdict(made),
            **cost_json(read, made),
            **cadence,
            **extensions,
            **code,
            **precision,
            **starts_json(state.trials),
        }
        emit(json.dumps(document, indent=1))
    else:
        figures = {"evaluation": often, "precision": sharp}
        lines = "".join(f"\n{figure_line(name, str(said))}" for name, said in figures.items() if said is not None)
        say(plan_text(read, made, state.complete) + lines + code_text(read) + extensions_text(longer))
        if lost is not None:
            say(str(lost))
        if line := older_text(older_runs(store, state.ledger.unsettled())):
            say(line)
        if line := starts_text(state.trials):
            say(line)
        if warning := late_warning(read, store):
            say(f"warning: {warning}", err=True)
