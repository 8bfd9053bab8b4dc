"""Where the files of one study lie: `studies/<name>/`. Names and paths, and reading what needs no data frame.

studies/<name>/study.yaml          the file as it was run last
studies/<name>/study.json          what it says, read and checked, with versions
studies/<name>/code/<digest>/      code and data from outside that it named, now or before; kept here, never changed
studies/<name>/trials.parquet      a row per trial (schema.TRIAL_COLUMNS)
studies/<name>/extensions.json     lengths asked for after the fact
studies/<name>/launches.json       what launches were foretold to take, and what they took
studies/<name>/transplants.parquet states of one checkpoint in another (schema.TRANSPLANT_COLUMNS), measured anew
studies/<name>/audit.json          how runs came out that were trained again (orchestrator/execution/audit.py)
studies/<name>/report/             the page, its figures, answer.json

Writers: `orchestrator/runs/study_dir.py`, for transplants `orchestrator/runs/transplants.py`, for the audit
`orchestrator/execution/audit.py`, for the report `analysis/report/report.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from grokstudy.trainables import plugins
from grokstudy.trainables.messages import first_line
from grokstudy.trainables.schema import TRANSPLANT_COLUMNS, TRIAL_COLUMNS
from grokstudy.trainables.storage.records import arrow_schema, in_memory
from grokstudy.trainables.storage.store import DamagedError, Store

NAME = re.compile(r"[a-z0-9][a-z0-9_.]*")
"""What a study can be called."""
FIXED = arrow_schema(TRIAL_COLUMNS)
"""The columns of trials.parquet that every study has; its axes follow."""
TRANSPLANTED = arrow_schema(TRANSPLANT_COLUMNS)
"""The columns of transplants.parquet."""
EARLY, SOURCES = ("memorised", "generalised"), ("early", "late", "untrained")
"""What the early checkpoint of a transplant can be, and whose state and context."""
AUDIT_LABELS = ("bitwise", "statistical", "not reproducible")
"""What an audit can say of a run and of a study, from the best to the worst."""
MEASURED = ("transplants.parquet", "audit.json")
"""What was measured of its runs after they had ended, each where it was asked for."""
FILES = ("study.yaml", "study.json", "extensions.json", "launches.json", "trials.parquet", *MEASURED)
OURS = re.compile(
    rf"studies/(?P<study>{NAME.pattern})"
    rf"/(?:{'|'.join(map(re.escape, FILES))}"
    rf"|code/[0-9a-f]{{16}}/(?:(?:[^\W\d]\w*/)*[^\W\d]\w*\.py|{plugins.DATA_PATH}))"
)
"""Every path that a study's file can have; the report is made anew and not counted."""


