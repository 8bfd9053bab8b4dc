"""Whether the files of one run agree with each other: rows, parts, checkpoints, markers. Reads only.

What is expected (`trainables/storage/continuity.py`): every row of every table once and in order, up to the newest part
or checkpoint; DONE.json names the step at which they end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.measurements import is_share
from grokstudy.trainables.messages import first_line
from grokstudy.trainables.storage import continuity
from grokstudy.trainables.storage.continuity import KEYS, Census, census
from grokstudy.trainables.storage.records import SCHEMAS, decode, joined
from grokstudy.trainables.storage.run_dir import CHECKPOINT, OURS, PART, RunDir
from grokstudy.trainables.storage.store import DamagedError

AGAIN = "remove its DONE.json, if any, and run the study again: it is trained again from before the damage"
ANEW = (
    "it was changed; remove it and the run's DONE.json, if any, and run the study again: it is trained anew from there"
)
MERGE = "grokstudy compact merges the parts of a finished run"
ROUNDING = 1e-4
"""By which a mean of shares may pass 1."""
READERS = 8
"""Threads that read parts: the storage answers several at once, and Arrow decodes without Python's lock."""


@dataclass(frozen=True, order=True)
class Fault:
    """Something that `verify` found."""

    path: str
    kind: str
    """torn, foreign, value, gap, duplicate, order, stray, checksum, orphan, marker, config."""
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
    imported = imported or run.is_imported
    config = None if imported else (yield from _config(run))
    done = None if imported else (yield from _marker(run, files))
    censuses: dict[str, Census] = {}
    for table in SCHEMAS:
        parts = sorted(path for path in files if path.startswith(f"{run.parts(table)}/"))
        rows, faults = _read(run, table, [path for path in parts if PART.fullmatch(PurePosixPath(path).name)])
        for fault in faults:  # parts of a run that has not ended are not merged
            yield fault if done or fault.remedy != MERGE else replace(fault, remedy=AGAIN)
        if not faults:
            censuses[table] = census(rows, table)
    yield from damaged_checkpoints(run, files)
    for table, counted in {} if imported else censuses.items():
        if len(counted.twice):
            what = f"{len(counted.twice)} rows, the first at step {counted.twice[0]}"
            yield Fault(run.parts(table), "duplicate", what, AGAIN)
        if len(counted.back):
            yield Fault(run.parts(table), "order", f"step {counted.back[0]} comes after a later one", AGAIN)
    if not imported:
        yield from _ends(run, config, files, done, censuses)


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
        return None
    return config


def _marker(run: RunDir, files: list[str]) -> Generator[Fault, None, dict[str, Any] | None]:
    """DONE.json, if it was there when the files were listed."""
    path = f"{run.folder}/DONE.json"
    try:
        return run.read("DONE.json") if path in files else None
    except ValueError as error:
        yield Fault(path, "marker", f"cannot be read ({first_line(error)})", AGAIN)
        return None


def _read(run: RunDir, table: str, parts: list[str]) -> tuple[pa.Table, list[Fault]]:
    """The keys of all rows in the order of the parts, and the parts that cannot be read or hold rows of others."""
    pieces, faults = [], []
    starts = [int(match["start"]) for path in parts if (match := PART.search(path))]
    with ThreadPoolExecutor(READERS) as pool:
        read = pool.map(lambda path: _keys(run, table, path), parts)
        for path, rows, start, end in zip_longest(parts, read, starts, starts[1:]):
            if isinstance(rows, Fault):
                faults.append(rows)
                continue
            steps = rows["step"].to_numpy()
            if len(steps) and (steps.min() < start or (end is not None and steps.max() >= end)):
                detail = f"holds steps {steps.min()} to {steps.max()}, the next part begins at {end}"
                faults.append(Fault(path, "duplicate", detail, MERGE))
            pieces.append(rows)
    return joined(pieces, table), faults


def _keys(run: RunDir, table: str, path: str) -> pa.Table | Fault:
    """What tells the rows of a part apart; the whole of it is read and held against its checksums and limits."""
    try:
        rows = decode(run.store.read(path), table)
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        return Fault(path, "torn", f"cannot be read ({first_line(error)})", AGAIN)
    beyond = _beyond(rows, table)
    return rows.select(KEYS[table]) if beyond is None else Fault(path, "value", beyond, ANEW)


def _beyond(rows: pa.Table, table: str) -> str | None:
    """A number that no run of ours records: negative counts, shares outside 0 to 1; None where there is none."""
    limits: list[tuple[str, pa.ChunkedArray, int | None]] = [("step", rows["step"], None)]
    limits += [("n", rows["n"], None)] if "n" in rows.column_names else []
    limits += [("accuracy", rows["accuracy"], 1)] if table == "evals" else []
    if table == "probes":
        shares = pa.array([name for name in rows["probe"].unique().to_pylist() if is_share(name)], pa.string())
        limits.append(("value", rows.filter(pc.is_in(rows["probe"], shares))["value"], 1))
    for name, column, most in limits:
        lowest, highest = pc.min_max(column).as_py().values()
        if lowest is not None and (lowest < 0 or (most is not None and highest > most + ROUNDING)):
            return f"{name} is {lowest:g} to {highest:g}, allowed is {'0 or more' if most is None else '0 to 1'}"
    return None


def damaged_checkpoints(run: RunDir, files: list[str]) -> Iterator[Fault]:
    """Checkpoints whose content is not what their name says."""
    for path in files:
        match = CHECKPOINT.fullmatch(PurePosixPath(path).name)
        if match and hashlib.sha256(run.store.read(path)).hexdigest()[:16] != match["digest"]:
            yield Fault(path, "checksum", "its content is not what was written", "grokstudy gc removes it")


def _ends(
    run: RunDir, config: RunConfig | None, files: list[str], done: dict[str, Any] | None, censuses: dict[str, Census]
) -> Iterator[Fault]:
    """Whether the tables reach as far as marker, parts and checkpoints say, and hold every row up to there."""
    ended = done is not None and done["reason"] != "stopped"
    step = 0 if done is None else int(done["step"])
    reached = len(censuses["steps"].steps) if "steps" in censuses else None
    if ended and reached is not None and reached > step:
        yield Fault(f"{run.folder}/DONE.json", "marker", f"says {step} steps, the table has {reached}", AGAIN)
    last = None if config is None else config.train.steps
    if done is not None and done["reason"] == "finished":
        last = step
    for table, rows in censuses.items():
        end = step + (table != "steps") if ended else max(step, _safe(files), rows.end)
        if table != "steps":  # not by what a name claims, which can be anything
            end = min(end, max(reached or 0, config.train.steps if config else 0) + 1)
        if missing := continuity.gap(config, table, rows, end, last):
            what = "steps" if table == "steps" else "evaluations"
            yield Fault(run.parts(table), "gap", f"{missing.steps} {what} lack rows, the first {missing.first}", AGAIN)
        if config is not None and len(odd := continuity.stray(config, table, rows, end, last)):
            yield Fault(run.parts(table), "stray", f"{len(odd)} steps have rows unasked, the first {odd[0]}", AGAIN)


def _safe(files: list[str]) -> int:
    """The newest step that a part or a checkpoint is named by: what comes before was written before it."""
    names = (PurePosixPath(path).name for path in files)
    return max(
        (
            int(match["step" if pattern is CHECKPOINT else "start"])
            for name in names
            for pattern in (CHECKPOINT, PART)
            if (match := pattern.fullmatch(name))
        ),
        default=0,
    )
