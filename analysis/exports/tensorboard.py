"""A study as TensorBoard's event files: a folder per run with its curves, and what its page HPARAMS compares.

The files are written by the library `tensorboard` (extra `tensorboard`). Curves are those that MLflow is shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from grokstudy.analysis.exports.arriving import arriving
from grokstudy.analysis.exports.outcomes import Outcome, outcomes
from grokstudy.analysis.tables.study import StudyTables


def to_tensorboard(tables: StudyTables, folder: Path) -> int:
    """Write `folder/<seed and settings>/events.out.tfevents...`; returns the runs.

    Raises ModuleNotFoundError without the library, FileExistsError where the folder holds something.
    """
    from tensorboard.plugins.hparams import summary_v2 as hparams

    told = [outcome for outcome in outcomes(tables) if outcome.run_id is not None]
    metrics = dict.fromkeys(metric for outcome in told for metric in outcome.curves)
    shown = [hparams.Metric(metric) for metric in (*_event_names(tables), *metrics)]
    swept = [hparams.HParam(name) for name in ("seed", *tables.axes)]
    with arriving(folder) as part:
        _write(part, [hparams.hparams_config_pb(swept, shown)], [])
        for outcome in told:
            values = {"seed": outcome.seed, **outcome.settings}
            known = {key: value if isinstance(value, (int, float)) else str(value) for key, value in values.items()}
            _write(part / _folder_name(outcome), [hparams.hparams_pb(known, outcome.trial_id)], _scalars(outcome))
    return len(told)


def _event_names(tables: StudyTables) -> list[str]:
    return [f"steps until {name}" for name in tables.declared]


def _scalars(outcome: Outcome) -> Iterable[tuple[str, int, float]]:
    """Curves, and each event that came as a point at its step."""
    for metric, points in outcome.curves.items():
        yield from ((metric, step, value) for step, value in points)
    for name, step in outcome.events.items():
        if step is not None:
            yield f"steps until {name}", math.ceil(step), step


def _folder_name(outcome: Outcome) -> str:
    """Seed and settings, as a name of one folder."""
    return "".join(letter if letter.isalnum() or letter in "=.,_+- " else "_" for letter in outcome.name)


def _write(folder: Path, summaries: list[Any], scalars: Iterable[tuple[str, int, float]]) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    try:
        for summary in summaries:
            writer.add_event(Event(summary=summary))
        for tag, step, value in scalars:
            writer.add_event(Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)])))
    finally:
        writer.close()
    (written,) = folder.glob("events.out.tfevents.*")
    written.rename(folder / "events.out.tfevents")  # the library's name has the host in it
