"""The story of one run as its files tell it: when it began, its attempts, how it ended, the traceback of a crash."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from grokstudy.orchestrator.units import duration
from grokstudy.trainables.messages import printable
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import RunDir, last_lease, run_ids
from grokstudy.trainables.storage.store import Store


def find_run(store: Store, begin: str) -> str:
    """The run whose id begins so. Raises ValueError when there is none or more than one."""
    matches = [run_id for run_id in run_ids(store) if run_id.startswith(begin)]
    if len(matches) == 1:
        return matches[0]
    what = f"{len(matches)} runs begin so: {', '.join(matches[:5])}" if matches else "there is no such run"
    raise ValueError(f"{store.uri}: {begin!r}: {what}")


def story(store: Store, run_id: str) -> dict[str, Any]:
    """All that is known of a run, as plain values."""
    folder = RunDir(store, run_id)
    about = folder.read("run.json") or {}
    facts = {key: about.get(key) for key in ("host", "commit", "data_hash", "versions", "started")}
    return {
        "run_id": run_id,
        **facts,
        "attempts": last_lease(folder)["attempt"],
        "rows": _attempts(folder),
        "checkpoints": [path.split("/")[-1] for path in store.list(folder.checkpoints)],
        "done": folder.read("DONE.json"),
        "failed": folder.read("FAILED.json"),
    }


def _attempts(folder: RunDir) -> list[dict[str, int]]:
    """Which training steps each attempt wrote that are still there."""
    try:
        steps = records.read(folder, "steps")
    except (OSError, ValueError):  # a torn part; `verify` names it
        return []
    grouped = steps.group_by("attempt").aggregate([("step", "min"), ("step", "max"), ("step", "count")])
    ordered = sorted(grouped.to_pylist(), key=lambda row: int(row["attempt"]))
    return [
        {"attempt": row["attempt"], "first": row["step_min"], "last": row["step_max"], "rows": row["step_count"]}
        for row in ordered
    ]


def story_text(facts: Mapping[str, Any]) -> str:
    """The story in lines, safe for a terminal: a marker may be a stranger's."""
    began = "never began"
    if facts["started"] is not None:
        began = f"began {datetime.fromtimestamp(facts['started'], UTC):%Y-%m-%d %H:%M:%S} UTC on {facts['host']}"
    lines = [f"run {facts['run_id']}: {began}"]
    lines += [f"  {key:<9} {facts[key]}" for key in ("commit", "data_hash") if facts[key]]
    lines += [f"  attempt {row['attempt']}: steps {row['first']:,} to {row['last']:,}" for row in facts["rows"]]
    lost = facts["attempts"] - len(facts["rows"])
    lines += [f"  {lost} of {facts['attempts']} attempts left no step"] if lost > 0 else []
    return printable("\n".join([*lines, *_end(facts["done"], facts["failed"], facts["checkpoints"])]))


def _end(done: Mapping[str, Any] | None, failed: Mapping[str, Any] | None, checkpoints: list[str]) -> list[str]:
    lines = []
    if done is not None:
        took = f" after {duration(done['seconds'])}" if "seconds" in done else ""
        lines.append(f"  {done['reason']} at step {done['step']:,}{took}")
        lines += [f"  note: checkpoint {name} was torn and passed over" for name in done.get("torn_checkpoints") or ()]
    if failed is not None:
        text = str(failed.get("traceback") or "").strip().replace("\n", "\n    ")
        lines.append(f"  failed at step {failed.get('step', 0):,}: {failed.get('error')}")
        lines += [f"    {text}"] if text else []
    if done is None and failed is None:
        newest = checkpoints[-1] if checkpoints else "none yet"
        lines.append(f"  not ended; newest checkpoint: {newest}")
    return lines
