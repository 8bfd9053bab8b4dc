"""The answer table in words: the same cells for the terminal, the report and whoever reads a log.

A time reads `1372 (1245–1507)`: median and range over seeds; `>3000` is not reached by step 3000.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from grokstudy.analysis.labels import in_reading_order, labels, share_text, steps_text
from grokstudy.analysis.statistics.decoupling import CLASSES, wilson
from grokstudy.analysis.statistics.sign_interval import ENOUGH
from grokstudy.analysis.tables.thresholds import SCALES, THRESHOLDS

NOTE = "Times are steps: median (range over seeds); >N is not reached by step N."
NOTE_LEAD = (
    "Leads are decades: median; >X and <X are bounds. An order holds at every threshold from "
    f"{THRESHOLDS[0]:g} to {THRESHOLDS[-1]:g} (of each measure's ceiling), and takes {ENOUGH} seeds."
)
NO_VERDICT = "Lead and verdict: not applicable, they need events named generalised and circuit."
ORDER_HEADINGS = {"absolute": f"order at {THRESHOLDS[0]:g} to {THRESHOLDS[-1]:g}", "of_ceiling": "of each ceiling"}
FEW = 12
"""Most groups whose table is shown whole before anybody asks for it."""
BRIEF = ("generalised at", "circuit at", "verdict")
LEFT_OUT = "Counts, other events, final values, leads and orders by threshold: answer.txt beside the report."
_GAP = "  "


def event_names(columns: Sequence[str]) -> list[str]:
    """The events of an answer table, in reading order."""
    return in_reading_order(name.removesuffix("_observed") for name in columns if name.endswith("_observed"))


def group_columns(columns: Sequence[str]) -> list[str]:
    """The axes of an answer table: the columns before the count of seeds."""
    return list(columns)[: list(columns).index("seeds")]


def time_cell(row: Mapping[str, Any], event: str) -> str:
    """When an event came, in words."""
    observed, censored = row[f"{event}_observed"] or 0, row[f"{event}_censored"] or 0
    beyond = f">{steps_text(row[f'{event}_at_beyond'])}"
    if not observed:
        return beyond if censored else "not measured"
    # Nobody was followed to the first: a median would be that of those that came to the event.
    alone = censored and row[f"{event}_at_followed"] < row[f"{event}_at_first"]
    if row[f"{event}_at"] is None or alone:
        return f"{beyond} ({observed} of {observed + censored})"
    middle, first = steps_text(row[f"{event}_at"]), steps_text(row[f"{event}_at_first"])
    last = steps_text(row[f"{event}_at_last"]) if not censored else f">{steps_text(row[f'{event}_at_followed'])}"
    return middle if observed + censored == 1 else f"{middle} ({first}–{last})"


def share_cell(row: Mapping[str, Any], event: str) -> str:
    """How many runs came to an event, with the Wilson 95 % interval: `4 of 5 (95 % 0.38 to 0.96)`."""
    observed = row[f"{event}_observed"] or 0
    n = observed + (row[f"{event}_censored"] or 0)
    if not n:
        return "not measured"
    low, high = wilson_of(observed, n)
    return f"{observed} of {n} (95 % {low:.2f} to {high:.2f})"


def wilson_of(count: int, n: int) -> tuple[float, float]:
    """The Wilson 95 % interval of so many among n runs; n is not 0."""
    _, low, high = pl.select(wilson(pl.lit(count), pl.lit(n))).row(0)
    return low, high


def final_cell(row: Mapping[str, Any], event: str) -> str:
    """Where the event's metric ended, in words."""
    middle = share_text(row[f"{event}_final"])
    if (row[f"{event}_final_n"] or 0) < 2:
        return middle
    return f"{middle} ({share_text(row[f'{event}_final_min'])}–{share_text(row[f'{event}_final_max'])})"


def lead_cell(row: Mapping[str, Any]) -> str:
    """The median lead, or the bound that censored runs leave of it."""
    if row["lead"] is not None:
        return f"{row['lead']:+.2f}"
    bounds = [
        f"{sign}{row[name]:+.2f}" for sign, name in ((">", "lead_low"), ("<", "lead_high")) if row[name] is not None
    ]
    return " ".join(bounds)


def verdict_cell(row: Mapping[str, Any]) -> str:
    """The class of the majority with the trials behind it: `circuit_first 4/5`, `mixed (fake 2, latent 2)`.

    Trials that could not be decided stand beside it.
    """
    counts = {name: row[name] or 0 for name in CLASSES}
    if row["verdict"] in counts:
        open_ = f" (undecided {counts['undecided']})" if counts["undecided"] and row["verdict"] != "undecided" else ""
        return f"{row['verdict']} {counts[row['verdict']]}/{sum(counts.values())}{open_}"
    parts = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    return f"{row['verdict']} ({parts})" if parts else "no data"