@dataclass(frozen=True)
class StudyDir:
    """The folder of one study in a root."""

    store: Store
    name: str

    @property
    def folder(self) -> str:
        """The folder, relative to the root."""
        return f"studies/{self.name}"

    @property
    def text(self) -> str:
        """The study file as it was run last."""
        return f"{self.folder}/study.yaml"

    @property
    def spec(self) -> str:
        """What it says, as JSON."""
        return f"{self.folder}/study.json"

    def code(self, digest: str) -> str:
        """The folder of code from outside."""
        return f"{self.folder}/code/{digest}"

    def keep_code(self, names: Iterable[str]) -> None:
        """Put down the code of these full names, once for each digest."""
        for code in {plugins.code_of(name).digest: plugins.code_of(name) for name in names}.values():
            folder = self.code(code.digest)
            paths = {*self.store.list(folder, recursive=True)}
            for path, text in code.files.items():
                if f"{folder}/{path}" not in paths:
                    self.store.write(f"{folder}/{path}", text.encode())

    def code_names(self) -> dict[str, str]:
        """Full names of the code from outside of the last run, by word. Raises DamagedError for what is none."""
        names = (self.find_spec() or {}).get("code") or {}
        if not (isinstance(names, dict) and all(plugins.is_full(x) or plugins.is_data(x) for x in names.values())):
            raise DamagedError(f"{self.store.path(self.spec)}: code is no list of names; run the study again")
        return dict(names)

    def read_code(self, name: str) -> dict[str, str]:
        """The kept text of the code of a full name, by path; empty where it is not there."""
        folder = self.code(name.rpartition("@")[2])
        paths = filter(OURS.fullmatch, self.store.list(folder, recursive=True))  # folders are in the list, too
        return {path.removeprefix(f"{folder}/"): self.store.read(path).decode(errors="replace") for path in paths}

    def load_code(self, names: Iterable[str]) -> None:
        """Make the kept code of these full names known to this process. Raises DamagedError where it is not whole."""
        for name in names:
            folder, files = self.code(name.rpartition("@")[2]), self.read_code(name)
            if not plugins.known(files, self.store.path(folder)).is_of(name):
                detail = "is not there" if not files else "was changed"
                raise DamagedError(f"{self.store.path(folder)}: {detail}; run the study with the files as they are")

    @property
    def trials(self) -> str:
        """The table of its trials."""
        return f"{self.folder}/trials.parquet"

    @property
    def extensions(self) -> str:
        """Lengths asked for after the fact, by run."""
        return f"{self.folder}/extensions.json"

    @property
    def launches(self) -> str:
        """What launches were foretold to take, and what they took, where something was foretold."""
        return f"{self.folder}/launches.json"

    @property
    def transplants(self) -> str:
        """The table of transplants between checkpoints, where they were asked for."""
        return f"{self.folder}/transplants.parquet"

    @property
    def audit(self) -> str:
        """What came of the last audit, where there was one."""
        return f"{self.folder}/audit.json"

    @property
    def report(self) -> str:
        """The folder of its report."""
        return f"{self.folder}/report"

    @property
    def page(self) -> str:
        """The report's page."""
        return f"{self.report}/index.html"

    @property
    def answer(self) -> str:
        """The answer as JSON."""
        return f"{self.report}/answer.json"

    def read_trials(self, *columns: str) -> pa.Table:
        """The table of its trials, in which these columns must be. Raises DamagedError for a torn or foreign one."""
        content = self.store.read(self.trials)
        try:
            rows = in_memory(content).read(use_threads=False)
            for column in {*columns} | {*FIXED.names} & {*rows.column_names}:
                place = rows.schema.get_field_index(column)
                rows = rows.set_column(place, column, rows[column].cast(FIXED.field(column).type))
            rows.validate(full=True)
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            again = "delete it; grokstudy run with the study's file writes it again"
            detail = f"cannot be read ({first_line(error, 80)})"
            raise DamagedError(f"{self.store.path(self.trials)}: {detail}; {again}") from None
        return rows

    def trial_rows(self) -> list[dict[str, Any]]:
        """Its trials as rows. Raises DamagedError."""
        rows: list[dict[str, Any]] = self.read_trials("run_id", "trial_id", "horizon", "seed").to_pylist()
        return rows

    def has_trials(self) -> bool:
        """Whether its trials have been put down."""
        return self.store.exists(self.trials)

    def read_text(self) -> str:
        """The study file as it was run last; empty when there is none, as for imported curves."""
        return self.store.read(self.text).decode(errors="replace") if self.store.exists(self.text) else ""

    def find_spec(self) -> dict[str, Any] | None:
        """study.json; None when it is not there. Raises DamagedError."""
        return self.store.read_json(self.spec)

    def find_audit(self) -> dict[str, Any] | None:
        """What came of the last audit; None where there was none. Raises DamagedError for what is no audit."""
        audit = self.store.read_json(self.audit)
        if audit is None:
            return None
        rows, label = audit.get("runs"), audit.get("label")
        known = label is None or label in AUDIT_LABELS
        if not (known and isinstance(rows, list) and all(isinstance(row, dict) and "run_id" in row for row in rows)):
            remedy = f"grokstudy audit {self.name} writes it again"
            raise DamagedError(f"{self.store.path(self.audit)}: is no audit as grokstudy writes it; {remedy}")
        return audit

    def find_transplants(self) -> pa.Table | None:
        """The table of transplants; None where there were none. Raises DamagedError for a torn or foreign one."""
        if not self.store.exists(self.transplants):
            return None
        try:
            rows = in_memory(self.store.read(self.transplants)).read(use_threads=False)
            rows = rows.select(TRANSPLANTED.names).cast(TRANSPLANTED)
            rows.validate(full=True)
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            self._refuse_transplants(f"cannot be read ({first_line(error, 80)})")
        for column, allowed in {"stage": EARLY, "donor": SOURCES, "receiver": SOURCES}.items():
            if odd := set(rows[column].unique().to_pylist()) - {*allowed}:
                self._refuse_transplants(f"{column} is {min(map(str, odd))!r}, allowed are {', '.join(allowed)}")
        for column, most in {"value": 1, "early": None, "late": None, "n": None}.items():
            lowest, highest = pc.min_max(rows[column]).as_py().values()
            if lowest is not None and (lowest < 0 or (most is not None and highest > most)):
                limits = "0 to 1" if most else "0 or more"
                self._refuse_transplants(f"{column} is {lowest:g} to {highest:g}, allowed is {limits}")
        if pc.any(pc.is_nan(rows["value"])).as_py():
            self._refuse_transplants("value is not a number, allowed is 0 to 1 or none")
        return rows

    def _refuse_transplants(self, detail: str) -> NoReturn:
        remedy = f"grokstudy transplants {self.name} writes it again"
        raise DamagedError(f"{self.store.path(self.transplants)}: {detail}; {remedy}")

    def read_spec(self) -> dict[str, Any]:
        """study.json. Raises FileNotFoundError naming the studies that there are."""
        spec = self.find_spec()
        if spec is None:
            known = ", ".join(study_names(self.store)) or "none"
            raise FileNotFoundError(f"{self.store.uri}: there is no study {self.name!r}; studies here: {known}")
        return spec


def study_names(store: Store) -> list[str]:
    """The studies of a root."""
    names = [PurePosixPath(path).name for path in store.list("studies")]
    return [name for name in names if store.exists(StudyDir(store, name).spec)]
