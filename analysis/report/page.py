"""The report's HTML page: hypothesis, answer, figures, what did not finish, the study file and the versions.

Self-contained: the charting library is inlined once, data and styles are in the page, nothing is fetched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

import polars as pl

from grokstudy.analysis.answer import of_results
from grokstudy.analysis.answer_text import NO_VERDICT, NOTE, NOTE_LEAD, cells, is_decoupling
from grokstudy.analysis.contrasts import findings
from grokstudy.analysis.labels import steps_text
from grokstudy.analysis.report.html import details, document, escape, figure, table
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


def page(
    tables: StudyTables,
    frame: pl.DataFrame,
    figures: Sequence[Figure],
    versions: Mapping[str, Any],
    failures: pl.DataFrame,
    missing: Sequence[str] = (),
) -> str:
    """The whole page; `missing` are figures that could not be drawn, each with its reason."""
    hypothesis = str(tables.spec.get("hypothesis") or "")
    pairs = {**versions, "spec_hash": tables.spec.get("spec_hash", "")}.items()
    parts = [
        f"<p class=soft>study</p><h1>{escape(tables.name)}</h1><p class=lead>{escape(hypothesis)}</p>",
        *_warnings(tables),
        f"<h2>Answer</h2>{_answer(frame)}{_legend(tables)}",
        *(["<h2>Figures</h2>"] if figures else []),
        *map(figure, figures),
        *(f"<div class=warn><pre>{escape(line)}</pre></div>" for line in missing),
        *_paths(tables),
        *_findings(findings(tables)),
        f"<h2>Not finished, diverged or failed</h2>{_failures(failures)}",
        f"<h2>Censored</h2>{_censored(tables)}",
        f"<h2>Study file</h2><pre>{escape(tables.text or json.dumps(tables.spec, indent=1))}</pre>",
        *_code(tables),
        f"<h2>Versions</h2>{table([{'name': name, 'version': str(version)} for name, version in pairs])}",
    ]
    return document(f"{tables.name}: report", parts, figures)


def _code(tables: StudyTables) -> list[str]:
    """What code from outside made the study, and where it is kept."""
    named = tables.spec.get("code") or {}
    if not named:
        return []
    digests = {word: name.rpartition("@")[2] for word, name in named.items()}
    folder = f"studies/{tables.name}/code"
    rows = [{"name": word, "code": digest, "kept in": f"{folder}/{digest}"} for word, digest in digests.items()]
    return [f"<h2>Code from outside</h2>{table(rows)}"]


def _warnings(tables: StudyTables) -> list[str]:
    if not tables.skipped:
        return []
    items = "".join(f"<li><code>{escape(line)}</code></li>" for line in tables.warnings[:ROWS])
    heading = f"{len(tables.skipped)} files could not be read and are left out:"
    return [f"<div class=warn><p>{heading}</p><ul>{items}</ul></div>"]


def _answer(frame: pl.DataFrame) -> str:
    rows = [_verdict_first(row) for row in cells(frame.head(ROWS))]
    if not rows:
        return "<p>There are no trials yet.</p>"
    notes = f"{NOTE} {NOTE_LEAD if is_decoupling(frame.columns) else NO_VERDICT}"
    return f"{table(rows, stack=True)}{_more(frame.height)}<p class=soft>{escape(notes)}</p>"


def _verdict_first(row: dict[str, str]) -> dict[str, str]:
    """The group and its verdict, then all that it follows from: a table of many events is wider than a screen."""
    return {name: row[name] for name in (next(iter(row)), "verdict") if name in row} | row


def _legend(tables: StudyTables) -> str:
    """What the events, the classes and the orders mean."""
    events = [(name, str(event)) for name, event in tables.declared.items()]
    pairs = [*events, *CLASSES.items(), *((f"order {name}", meaning) for name, meaning in ORDERS.items())]
    items = "".join(f"<li><b>{escape(name)}</b>: {escape(meaning)}</li>" for name, meaning in pairs)
    return f"<details><summary>What the words mean</summary><ul class=soft>{items}</ul></details>"


def _findings(titled: Sequence[tuple[str, pl.DataFrame]]) -> list[str]:
    """Estimates and tests, rounded; null is a dash."""
    blocks = [f"<details><summary>{escape(title)}</summary>{_listed(frame, _number)}</details>"
              for title, frame in titled]  # fmt: skip
    return ["<h2>Statistics</h2>", *blocks] if blocks else []


def _listed(frame: pl.DataFrame, text: Callable[[Any], str] = str) -> str:
    """The first rows as a table of texts, and how many more there are."""
    rows = [{name: text(value) for name, value in row.items()} for row in frame.head(ROWS).iter_rows(named=True)]
    return f"{table(rows)}{_more(frame.height)}"


def _number(value: Any) -> str:
    if value is None or not isinstance(value, float):
        return "–" if value is None else str(value)
    return steps_text(value) if 1e3 <= value < inf else f"{value:.3g}"


def _paths(tables: StudyTables) -> list[str]:
    """Whether answers run through the same sites before and after generalising, where that was measured."""
    judged, moved = paths.verdicts(tables), paths.transplanted(tables)
    parts = []
    if not judged.is_empty():
        first = ("group", "split", "measure", "verdict")
        meanings = "".join(f"<li><b>{word}</b>: {escape(meaning)}</li>" for word, meaning in paths.VERDICTS.items())
        listed = _listed(judged.select(*first, pl.exclude(first)), _number)
        parts += [f"<p>{escape(PATHS)}</p>{listed}<ul class=soft>{meanings}</ul>"]
    if not moved.is_empty():
        parts += [f"<p>{escape(MOVED)}</p>{_listed(moved, _number)}"]
    return ["<h2>Paths before and after generalising</h2>", *parts] if parts else []


def _failures(failures: pl.DataFrame) -> str:
    if failures.is_empty():
        return "<p>Every trial is done.</p>"
    counts = failures["state"].value_counts().sort("state").iter_rows()
    summary = ", ".join(f"{count} {state}" for state, count in counts)
    traces = failures.filter(pl.col("traceback") != "").head(20).iter_rows(named=True)
    opened = "".join(details(f"Traceback of {row['run_id']}", row["traceback"]) for row in traces)
    return f"<p>{escape(summary)}.</p>{_listed(failures.drop('traceback'))}{opened}"


def _censored(tables: StudyTables) -> str:
    """Trials in which an event did not happen, and up to which step they were followed."""
    censored = of_results(tables.events, tables).filter(pl.col("state") == "censored").sort("trial_id", "event")
    rows = censored.select("trial_id", "seed", *tables.axes, "event", followed_to="lower").collect()
    if rows.is_empty():
        return "<p>Every event happened in every trial.</p>"
    return f"<details><summary>{rows.height} events not reached</summary>{_listed(rows)}</details>"


def _more(height: int) -> str:
    return f"<p class=soft>and {height - ROWS} more</p>" if height > ROWS else ""