def order_cell(row: Mapping[str, Any], scale: str) -> str:
    """The order on one scale with the outermost ends of its intervals: `circuit_first (+0.12 to +0.40)`."""
    order, low, high = (row[f"order_{scale}{end}"] for end in ("", "_low", "_high"))
    bounds = [f"{sign}{end:+.2f}" for sign, end in ((">", low), ("<", high)) if end is not None]
    if len(bounds) == 2:
        return f"{order} ({low:+.2f} to {high:+.2f})"
    return " ".join([order or "", *(f"({bound})" for bound in bounds)]).strip()


def cells(frame: pl.DataFrame) -> Iterator[dict[str, str]]:
    """The table's rows as text, by column heading; one cell of several heading words at most."""
    events, groups = event_names(frame.columns), group_columns(frame.columns)
    for name, row in zip(labels(frame, groups), frame.iter_rows(named=True), strict=True):
        row_cells = {" / ".join(groups) or "study": name, "seeds": str(row["seeds"])}
        row_cells |= {f"{event} at": time_cell(row, event) for event in events}
        row_cells |= {f"final {heading}": final_cell(row, event) for event, heading in _finals(events, frame.columns)}
        if is_decoupling(frame.columns):
            row_cells |= {"lead": lead_cell(row), "verdict": verdict_cell(row)}
            row_cells |= {ORDER_HEADINGS[scale]: order_cell(row, scale) for scale in SCALES}
        yield row_cells


def is_decoupling(columns: Sequence[str]) -> bool:
    """Whether the study has both events that lead and verdict are about."""
    return {"generalised_observed", "circuit_observed"} <= set(columns)


def _finals(events: Sequence[str], columns: Sequence[str]) -> list[tuple[str, str]]:
    """Events whose last value is shown, with its heading: those of the verdict, or all where there is none."""
    if not is_decoupling(columns):
        return [(event, event) for event in events]
    headings = {"generalised": "answer", "circuit": "circuit"}
    return [(event, headings[event]) for event in events if event in headings]


def as_text(frame: pl.DataFrame, width: int = 80, brief: bool = False) -> str:
    """The table as plain text within `width` columns: blocks of columns, each with the group in front."""
    rows = list(cells(frame))
    if not rows:
        return "no trials yet\n"
    name, *headings = rows[0]
    brief = brief and len(rows) > FEW and is_decoupling(frame.columns)
    headings = [heading for heading in headings if not brief or heading in BRIEF]
    groups = _groups(frame, name, rows, width)
    left = width - _wide(groups)
    columns = [_column(heading, rows, left - len(_GAP)) for heading in headings]
    blocks = ["\n".join(_GAP.join(line).rstrip() for line in zip(*groups, *block, strict=True))
              for block in _blocks(columns, left)]  # fmt: skip
    notes = [textwrap.fill(LEFT_OUT, width)] if brief else []
    return "\n\n".join([*blocks, *notes, *_notes(frame, width)]) + "\n"


def _groups(frame: pl.DataFrame, name: str, rows: Sequence[Mapping[str, str]], width: int) -> list[list[str]]:
    """The group as one column; where that is wider than a third, as a column for each axis."""
    axes = group_columns(frame.columns)
    longest = max(len(text) for text in (name, *(row[name] for row in rows)))
    if len(axes) < 2 or longest <= width // 3:
        return [_column(name, rows, width // 3)]
    short = [axis.split(".")[-1] for axis in axes]
    named = dict(zip(short if len(set(short)) == len(axes) else axes, axes, strict=True))
    values = pl.DataFrame({name: labels(frame, [axis]) for name, axis in named.items()}).to_dicts()
    columns = [_column(heading, values, width // 3) for heading in named]
    if _wide(columns) <= width // 2:
        return columns
    return [_column(heading, values, width // 2 // len(axes) - len(_GAP)) for heading in named]


def _wide(columns: Sequence[Sequence[str]]) -> int:
    """Characters that columns take beside each other."""
    return sum(len(column[0]) for column in columns) + len(_GAP) * (len(columns) - 1)


def _column(heading: str, rows: Sequence[Mapping[str, str]], width: int) -> list[str]:
    texts = [_shorten(text, width) for text in (heading, *(row[heading] for row in rows))]
    wide = max(map(len, texts))
    padded = [text.ljust(wide) for text in texts]
    return [padded[0], "-" * wide, *padded[1:]]


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _blocks(columns: Sequence[list[str]], width: int) -> Iterator[list[list[str]]]:
    """Columns in order, as many beside each other as fit behind the group."""
    block: list[list[str]] = []
    for column in columns:
        if block and _wide([*block, column]) + len(_GAP) > width:
            yield block
            block = []
        block.append(column)
    yield block


def _notes(frame: pl.DataFrame, width: int) -> Iterator[str]:
    yield textwrap.fill(f"{NOTE} {NOTE_LEAD}" if is_decoupling(frame.columns) else NOTE, width)
    for column, meaning in (
        ("diverged", "diverged (counted as results)"),
        ("unfinished", "unfinished or failed"),
        ("no_start", "without a start: the event never came in their source (a result)"),
    ):
        total = int(frame[column].sum())
        if total:
            yield _shorten(f"{total} trials {meaning}.", width)
    if not is_decoupling(frame.columns):
        yield NO_VERDICT
