"""The report of a study: one HTML file that needs no network, and each figure as files of its own.

Owns `<root>/studies/<name>/report/`: index.html, answer.{json,txt,csv}, <figure>.{svg,pdf,png,csv,txt}. The same
tables give the same bytes, but for the order of fonts in a PDF; the page does not say when it was written.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from grokstudy.analysis.answer import answer, as_json_text
from grokstudy.analysis.report.methods import methods
from grokstudy.analysis.report.page import page
from grokstudy.analysis.summary import answer_text
from grokstudy.analysis.tables.study import StudyTables, load
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import StudyDir

KINDS = (".svg", ".pdf", ".png", ".csv", ".txt")


@dataclass(frozen=True)
class ReportPaths:
    """Where the report lies: the page, and every file by name; with what it says."""

    index: str
    files: dict[str, str]
    answer: pl.DataFrame
    warnings: list[str]


def write_report(
    root: str | Path,
    study: str,
    versions: Mapping[str, Any] | None = None,
    own: Sequence[str] | None = None,
    answered: Callable[[pl.DataFrame], None] | None = None,
) -> ReportPaths:
    """Write the report of a study. Without `versions`, or its `own` figures, those that study.json names.

    `answered` is told the answer before figures are drawn, which takes longer than all the rest.
    """
    from grokstudy.analysis.figures import draw, with_own
    from grokstudy.analysis.report.images import pictures

    tables = load(root, study)
    if versions is None:
        spec = tables.spec
        versions = {**(spec.get("versions") or {}), **({"commit": spec["commit"]} if spec.get("commit") else {})}
    frame = answer(tables)
    if answered is not None:
        answered(frame)
    figures, missing = with_own(tables, draw(tables), own)
    files: dict[str, bytes] = {
        "answer.json": as_json_text(frame).encode(),
        "answer.txt": answer_text(frame).encode(),
        "answer.csv": frame.write_csv().encode(),
    }
    for figure in figures:
        files |= pictures(figure, _command(root, study, figure.name))
    store = Store(root)
    how = methods(store, tables, versions)
    files["index.html"] = page(tables, frame, figures, versions, failures(root, tables), how, missing).encode()
    folder = StudyDir(store, study).report
    _write(store, folder, files)
    places = {name: store.path(f"{folder}/{name}") for name in files}
    return ReportPaths(places["index.html"], places, frame, [*tables.warnings, *missing])


def write_figure(
    root: str | Path, study: str, name: str, column: bool = False, own: Sequence[str] | None = None
) -> list[str]:
    """Draw one figure anew; returns its files. Raises ValueError naming the figures that the study has.

    Its `own` figures are those given, or those that study.json names.
    """
    from grokstudy.analysis.figures import FIGURES, draw, with_own
    from grokstudy.analysis.report.images import pictures

    tables, first = load(root, study), name.split("_")[0]
    near = [figure for known in FIGURES if known.split("_")[0] == first for figure in FIGURES[known](tables) or ()]
    named = [figure for figure in near if figure.name == name]
    if not named:
        all_of_it, missing = with_own(tables, draw(tables), own)
        named = [figure for figure in all_of_it if figure.name == name]
    if not named:
        names = "; ".join([", ".join(figure.name for figure in all_of_it) or "none", *missing])
        raise ValueError(f"{study} has no figure {name!r}; it has: {names}")
    store = Store(root)
    folder = StudyDir(store, study).report
    files = pictures(named[0], _command(root, study, name) + (" --column" if column else ""), column)
    for file, content in files.items():
        store.write(f"{folder}/{file}", content)
    return [store.path(f"{folder}/{file}") for file in files]


def _command(root: str | Path, study: str, figure: str) -> str:
    return shlex.join(["grokstudy", "report", study, "--root", str(root), "--figure", figure])


def failures(root: str | Path, tables: StudyTables) -> pl.DataFrame:
    """Trials that are not done, with what FAILED.json says of a crash, or why there is no run."""
    store = Store(root)
    rows = tables.trials.filter(pl.col("state") != "done").sort("trial_id").collect()
    notes = rows["start.note"] if "start.note" in rows.columns else [None] * rows.height
    markers = [_marker(store, run_id) if run_id else {"error": note}
               for run_id, note in zip(rows["run_id"], notes, strict=True)]  # fmt: skip
    texts = {key: [str(marker.get(key) or "") for marker in markers] for key in ("error", "traceback")}
    chosen = rows.select("trial_id", "run_id", "seed", "state", *tables.axes)
    return chosen.with_columns(pl.Series(key, values, dtype=pl.String) for key, values in texts.items())


def _marker(store: Store, run_id: str) -> dict[str, Any]:
    try:
        return store.read_json(f"{RunDir(store, run_id).folder}/FAILED.json") or {}
    except ValueError as error:
        return {"error": str(error)}


def _write(store: Store, folder: str, files: dict[str, bytes]) -> None:
    """Write the files, and remove figures of an earlier report that are no longer drawn."""
    for name, content in files.items():
        store.write(f"{folder}/{name}", content)
    for path in store.list(folder):
        if path.endswith(KINDS) and path.removeprefix(f"{folder}/").replace("_column.", ".") not in files:
            store.delete(path)
