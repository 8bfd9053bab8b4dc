"""What the markers of a run tell of the machine that trained it: its name, and where its files lay.

An export leaves it out unless asked: run.json without its host, FAILED.json without the host's name and with the last
names of paths alone, as the errors of an audit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import as_json

TELLING = ("run.json", "FAILED.json")
"""The markers that have such traces."""
SOURCES = re.compile(r'(?<=File ")[^"\n]*/(?=[^/"\n]*")')
"""The folders of a traceback's line, whatever their names."""
FOLDERS = re.compile(r"""(?:\b\w+:/|(?<![\w.~/-])~?)/(?:[^/\s:;,'"()\[\]{}]+/)+""")
"""The folders of an absolute path or a URI."""


def without_traces(run: RunDir, name: str) -> bytes:
    """The content of a marker, as `Store.write_json` writes it. Raises DamagedError."""
    marker, about = run.read(name) or {}, run.read("run.json") or {}
    if name == "run.json":
        marker.pop("host", None)
    else:
        host = str(about.get("host") or "")
        marker = {key: _cleaned(value, host) if isinstance(value, str) else value for key, value in marker.items()}
    return as_json(marker)


def audit_without_traces(audit: Mapping[str, Any]) -> bytes:
    """The content of `audit.json`."""
    runs = [{**row, "error": row.get("error") and _cleaned(str(row["error"]), "")} for row in audit["runs"]]
    return as_json({**audit, "runs": runs})


def _cleaned(text: str, host: str) -> str:
    bare = FOLDERS.sub("", SOURCES.sub("", text))
    return re.sub(rf"(?<![\w-]){re.escape(host)}(?![\w-])", "HOST", bare) if host else bare
