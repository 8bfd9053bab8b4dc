"""The report of a study: one HTML file that needs no network, each figure as PNG and SVG, its data as CSV.

Owns `<root>/studies/<name>/report/`: index.html, answer.{json,txt,csv}, <figure>.{png,svg,csv}. The same tables
give the same bytes; the page does not say when it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from analysis.answer import answer, as_json_text, as_text
from analysis.page import page
from analysis.tables import StudyTables, load
from trainables.store import Store


@dataclass(frozen=True)
class ReportPaths:
    """Where the report lies: the page, and every file by name."""

    index: str
    files: dict[str, str]


def write_report(root: str | Path, study: str, versions: Mapping[str, Any] | None = None) -> ReportPaths:
    """Write the report of a study. Without `versions`, those that study.json names."""
    from analysis.figures import draw

    tables = load(root, study)
    versions = _versions(tables) if versions is None else versions
    frame = answer(tables)
    figures = draw(tables)
    files: dict[str, bytes] = {
        "answer.json": as_json_text(frame).encode(),
        "answer.txt": as_text(frame).encode(),
        "answer.csv": frame.write_csv().encode(),
    }
    for figure in figures:
        files |= _images(figure.name, figure.chart, figure.data)
    files["index.html"] = page(tables, frame, figures, versions, failures(root, tables)).encode()
    return _write(Store(root), f"studies/{study}/report", files)


def _versions(tables: StudyTables) -> dict[str, Any]:
    spec = tables.spec
    return {**(spec.get("versions") or {}), **({"commit": spec["commit"]} if spec.get("commit") else {})}


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


def _marker(store: Store, run_id: str | None) -> dict[str, Any]:
    try:
        return store.read_json(f"runs/{run_id}/FAILED.json") or {}
    except ValueError as error:
        return {"error": str(error)}


def _images(name: str, chart: Any, data: pl.DataFrame) -> dict[str, bytes]:
    import vl_convert

    from analysis.figures.theme import spec

    described = spec(chart)
    return {
        f"{name}.png": bytes(vl_convert.vegalite_to_png(described, scale=2)),
        f"{name}.svg": str(vl_convert.vegalite_to_svg(described)).encode(),
        f"{name}.csv": data.write_csv().encode(),
    }


def _write(store: Store, folder: str, files: dict[str, bytes]) -> ReportPaths:
    """Write the files, and remove figures of an earlier report that are no longer drawn."""
    for name, content in files.items():
        store.write(f"{folder}/{name}", content)
    for path in store.list(folder):
        if path.endswith((".png", ".svg", ".csv")) and path.removeprefix(f"{folder}/") not in files:
            store.delete(path)
    return ReportPaths(store.path(f"{folder}/index.html"), {name: store.path(f"{folder}/{name}") for name in files})
