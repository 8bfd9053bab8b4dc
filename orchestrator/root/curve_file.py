"""The gate for a CSV file of curves from elsewhere: one row per trial and step, every cell checked, or an error.

An error names file, row and column, what stands there, what is allowed, and what to do. Row 1 is the heading; a row
that spans lines is named by its last. Cells are text until they are needed as numbers, so that the trials `01` and
`1` are two. An empty cell is a missing value; a word for one, such as NA or nan, is not a number.
"""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

import polars as pl

from grokstudy.analysis.query import where
from grokstudy.trainables.config import MOST_STEPS
from grokstudy.trainables.measurements import is_share
from grokstudy.trainables.messages import shown
from grokstudy.trainables.tasks import known_splits

_MAPPING = re.compile(r"(?P<column>[^=]+)=(?P<metric>[\w.]+)/(?P<split>\w+)")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_LEADING_ZERO = re.compile(r"[+-]?0[0-9]")
LARGEST, MOST_EXAMPLES = 3.4028234e38, 2**31 - 1
"""What fits into the columns `value` (float32) and `n` (int32)."""
ROW = "row in file"
"""The column of our own in the frame that a condition is asked of."""

Cells = Mapping[str, str]


@dataclass(frozen=True)
class CurveColumn:
    """A column of the file, and what it is: metric and split."""

    column: str
    metric: str
    split: str

    @classmethod
    def parse(cls, text: str) -> CurveColumn:
        """Read `column=metric/split`. Raises ValueError saying what is allowed."""
        match = _MAPPING.fullmatch(text)
        if match is None:
            raise ValueError(f"--mapping {text!r} is not COLUMN=METRIC/SPLIT, e.g. ood_accuracy=accuracy/test_oo")
        if match["split"] not in known_splits():
            raise ValueError(
                f"--mapping {text!r}: split {match['split']!r} is unknown; known: {', '.join(known_splits())}"
            )
        return cls(match["column"], match["metric"], match["split"])


@dataclass(frozen=True)
class CurvePoint:
    """One row of the file, checked: the values by their columns, None where the cell is empty."""

    row: int
    trial: tuple[str, ...]
    step: int
    n: int | None
    values: Mapping[str, float | None]


