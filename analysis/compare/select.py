"""What is compared with what: a side is a study, a part of one, or a single run.

- `decoupling`: all results of a study
- `decoupling:data.exposure=natural`: those at one place of its space; several places with commas
- `decoupling:seed < 3 AND data.phi > 5`: those for which a SQL condition holds
- `3f2a9c`: the run whose id begins so, in whatever study it is
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from grokstudy.analysis.query import where
from grokstudy.analysis.tables.families import in_common_words, task_of
from grokstudy.analysis.tables.study import LENGTH, StudyTables, load
from grokstudy.trainables.options import flat
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import study_names


@dataclass(frozen=True)
class Side:
    """One side of a comparison: independent trials of one study that are results."""

    name: str
    tables: StudyTables
    trials: pl.DataFrame
    config: tuple[Mapping[str, Any], ...]
    """The options of its runs, by dotted name."""

    def of(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The rows of its trials, under its name."""
        chosen = self.trials.lazy().select("trial_id")
        return frame.join(chosen, on="trial_id", how="semi").with_columns(side=pl.lit(self.name))

    @property
    def groups(self) -> int:
        """How many settings of its study's axes its trials have: a median over several is of no setting."""
        return self.trials.select(self.tables.groups).n_unique() if self.tables.groups else 1


def sides(root: str, words: Iterable[str]) -> list[Side]:
    """What some words name, to be compared. Raises ValueError as `side` does.

    Those that train different tasks have the events that all families have in common, and read them alike
    (`tables.families`), unless one of them has none.
    """
    named_sides = [side(root, word) for word in words]
    if not train_different_tasks(named_sides):
        return named_sides
    alike = [replace(one, tables=in_common_words(one.tables)) for one in named_sides]
    return alike if all(one.tables.declared for one in alike) else named_sides


def train_different_tasks(named_sides: Iterable[Side]) -> bool:
    """Whether two of them are known to."""
    return len({task_of(one.tables) for one in named_sides} - {None}) > 1


def side(root: str, word: str) -> Side:
    """Find what a word names. Raises ValueError saying what there is."""
    store = Store(root)
    known = study_names(store)
    study, _, conditions = word.partition(":")
    if study in known:
        tables = load(root, study)
        return _side(store, word, tables, _where(tables, conditions))
    for name in known:
        tables = load(root, name)
        matching = tables.results.filter(pl.col("run_id").str.starts_with(word)).collect()
        if not matching.is_empty():
            return _side(store, word, tables, matching)
    raise ValueError(f"{word!r} is neither a study nor the beginning of a run id; studies here: {', '.join(known)}")


def _where(tables: StudyTables, conditions: str) -> pl.DataFrame:
    """The results at one place of the space."""
    frame = tables.results.collect()
    for condition in filter(None, conditions.split(",")):
        axis, sign, value = condition.partition("=")
        if axis not in (*tables.axes, "seed") or not sign:
            return _where_sql(tables, conditions)
        values = frame[axis].unique().sort().to_list()
        wanted = [known for known in values if str(known) == value or _same_number(known, value)]
        if not wanted:
            raise ValueError(f"{axis} is never {value}; it is {', '.join(map(str, values))}")
        frame = frame.filter(pl.col(axis) == wanted[0])
    return frame


def _where_sql(tables: StudyTables, condition: str) -> pl.DataFrame:
    try:
        return where(tables.results.collect(), condition)
    except ValueError as error:
        axes = ", ".join((*tables.axes, "seed"))
        raise ValueError(f"{condition!r}: write axis=value; axes here: {axes}. Or write SQL: {error}") from None


def _same_number(known: Any, text: str) -> bool:
    try:
        return isinstance(known, int | float) and float(text) == float(known)
    except ValueError:
        return False


def _side(store: Store, name: str, tables: StudyTables, trials: pl.DataFrame) -> Side:
    if trials.is_empty():
        raise ValueError(f"{name}: no run of it has ended yet")
    about = trials.select("run_id", *(axis for axis in tables.axes if axis != LENGTH), pl.col("horizon").alias(LENGTH))
    config = []
    for own in about.iter_rows(named=True):  # its length, too, for a run may have gone on for another study
        record = RunDir(store, own.pop("run_id")).read("run.json") or {}
        config.append({**flat(record.get("config", {})), **own})
    return Side(name, tables, trials, tuple(config))
