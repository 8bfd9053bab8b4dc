"""The run directory: the only state there is. Names and paths, markers and the lease of one run.

runs/<run_id>/run.json                  configuration, data hash, versions; written at the first start
runs/<run_id>/lease.json                the attempt that may write, and how many in a row got no further
runs/<run_id>/checkpoints/step-<step>-<sha256>.pt, event-<step>-<sha256>.pt     see checkpoint.py
runs/<run_id>/DONE.json                 {"step", "reason", ...}, written last
runs/<run_id>/FAILED.json               {"error", "traceback", ...}, written last
metrics/<table>/run_id=<id>/part-<first step>.parquet
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from grokstudy.trainables.config import MOST_STEPS, NUMERICS, RunConfig
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage.store import DamagedError, Store

MARKERS = ("run.json", "lease.json", "DONE.json", "FAILED.json")
PART = re.compile(r"part-(?P<start>\d{9})\.parquet")
CHECKPOINT = re.compile(r"(?P<kind>step|event)-(?P<step>\d{9})-(?P<digest>[0-9a-f]{16})\.pt")
IMPORTED = "ext-"
"""How the ids of imported curves begin, which have no configuration."""
_ID = rf"(?P<run_id>[0-9a-f]{{16}}|{IMPORTED}[0-9a-f]{{12}})"
OURS = re.compile(
    rf"runs/{_ID}/(?:{'|'.join(map(re.escape, MARKERS))}|checkpoints/{CHECKPOINT.pattern})"
    rf"|metrics/(?P<table>{'|'.join(TABLES)})/run_id={_ID.replace('run_id', 'rows_of')}/{PART.pattern}"
)
"""Every path that a run's file can have."""

_NEEDED: dict[str, dict[str, type]] = {
    "DONE.json": {"step": int, "reason": str},
    "FAILED.json": {"error": str, "traceback": str, "step": int},
}
"""What a file must hold to be of use."""
_WORDS = {int: "whole number", str: "text"}
MOST_ATTEMPTS = 2**15 - 1
"""What fits into the column `attempt`."""


def run_ids(store: Store) -> list[str]:
    """The runs of a root that have begun. Costs one listing."""
    return [PurePosixPath(path).name for path in store.list("runs")]


def run_of(path: str) -> str | None:
    """The run that a path of a root belongs to, by its folders alone; None for a file of no run."""
    parts = PurePosixPath(path).parts
    if len(parts) > 2 and parts[0] == "runs":
        return parts[1]
    rows = len(parts) > 3 and parts[0] == "metrics" and parts[1] in TABLES and parts[2].startswith("run_id=")
    return parts[2].removeprefix("run_id=") if rows else None


class LeaseLostError(RuntimeError):
    """A later attempt has taken over this run; this one must not write any more."""


@dataclass(frozen=True)
class RunDir:
    """Where the files of one run lie."""

    store: Store
    run_id: str

    @property
    def folder(self) -> str:
        """The run's own folder, relative to the root."""
        return f"runs/{self.run_id}"

    @property
    def is_imported(self) -> bool:
        """Whether its rows are curves from elsewhere."""
        return self.run_id.startswith(IMPORTED)

    @property
    def checkpoints(self) -> str:
        """Folder of the checkpoints."""
        return f"{self.folder}/checkpoints"

    def parts(self, table: str) -> str:
        """Folder of the parts of one table."""
        return f"metrics/{table}/run_id={self.run_id}"

    @property
    def folders(self) -> list[str]:
        """Every folder that holds files of the run."""
        return [*(self.parts(table) for table in TABLES), self.folder]

    def config(self) -> RunConfig | None:
        """The configuration in run.json; None when the run has not begun. Raises DamagedError when it is none."""
        about = self.read("run.json")
        if about is None:
            return None
        try:
            return RunConfig.from_dict({"numerics": about.get("numerics", NUMERICS), **about["config"]})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            path = self.store.path(f"{self.folder}/run.json")
            raise DamagedError(f"{path}: cannot be read ({error}); run the study again") from None

    def part(self, table: str, first_step: int) -> str:
        """Name of the part whose first row is at `first_step`."""
        return f"{self.parts(table)}/part-{first_step:09d}.parquet"

    def read(self, name: str) -> dict[str, Any] | None:
        """Read run.json, DONE.json, FAILED.json or lease.json; None when it is not there. Raises DamagedError."""
        value = self.store.read_json(f"{self.folder}/{name}")
        for key, kind in _NEEDED.get(name, {}).items() if value is not None else ():
            if type((value or {}).get(key)) is not kind:
                path = self.store.path(f"{self.folder}/{name}")
                raise DamagedError(f"{path}: {key} is missing or no {_WORDS[kind]}; delete it and run the study again")
        return value

    def has(self, name: str) -> bool:
        """Whether one of the markers is there."""
        return self.store.exists(f"{self.folder}/{name}")

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Write one of the markers."""
        self.store.write_json(f"{self.folder}/{name}", value)

    def clear(self, name: str) -> None:
        """Remove a marker, if it is there."""
        self.store.delete(f"{self.folder}/{name}")


@dataclass(frozen=True)
class Lease:
    """The right to write a run, held by its newest attempt."""

    run: RunDir
    attempt: int
    token: str
    stuck: int = 0
    """How many attempts in a row before this one ended without a word and without a newer checkpoint."""

    @classmethod
    def take(cls, run: RunDir, reached: int = 0) -> Lease:
        """Start the next attempt at step `reached`; whoever held the lease before has lost it."""
        previous = last_lease(run)
        silent = not any(run.has(name) for name in ("DONE.json", "FAILED.json"))
        stuck = previous["stuck"] + 1 if silent and previous["reached"] == reached else 0
        lease = cls(run, previous["attempt"] + 1, uuid.uuid4().hex, stuck)
        run.write("lease.json", {"attempt": lease.attempt, "token": lease.token, "reached": reached, "stuck": stuck})
        return lease

    def check(self) -> None:
        """Raise LeaseLostError if a later attempt has started."""
        current = self.run.read("lease.json")
        if current is None or current.get("token") != self.token:
            holder = "nobody" if current is None else f"attempt {current.get('attempt')}"
            raise LeaseLostError(f"run {self.run.run_id}: attempt {self.attempt} lost its lease to {holder}")


def last_lease(run: RunDir) -> dict[str, int]:
    """The numbers of the newest lease: attempt, reached, stuck. One that is torn counts as none."""
    try:
        lease = run.read("lease.json") or {}
    except ValueError:
        lease = {}
    numbers = {name: value for name, value in lease.items() if type(value) is int and -1 <= value < MOST_STEPS}
    if not 0 <= numbers.get("attempt", 0) < MOST_ATTEMPTS:
        del numbers["attempt"]
    return {"attempt": 0, "reached": -1, "stuck": 0, **numbers}