@dataclass(frozen=True)
class External:
    """A file of curves, and which columns and rows of it are meant."""

    path: Path
    trial: str
    """The column that tells the curves apart, or several with commas."""
    step: str
    curves: tuple[CurveColumn, ...]
    where: str | None = None
    """SQL condition on the rows that are meant."""
    n: str | None = None
    """Column with the number of examples."""

    @property
    def trial_columns(self) -> tuple[str, ...]:
        """The columns that tell the curves apart."""
        return tuple(self.trial.split(","))

    @cached_property
    def content(self) -> bytes:
        """The file, read once: it may be a pipe, or be written to. Raises ValueError."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise ValueError(f"{self.path}: cannot be read ({error.strerror or error})") from None

    def read(self) -> list[CurvePoint]:
        """The rows that are meant, checked. Raises ValueError naming file, row and what is allowed."""
        self._check_mapping()
        heading, rows = self._rows()
        self._check_columns(heading)
        chosen = self._chosen(heading, rows)
        points = [self._point(row, chosen[row]) for row in chosen]
        self._check_single(points, chosen)
        return points

    def _fault(self, place: str, detail: str) -> NoReturn:
        raise ValueError(f"{self.path}: {place}: {detail}")

    def _check_mapping(self) -> None:
        """No value is written twice, and a loss has an accuracy beside it: the table of evaluations needs one."""
        targets = [(curve.metric, curve.split) for curve in self.curves]
        for metric, split in targets:
            if targets.count((metric, split)) > 1:
                raise ValueError(f"--mapping: {metric}/{split} is given by two columns; leave one of them out")
            if metric in ("loss", "margin") and ("accuracy", split) not in targets:
                needed = f"COLUMN=accuracy/{split}"
                raise ValueError(f"--mapping: {metric}/{split} needs the accuracy of the same rows; add {needed}")

    def _rows(self) -> tuple[list[str], dict[int, Cells]]:
        """Heading, and the cells of each row by its number."""
        reader = csv.reader(io.StringIO(self._text(), newline=""), strict=True)
        try:
            lines = [(reader.line_num, cells) for cells in reader if cells]
        except csv.Error as error:
            self._fault(f"row {reader.line_num}", f'is no CSV ({error}); quote a cell as in "a, b"')
        if len(lines) < 2:
            self._fault("no row", "a heading and one row per trial and step are needed")
        heading = lines[0][1]
        for row, cells in lines[1:]:
            if len(cells) != len(heading):
                self._fault(f"row {row}", f"has {len(cells)} cells, the heading has {len(heading)}; quote a comma")
        return heading, {row: dict(zip(heading, cells, strict=True)) for row, cells in lines[1:]}

    def _text(self) -> str:
        try:
            text = self.content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            row = self.content[: error.start].count(b"\n") + 1
            self._fault(f"row {row}", f"byte 0x{self.content[error.start]:02x} is no UTF-8; save the file as UTF-8")
        if "\0" in text:
            row = text[: text.index("\0")].count("\n") + 1
            self._fault(f"row {row}", "holds a NUL byte, which no text has; save the file as CSV in UTF-8")
        return text

    def _check_columns(self, heading: Sequence[str]) -> None:
        for name in heading:
            if heading.count(name) > 1 or name == ROW:
                self._fault("heading", f"column {name!r} stands twice, or is a name of ours; rename it")
        wanted = [*self.trial_columns, self.step, *(curve.column for curve in self.curves), *filter(None, [self.n])]
        for name in wanted:
            if name not in heading:
                self._fault("heading", f"there is no column {name!r}; columns: {', '.join(heading)}")
        for name in self.trial_columns:
            if wanted.count(name) > 1:
                self._fault("heading", f"column {name!r} tells the curves apart; it cannot be something else, too")

    def _chosen(self, heading: Sequence[str], rows: Mapping[int, Cells]) -> Mapping[int, Cells]:
        """The rows for which the condition holds."""
        if self.where is None:
            return rows
        columns = {name: self._typed(name, [cells[name] for cells in rows.values()]) for name in heading}
        try:
            matches = where(pl.DataFrame({**columns, ROW: list(rows)}), self.where)[ROW].to_list()
        except ValueError as error:
            raise ValueError(f"{self.path}: --where {error}") from None
        if not matches:
            self._fault("--where", f"{self.where!r} holds for none of the {len(rows):,} rows")
        return {row: rows[row] for row in matches}

    def _typed(self, name: str, cells: Sequence[str]) -> pl.Series:
        """A column as a condition sees it: numbers where all are, else text; trials are text; empty is null."""
        texts = [cell.strip() for cell in cells]
        given = [text for text in texts if text]
        numeric = all(_NUMBER.fullmatch(text) and not _LEADING_ZERO.match(text) for text in given)
        if name in self.trial_columns or not numeric:
            return pl.Series(name, [cell or None for cell in cells], pl.String)
        if all(_WHOLE.fullmatch(text) for text in given):
            return pl.Series(name, [int(text) if text else None for text in texts], pl.Int64)
        return pl.Series(name, [float(text) if text else None for text in texts], pl.Float64)

    def _point(self, row: int, cells: Cells) -> CurvePoint:
        for name in self.trial_columns:
            if not cells[name].strip():
                self._cell_fault(row, name, cells, "the name of a trial; fill it in or remove the row")
        step = self._whole(row, self.step, cells, 0, MOST_STEPS - 1)
        if step is None:
            self._cell_fault(row, self.step, cells, f"a whole number from 0 to {MOST_STEPS - 1:,}")
        n = None if self.n is None else self._whole(row, self.n, cells, 1, MOST_EXAMPLES)
        values = {curve.column: self._value(row, curve, cells) for curve in self.curves}
        self._check_beside(row, values, cells)
        return CurvePoint(row, tuple(cells[name] for name in self.trial_columns), step, n, values)

    def _check_beside(self, row: int, values: Mapping[str, float | None], cells: Cells) -> None:
        """A loss or margin has its accuracy in the same row, which the table of evaluations needs."""
        accuracy = {curve.split: curve.column for curve in self.curves if curve.metric == "accuracy"}
        for curve in self.curves:
            if curve.metric in ("loss", "margin") and values[curve.column] is not None:
                column = accuracy[curve.split]
                if values[column] is None:
                    self._cell_fault(row, column, cells, f"an accuracy, since {curve.column!r} has a value here")

    def _cell_fault(self, row: int, column: str, cells: Cells, allowed: str) -> NoReturn:
        content = shown(cells[column]) if cells[column] else "nothing"
        self._fault(f"row {row}", f"column {column!r} holds {content}; allowed: {allowed}")

    def _number(self, row: int, column: str, cells: Cells, allowed: str) -> float | None:
        text = cells[column].strip()
        if not text:
            return None
        if not _NUMBER.fullmatch(text) or not abs(float(text)) <= LARGEST:
            self._cell_fault(row, column, cells, allowed)
        return float(text)

    def _whole(self, row: int, column: str, cells: Cells, low: int, high: int) -> int | None:
        allowed = f"a whole number from {low} to {high:,}"
        value = self._number(row, column, cells, allowed)
        if value is not None and not (value.is_integer() and low <= value <= high):
            self._cell_fault(row, column, cells, allowed)
        return None if value is None else int(value)

    def _value(self, row: int, curve: CurveColumn, cells: Cells) -> float | None:
        share = is_share(curve.metric)
        what = f"a share from 0 to 1, for {curve.metric}; divide percents by 100" if share else "a finite number"
        allowed = f"{what}; leave the cell empty where the value is missing"
        value = self._number(row, curve.column, cells, allowed)
        if share and value is not None and not 0 <= value <= 1:
            self._cell_fault(row, curve.column, cells, allowed)
        return value

    def _check_single(self, points: Sequence[CurvePoint], cells: Mapping[int, Cells]) -> None:
        """One row per trial and step: nothing is mixed without a word."""
        first: dict[tuple[tuple[str, ...], int], CurvePoint] = {}
        for point in points:
            before = first.setdefault((point.trial, point.step), point)
            if before is not point:
                doubles = [cells[one.row] for one in points if (one.trial, one.step) == (point.trial, point.step)]
                pairs = zip(self.trial_columns, point.trial, strict=True)
                names = ", ".join(f"{name} {value!r}" for name, value in pairs)
                message = f"{names} has step {point.step:,} already, in row {before.row}; allowed: one row for both"
                self._fault(f"row {point.row}", f"{message}; {self._remedy(doubles, cells)}")

    def _remedy(self, doubles: Sequence[Cells], cells: Mapping[int, Cells]) -> str:
        """What to do about rows of one trial and step, by the columns in which they differ."""
        used = {*self.trial_columns, self.step, *filter(None, [self.n]), *(curve.column for curve in self.curves)}
        varying = [name for name in doubles[0] if name not in used and len({one[name] for one in doubles}) > 1]
        if not varying:
            return "remove one of them"
        told_apart = ",".join([*self.trial_columns, varying[0]])
        condition = self._condition(varying[0], doubles[0], cells)
        return f"they differ in {', '.join(varying)}: choose by --where {condition} or --trial {told_apart}"

    def _condition(self, name: str, row: Cells, cells: Mapping[int, Cells]) -> str:
        """What chooses the rows that are like this one, as a shell takes it."""
        column = name if name.isidentifier() else '"' + name.replace('"', '""') + '"'
        text = self._typed(name, [one[name] for one in cells.values()]).dtype == pl.String
        value = "'" + row[name].replace("'", "''") + "'" if text else row[name].strip()
        condition = f"{column} = {value}" if row[name].strip() else f"{column} IS NULL"
        return shlex.quote(condition) if {*'"$`\\'} & {*condition} else f'"{condition}"'


def by_trial(points: Sequence[CurvePoint]) -> Iterator[tuple[tuple[str, ...], list[CurvePoint]]]:
    """The points of each trial, by step; trials in the order in which the file begins them."""
    groups: dict[tuple[str, ...], list[CurvePoint]] = {}
    for point in points:
        groups.setdefault(point.trial, []).append(point)
    for trial, own in groups.items():
        yield trial, sorted(own, key=lambda point: point.step)
