"""The report's HTML page: what was asked, the answer in sentences, what carries it, the figures, what did not finish.

This module says what is shown; how it looks is in `templates/`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

import polars as pl

from grokstudy.analysis import summary
from grokstudy.analysis.answer import of_results
from grokstudy.analysis.answer_text import FEW, NO_VERDICT, NOTE, NOTE_LEAD, cells, is_decoupling
from grokstudy.analysis.contrasts import Finding, findings
from grokstudy.analysis.labels import steps_text
from grokstudy.analysis.report.html import render
from grokstudy.analysis.statistics import paths
from grokstudy.analysis.statistics.decoupling import CLASSES
from grokstudy.analysis.statistics.lead_curve import ORDERS
from grokstudy.analysis.tables.study import StudyTables

if TYPE_CHECKING:
    from grokstudy.analysis.figures.theme import Figure

PATHS = (
    "Maps of causal effect over depth and position, compared within each run. similarity: r of the map when the run "
    "had memorised with its late one (median, first and last). other_seeds: r of late maps between seeds. difference: "
    "the first less the second, mean and 95 % interval over seeds; distance and excess: the same for mean absolute "
    "differences. Of the runs that came to both events, gap had not half generalised when they had memorised (before: "
    "how far), n of them on enough right answers; where n is 0, all are shown. beyond_chance: runs whose r is beyond "
    "permuted sites (p < .05). An untrained model answers nothing right and has no map."
)
MOVED = (
    "States at r1 of one checkpoint written into another, at the late checkpoint's l*: share of queries that the "
    "receiver then answers, median (range) over runs. Within one checkpoint it is the ceiling, from an untrained model "
    "the null."
)
ROWS = 200
"""Most rows of a list in the page; the rest is counted."""
TRACES = 20
"""Most tracebacks that are shown."""
JUDGED = ("group", "split", "measure", "verdict")
"""What comes first of a verdict about paths."""
MAP = "phase_classes"
"""The figure that shows many groups at once."""


def page(
    tables: StudyTables,
    frame: pl.DataFrame,
    figures: Sequence[Figure],
    versions: Mapping[str, Any],
    failures: pl.DataFrame,
    methods: str = "not known",
    missing: Sequence[str] = (),
) -> str:
    """The whole page; `missing` are figures that could not be drawn, each with its reason."""
    ordered = sorted(figures, key=lambda shown: shown.name != MAP)
    first, others = next(iter(ordered), None), ordered[1:]
    estimates, drawn = findings(tables), {shown.name for shown in figures}
    judged, moved = paths.verdicts(tables), paths.transplanted(tables)
    pairs = {**versions, "spec_hash": tables.spec.get("spec_hash", "")}.items()
    censored = _censored(tables)
    return render(
        "report.html",
        figures,
        title=f"{tables.name}: report",
        name=tables.name,
        hypothesis=str(tables.spec.get("hypothesis") or ""),
        skipped=len(tables.skipped),
        warnings=tables.warnings[:ROWS],
        sections=_sections(bool(others), not (judged.is_empty() and moved.is_empty())),
        few=FEW,
        sentences=summary.sentences(frame),
        carrying=_part(summary.carrying(frame.head(ROWS)), frame.height),
        used_words=summary.used_words(frame),
        answer=_part([_verdict_first(row) for row in cells(frame.head(ROWS))], frame.height),
        notes=f"{NOTE} {NOTE_LEAD if is_decoupling(frame.columns) else NO_VERDICT}",
        words=_words(tables),
        methods=methods,
        first=first,
        others=others,
        statistics={name: [_titled(finding) for finding in estimates if finding.figure == name] for name in drawn},
        remaining=[_titled(finding) for finding in estimates if finding.figure not in drawn],
        judged=None if judged.is_empty() else _listed(judged.select(*JUDGED, pl.exclude(JUDGED)), _number),
        judged_note=PATHS,
        path_words=paths.VERDICTS,
        moved=None if moved.is_empty() else _listed(moved, _number),
        moved_note=MOVED,
        missing=missing,
        code=_code(tables),
        failures=_failures(failures),
        censored={**_listed(censored), "height": censored.height},
        text=tables.text or json.dumps(tables.spec, indent=1),
        versions=[{"name": name, "version": str(version)} for name, version in pairs],
    )


def _sections(figures: bool, routes: bool) -> list[tuple[str, str]]:
    """Places in the page and their headings."""
    return [
        ("answer", "Answer"),
        *([("figures", "Figures")] if figures else []),
        *([("paths", "Paths")] if routes else []),
        ("failures", "Not finished"),
        ("censored", "Censored"),
        ("file", "Study file"),
        ("versions", "Versions"),
    ]


def _code(tables: StudyTables) -> list[dict[str, str]]:
    """What code from outside made the study, and where it is kept."""
    digests = {word: name.rpartition("@")[2] for word, name in (tables.spec.get("code") or {}).items()}
    folder = f"studies/{tables.name}/code"
    return [{"name": word, "code": digest, "kept in": f"{folder}/{digest}"} for word, digest in digests.items()]


def _part(rows: Sequence[Mapping[str, str]], height: int) -> dict[str, Any]:
    """Rows to show, and how many more there are."""
    return {"rows": rows, "more": max(0, height - ROWS)}


def _listed(frame: pl.DataFrame, text: Callable[[Any], str] = str) -> dict[str, Any]:
    rows = [{name: text(value) for name, value in row.items()} for row in frame.head(ROWS).iter_rows(named=True)]
    return _part(rows, frame.height)


def _titled(finding: Finding) -> dict[str, Any]:
    """Estimates and tests, rounded; null is a dash."""
    return {"title": finding.title, **_listed(finding.rows, _number)}


def _verdict_first(row: dict[str, str]) -> dict[str, str]:
    """The group and its verdict, then all that it follows from: a table of many events is wider than a screen."""
    return {name: row[name] for name in (next(iter(row)), "verdict") if name in row} | row


def _words(tables: StudyTables) -> dict[str, str]:
    """What the events, the classes and the orders mean."""
    events = {name: str(event) for name, event in tables.declared.items()}
    return {**events, **CLASSES, **{f"order {name}": meaning for name, meaning in ORDERS.items()}}


def _number(value: Any) -> str:
    if value is None or not isinstance(value, float):
        return "–" if value is None else str(value)
    return steps_text(value) if 1e3 <= value < inf else f"{value:.3g}"


def _failures(failures: pl.DataFrame) -> dict[str, Any]:
    """Trials that are no results, counted by state, with the first tracebacks."""
    counts = failures["state"].value_counts().sort("state").iter_rows()
    traces = failures.filter(pl.col("traceback") != "").head(TRACES).iter_rows(named=True)
    return {
        "summary": ", ".join(f"{count} {state}" for state, count in counts),
        **_listed(failures.drop("traceback")),
        "traces": [(row["run_id"], row["traceback"]) for row in traces],
    }


def _censored(tables: StudyTables) -> pl.DataFrame:
    """Trials in which an event did not happen, and up to which step they were followed."""
    censored = of_results(tables.events, tables).filter(pl.col("state") == "censored").sort("trial_id", "event")
    return censored.select("trial_id", "seed", *tables.axes, "event", followed_to="lower").collect()
