"""What a person sees while a study runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from grokstudy.orchestrator.runs.status import regimes
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.orchestrator.units import duration
from grokstudy.trainables.tasks import of_splits

LINE_EVERY_S = 15.0


@dataclass
class Board:
    """Newest progress of each run of a launch, and what follows from it."""

    runs: Mapping[str, Run]
    stand: Mapping[str, int] = field(default_factory=dict)
    """The step at which each run stood before the launch; one that is not named begins."""
    latest: dict[str, dict[str, Any]] = field(default_factory=dict)
    most_running: int = 0
    """Most runs that were training at once."""

    def update(self, lines: list[dict[str, Any]]) -> None:
        """Take in a heartbeat."""
        for line in lines:
            self.latest[line["run_id"]] = line
        self.most_running = max(self.most_running, len(self.running))

    @property
    def finished(self) -> int:
        """Runs that have ended in this launch."""
        return sum(line["outcome"] is not None for line in self.latest.values())

    @property
    def running(self) -> list[dict[str, Any]]:
        """Newest lines of runs that are training."""
        return [line for line in self.latest.values() if line["outcome"] is None]

    @property
    def steps_left(self) -> int:
        """Steps still to be trained."""
        left = 0
        for run_id, run in self.runs.items():
            line = self.latest.get(run_id)
            if line is None or line["outcome"] is None:
                left += run.config.train.steps - int(self.stand.get(run_id, 0) if line is None else line["step"])
        return left

    @property
    def steps_per_second(self) -> float:
        """Summed over the runs that are training."""
        return sum(float(line["steps_per_second"]) for line in self.running)

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the present speed of a run, with as many at once as there were; None before there is a speed.

        Between two runs a worker is not heard of for a moment: the estimate does not double then.
        """
        if not self.steps_per_second > 0:
            return None
        at_once = min(self.most_running, len(self.runs) - self.finished)
        return self.steps_left / (self.steps_per_second / len(self.running) * at_once)

    @property
    def shown_splits(self) -> tuple[str, ...]:
        """The splits that a table shows, as the task of the runs has it."""
        return of_splits(next((line["accuracy"] for line in self.latest.values() if line["accuracy"]), {}))[1]

    def by_regime(self) -> list[tuple[str, int, int, int, dict[str, float]]]:
        """Per regime: runs ended, running, all, and the median newest accuracy per split."""
        groups: dict[str, list[str]] = {}
        names = regimes(run.trials[0].point for run in self.runs.values())
        for run_id, name in zip(self.runs, names, strict=True):
            groups.setdefault(name, []).append(run_id)
        return [(label, *self._regime(run_ids)) for label, run_ids in groups.items()]

    def _regime(self, run_ids: list[str]) -> tuple[int, int, int, dict[str, float]]:
        lines = [self.latest[run_id] for run_id in run_ids if run_id in self.latest]
        ended = sum(line["outcome"] is not None for line in lines)
        accuracy = {
            split: statistics.median(line["accuracy"][split] for line in lines if split in line["accuracy"])
            for split in self.shown_splits
            if any(split in line["accuracy"] for line in lines)
        }
        return ended, len(lines) - ended, len(run_ids), accuracy


class Display:
    """Shows a board: redraws a table on a terminal, prints a line now and then elsewhere."""

    def __init__(self, board: Board, console: Console) -> None:
        """Choose the form by what the console is."""
        self.board, self.console = board, console
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._next_line = 0.0
        self._said: set[str] = set()

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
            self._live.update(board_table(self.board))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, lines: list[dict[str, Any]]) -> None:
        """Take in a heartbeat and show it."""
        self.board.update(lines)
        if self._live is not None:
            self._live.update(board_table(self.board))
            return
        for line in lines:
            if line["outcome"] is not None and line["run_id"] not in self._said:
                self._said.add(line["run_id"])
                self._print(ended_line(self.board, line))
        if time.monotonic() >= self._next_line and self.board.running:
            self._next_line = time.monotonic() + LINE_EVERY_S
            self._print(status_line(self.board))

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)


def status_line(board: Board) -> str:
    """One line for logs."""
    return (
        f"{board.finished}/{len(board.runs)} runs done, {len(board.running)} running, "
        f"{board.steps_per_second:.0f} steps/s, {duration(board.seconds_left)} left"
    )


def ended_line(board: Board, line: dict[str, Any]) -> str:
    """One line for a run that has ended."""
    headline, _ = of_splits(line["accuracy"])
    accuracy = f", {headline} accuracy {line['accuracy'][headline]:.2f}" if headline in line["accuracy"] else ""
    (label,) = regimes([board.runs[line["run_id"]].trials[0].point])
    return f"{line['run_id']} {line['outcome']} at step {line['step']:,} ({label}){accuracy}"


def board_table(board: Board) -> Table:
    """The live table: one row per regime."""
    table = Table(title=status_line(board), title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("regime", overflow="fold")
    for name in ("done", "running", "runs"):
        table.add_column(name, justify="right")
    splits = board.shown_splits
    for split in splits:
        table.add_column(f"{split}", justify="right")
    for label, ended, running, all_runs, accuracy in board.by_regime():
        cells = [f"{accuracy[split]:.2f}" if split in accuracy else "" for split in splits]
        table.add_row(label, str(ended), str(running), str(all_runs), *cells)
    table.caption = "median accuracy over the seeds that have begun; Ctrl-C stops, the same command resumes"
    table.caption_justify = "left"
    return table
