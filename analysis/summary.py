"""The answer in sentences: what came and in how many runs, which of the two was first, what was not seen by when.

Every count has its n and its Wilson 95 % interval, every absence its horizon, every order the decades that it holds by.
They are read off the answer table alone, so that page, terminal and file say the same.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from grokstudy.analysis.answer_text import (
    as_text,
    event_names,
    group_columns,
    is_decoupling,
    share_cell,
    time_cell,
    verdict_cell,
)
from grokstudy.analysis.labels import ANSWER, CIRCUIT, labels, setting, steps_text
from grokstudy.analysis.statistics.decoupling import CLASSES
from grokstudy.analysis.statistics.sign_interval import ENOUGH
from grokstudy.analysis.tables.thresholds import THRESHOLDS

ALL = "all runs"
"""The one group of a study without axes."""
MOST = 4
"""Most groups that one sentence names; the rest are counted."""
FIRST = {"circuit_first": "the circuit came first", "answer_first": "the answer came first",
         "simultaneous": "answer and circuit came together"}  # fmt: skip

Row = Mapping[str, Any]


def sentences(frame: pl.DataFrame) -> list[str]:
    """One to three sentences, and warnings where a scheduler bent times or seeds are crossed; none without trials."""
    rows = frame.to_dicts()
    if not rows:
        return []
    if not any(row["seeds"] for row in rows):
        return ["No run has ended yet."]
    groups = group_columns(frame.columns)
    named = dict(zip(labels(frame, groups, setting) if groups else [ALL], rows, strict=True))
    events = event_names(frame.columns)
    if not events:
        return [f"{sum(row['seeds'] for row in rows)} runs have ended; the study looks for no event."]
    main = ANSWER if ANSWER in events else events[-1]
    both = is_decoupling(frame.columns)
    texts = [_came(named, main, groups), _order(named) if both else "", _absent(named, main, both)]
    return [sentence for sentence in (*texts, _crossed(rows), _stopped(rows)) if sentence]


def _n(row: Row, event: str) -> int:
    return int((row[f"{event}_observed"] or 0) + (row[f"{event}_censored"] or 0))


def _mostly(row: Row, event: str) -> bool:
    return 2 * (row[f"{event}_observed"] or 0) > _n(row, event)


def _most(named: Mapping[str, Row], did: str, who: str = "most runs") -> str:
    """What most runs did; of one run a setting there is no majority, and it is said without them."""
    text = did if all(row["seeds"] == 1 for row in named.values()) else f"{who} {did}"
    return f"{text[0].upper()}{text[1:]}"


def verb(event: str, came: str = "came") -> str:
    """What a run did that came to an event; with "come", what it had done."""
    return {ANSWER: "answered"}.get(event, f"{came} to {event.replace('_', ' ')}")


def _came(named: Mapping[str, Row], event: str, axes: Sequence[str]) -> str:
    """In which groups most runs came to the event: counts, intervals, median times; of many the first and the last."""
    came = {name: row for name, row in named.items() if _n(row, event) and _mostly(row, event)}
    if not came:
        return ""
    if ALL in came:
        return f"{share_cell(came[ALL], event)} of the runs {verb(event)}, at step {time_cell(came[ALL], event)}."
    parts = [f"{share_cell(row, event)} in {name}, at step {time_cell(row, event)}" for name, row in came.items()]
    share = f" in {len(came)} of {len(named)} settings" if len(named) > MOST else ""
    if len(came) > MOST:
        in_time = sorted(zip(_when(came, event), parts, strict=True))
        share += _common(came, named, axes)
        parts = [f"first {in_time[0][1]}", f"last {in_time[-1][1]}"]
    return f"{_most(came, verb(event))}{share}: {_listed(parts)}."


def _when(named: Mapping[str, Row], event: str) -> list[float]:
    times = (row[f"{event}_at"] for row in named.values())
    return [math.inf if time is None else time for time in times]


def _common(some: Mapping[str, Row], named: Mapping[str, Row], axes: Sequence[str]) -> str:
    """What some groups have in common and others have not: the values of each axis that are theirs alone."""
    frame = pl.DataFrame([{axis: row[axis] for axis in axes} for row in named.values()], infer_schema_length=None)
    theirs = frame.filter(pl.Series([name in some for name in named]))
    parts = []
    for axis in axes:
        known = frame.select(axis).unique(maintain_order=True)
        known = known.sort(axis) if known[axis].dtype.is_numeric() else known
        words = labels(known, [axis])
        kept = words.filter(known[axis].is_in(theirs[axis].implode(), nulls_equal=True)).to_list()
        if len(kept) < len(words):
            parts.append(f"{axis.split('.')[-1]} {' or '.join([', '.join(kept[:-1]), kept[-1]] if kept[1:] else kept)}")
    return f", all with {' and '.join(parts)}" if parts else ""


def _order(named: Mapping[str, Row]) -> str:
    """Which of answer and circuit came first, by how much, and where that cannot be said."""
    both = {name: row for name, row in named.items() if _mostly(row, ANSWER) and _mostly(row, CIRCUIT)}
    parts = []
    for order, words in FIRST.items():
        held = [f"{name}{_by(row)}" for name, row in both.items() if row["order_absolute"] == order]
        if held:
            parts.append(f"at every threshold from {THRESHOLDS[0]:g} to {THRESHOLDS[-1]:g} {words} in {_listed(held)}")
    open_ = {name: row for name, row in both.items() if row["order_absolute"] not in FIRST}
    if open_:
        few = f" (it takes {ENOUGH} runs)" if all(row["seeds"] < ENOUGH for row in open_.values()) else ""
        each = [f"{name}, {_leads(row)}" for name, row in open_.items()]
        where = _listed(each) if len(each) <= MOST else f"{len(each)} settings, {_range_of_leads(open_.values())}"
        parts.append(f"the order is open in {where}{few}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _by(row: Row) -> str:
    """The decades by which an order holds, or what bounds them."""
    low, high = row["order_absolute_low"], row["order_absolute_high"]
    if row["order_absolute"] == "simultaneous" or (low is None and high is None):
        return ""
    if low is None or high is None:
        return f" (by more than {abs(high if low is None else low):.2f} decades of steps)"
    first, last = sorted((abs(low), abs(high)))
    return f" (by {first:.2f} to {last:.2f} decades of steps)"


def _leads(row: Row) -> str:
    lead = "lead not known" if row["lead"] is None else f"median lead of the circuit {row['lead']:+.2f} decades"
    return f"{lead}, n={row['seeds']}"


def _range_of_leads(rows: Iterable[Row]) -> str:
    leads = sorted(row["lead"] for row in rows if row["lead"] is not None)
    unknown = sum(1 for row in rows if row["lead"] is None)
    known = f"median leads of the circuit {leads[0]:+.2f} to {leads[-1]:+.2f} decades" if leads else ""
    return ", ".join(filter(None, (known, f"{unknown} of them not known" if unknown else "")))


def _absent(named: Mapping[str, Row], event: str, both: bool) -> str:
    """In which groups most runs did not come to the event, by which step, and what came without it."""
    absent = {name: row for name, row in named.items() if _n(row, event) and not _mostly(row, event)}
    if not absent:
        return ""
    lengths = sorted({row["length"] for row in absent.values() if row["length"] is not None})
    within = " to ".join(steps_text(length) for length in (lengths[:1] + lengths[-1:] if len(lengths) > 1 else lengths))
    parts = [f"{share_cell(row, event)} in {name}" for name, row in absent.items()]
    where = f" in {len(absent)} of {len(named)} settings" if len(absent) > MOST else f": {_listed(parts)}"
    text = f"{_most(absent, 'not ' + verb(event, 'come'), 'most runs had')} within {within} steps{where}"
    if ALL in absent:
        text = f"{share_cell(absent[ALL], event)} of the runs had {verb(event, 'come')} within {within} steps"
    latent = [f"{row[f'{CIRCUIT}_observed']} of {_n(row, CIRCUIT)}{'' if name == ALL else f' in {name}'}"
              for name, row in absent.items() if both and _n(row, CIRCUIT) and _mostly(row, CIRCUIT)]  # fmt: skip
    return f"{text}; the circuit formed all the same in {_listed(latent)}." if latent else f"{text}."


def _crossed(rows: Sequence[Row]) -> str:
    """A warning where runs have graphs, initialisations or orders in common: intervals take runs as independent."""
    graphs = max((row.get("graphs") or 0 for row in rows), default=0)
    if not graphs:
        return ""
    few = "one graph" if graphs == 1 else f"{graphs} graphs"
    return f"Seeds are crossed: the runs of a setting have {few}, and intervals are about runs of these, not of others."


def _stopped(rows: Sequence[Row]) -> str:
    """A warning where runs were ended for what they showed: they are not censored like any other."""
    stopped = sum(row["stopped"] for row in rows)
    if not stopped:
        return ""
    return (
        f"Stopped by a scheduler for what they showed: {stopped}. Where an event had not come, these runs count as "
        "followed to there, and not as lagging, so its times look too early."
    )


def _listed(parts: Sequence[str]) -> str:
    more = f"; and {len(parts) - MOST} more" if len(parts) > MOST else ""
    return "; ".join(parts[:MOST]) + more


def used_words(frame: pl.DataFrame) -> dict[str, str]:
    """The classes that verdicts name, also as parts of a mixed one, with their meaning."""
    cells = [verdict_cell(row) for row in frame.to_dicts()] if "verdict" in frame.columns else []
    named = set(re.findall(r"\w+", " ".join(cells)))
    return {name: meaning for name, meaning in CLASSES.items() if name in named}


def carrying(frame: pl.DataFrame) -> list[dict[str, str]]:
    """The smallest table that carries the sentences: per group how many answered, had the circuit, and the verdict."""
    groups, events = group_columns(frame.columns), event_names(frame.columns)
    both = is_decoupling(frame.columns)
    shown = (ANSWER, CIRCUIT) if both else tuple(events)
    rows = []
    for name, row in zip(labels(frame, groups) if groups else [ALL], frame.iter_rows(named=True), strict=True):
        cells = {" / ".join(groups) or "study": name}
        for event in shown:
            cells |= {event: share_cell(row, event), f"{event} at step": time_cell(row, event)}
        rows.append(cells | ({"verdict": verdict_cell(row)} if both else {}))
    return rows


def answer_text(frame: pl.DataFrame, width: int = 80, brief: bool = False) -> str:
    """The sentences, what their words mean, and the table, within `width` columns.

    A brief table of many groups has of the columns those that the verdict is about.
    """
    meanings = [f"{name}: {meaning}." for name, meaning in used_words(frame).items()]
    return "\n\n".join(
        text
        for text in (_filled(sentences(frame), width), _filled(meanings, width, "  "), as_text(frame, width, brief))
        if text
    )


def _filled(lines: Iterable[str], width: int, indent: str = "") -> str:
    fill: Callable[[str], str] = textwrap.TextWrapper(
        width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    ).fill
    return "\n".join(map(fill, lines))
