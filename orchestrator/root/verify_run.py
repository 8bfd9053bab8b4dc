"""Whether the files of one run agree with each other: rows, parts, checkpoints, markers. Reads only.

What is expected: the parts of `steps`, in the order of their names, hold the steps 0, 1, 2, ... once each; `evals`
holds every split at every step of the evaluation grid that was reached; DONE.json names the step at which they end.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from grokstudy.trainables.config import RunConfig, eval_steps
from grokstudy.trainables.storage.records import SCHEMAS, decode
from grokstudy.trainables.storage.run_dir import CHECKPOINT, OURS, PART, RunDir
from grokstudy.trainables.storage.store import DamagedError

AGAIN = "remove its DONE.json, if any, and run the study again: it is trained again from before the damage"
KEYS = {"steps": ("step",), "evals": ("step", "split"), "probes": ("step", "probe", "split", "layer", "position")}


@dataclass(frozen=True, order=True)
class Fault:
    """Something that `verify` found."""

    path: str
    kind: str
    """torn, foreign, gap, duplicate, order, checksum, orphan, marker, config, unfinished."""
    detail: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}: {self.detail}; {self.remedy}"


def verify_run(run: RunDir, files: list[str], imported: bool = False) -> Iterator[Fault]:
    """Everything that is wrong with one run. `files` are all files of the root that belong to it.

    Imported curves have no configuration, and their steps need not follow on each other.
    """
    for path in files:
        if not OURS.fullmatch(path) and path != run.checkpoints:
            yield Fault(path, "foreign", "not a file of ours", "move it out of the root")
    config = None if imported else (yield from _config(run))
    tables: dict[str, pa.Table] = {}
    for table in SCHEMAS:
        parts = sorted(path for path in files if path.startswith(f"{run.parts(table)}/"))
        rows, found = _read(run, table, [path for path in parts if PART.fullmatch(PurePosixPath(path).name)])
        tables[table] = rows
        yield from found or ([] if imported else _rows(run, table, rows))
    yield from damaged_checkpoints(run, files)
    if config is not None:
        yield from _ends(run, config, tables)


def _config(run: RunDir) -> Generator[Fault, None, RunConfig | None]:
    path = f"{run.folder}/run.json"
    try:
        config = run.config()
    except DamagedError as error:
        yield Fault(path, "config", str(error).removeprefix(f"{run.store.path(path)}: ").partition("; ")[0], AGAIN)
        return None
    if config is None:
        yield Fault(path, "config", "is missing", AGAIN)
    elif config.run_id != run.run_id:
        detail = f"its configuration belongs to run {config.run_id}"
        yield Fault(path, "config", detail, "it was changed; train it anew")
    return config


def _read(run: RunDir, table: str, parts: list[str]) -> tuple[pa.Table, list[Fault]]:
    """All rows in the order of the parts, and the parts that cannot be read or hold rows of others."""
    pieces, faults = [], []
    starts = [int(match["start"]) for path in parts if (match := PART.search(path))]
    for path, start, end in zip_longest(parts, starts, starts[1:]):
        try:
            rows = decode(run.store.read(path), table)
        except (pa.ArrowException, KeyError, ValueError, OSError) as error:
            faults.append(Fault(path, "torn", f"cannot be read ({str(error).splitlines()[0][:80]})", AGAIN))
            continue
        steps = rows["step"].to_numpy()
        if len(steps) and (steps.min() < start or (end is not None and steps.max() >= end)):
            detail = f"holds steps {steps.min()} to {steps.max()}, the next part begins at {end}"
            faults.append(Fault(path, "duplicate", detail, "grokstudy compact merges the parts of a finished run"))
        pieces.append(rows)
    return pa.concat_tables(pieces) if pieces else SCHEMAS[table].empty_table(), faults


def _rows(run: RunDir, table: str, rows: pa.Table) -> Iterator[Fault]:
    """Every key once, steps in ascending order, and for `steps` none left out."""
    keys = list(zip(*(rows[name].to_pylist() for name in KEYS[table]), strict=True))
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        yield Fault(run.parts(table), "duplicate", f"{len(twice)} rows, the first at step {min(twice)[0]}", AGAIN)
    steps = rows["step"].to_pylist()
    back = [after for before, after in pairwise(steps) if after < before]
    if back:
        yield Fault(run.parts(table), "order", f"step {back[0]} comes after a later one", AGAIN)
    if table == "steps" and not back and len(set(steps)) != (missing := max(steps, default=-1) + 1):
        first = next(step for step in range(missing) if step not in set(steps))
        yield Fault(run.parts(table), "gap", f"{missing - len(set(steps))} steps, the first {first}", AGAIN)


def damaged_checkpoints(run: RunDir, files: list[str]) -> Iterator[Fault]:
    """Checkpoints whose content is not what their name says."""
    for path in files:
        match = CHECKPOINT.fullmatch(PurePosixPath(path).name)
        if match and hashlib.sha256(run.store.read(path)).hexdigest()[:16] != match["digest"]:
            yield Fault(path, "checksum", "its content is not what was written", "grokstudy gc removes it")


def _ends(run: RunDir, config: RunConfig, tables: dict[str, pa.Table]) -> Iterator[Fault]:
    """Whether the tables end where the marker says, and every evaluation up to there was made."""
    path = f"{run.folder}/DONE.json"
    reached = len(tables["steps"])
    try:
        done: dict[str, Any] | None = run.read("DONE.json")
        last = reached - 1 if done is None else int(done["step"])
        reason = "" if done is None else str(done["reason"])
    except (ValueError, KeyError, TypeError) as error:
        yield Fault(path, "marker", f"cannot be read ({error})", AGAIN)
        return
    if done is not None and reason != "stopped" and last != reached:
        yield Fault(path, "marker", f"says {last} steps, the table has {reached}", AGAIN)
    wanted = [step for step in eval_steps(config.eval, config.train.steps) if step <= last]
    if reason == "diverged":
        wanted = [step for step in wanted if step < last]
    missing = sorted(set(wanted) - set(tables["evals"]["step"].to_pylist()))
    if missing:
        yield Fault(run.parts("evals"), "gap", f"{len(missing)} evaluations, the first at step {missing[0]}", AGAIN)
    splits = Counter(tables["evals"]["step"].to_pylist())
    uneven = sorted(step for step, count in splits.items() if count != max(splits.values()))
    if uneven:
        yield Fault(run.parts("evals"), "gap", f"splits are missing at step {uneven[0]}", AGAIN)
