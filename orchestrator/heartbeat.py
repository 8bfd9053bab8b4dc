"""The driver's ear in Ray Tune: passes progress on and records how trials ended. One of the few files that know Ray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray import tune

from trainables.config import RunConfig
from trainables.rundir import RunDir
from trainables.store import Store

OnProgress = Callable[[list[dict[str, Any]]], None]


class Heartbeat(tune.Callback):  # type: ignore[misc]
    """Hears every report of every pack."""

    def __init__(self, on_progress: OnProgress, store: Store) -> None:
        """Pass progress to `on_progress`; look at markers in `store`."""
        self.on_progress, self.store = on_progress, store
        self.stopped: list[str] = []
        """Runs that the scheduler ended early."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restore that never happens."""
        return {}

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """A pack has trained for a while."""
        self.on_progress(result["progress"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A pack has ended by itself, or by the scheduler."""
        unfinished = [line for line in trial.last_result["progress"] if line["outcome"] is None]
        self.stopped.extend(line["run_id"] for line in unfinished)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A pack has used up its retries."""
        for raw in trial.config["pack"]["runs"]:
            record_loss(RunDir(self.store, RunConfig.from_dict(raw).run_id), trial.get_error())


def record_loss(folder: RunDir, error: Exception | None) -> None:
    """Write FAILED.json for a run that ended without leaving a marker of its own."""
    if folder.read("DONE.json") is not None or folder.read("FAILED.json") is not None:
        return
    text = "the worker process ended without a message" if error is None else str(error).strip()
    last_line = text.splitlines()[-1] if text else type(error).__name__
    folder.write("FAILED.json", {"error": last_line, "traceback": text, "attempt": None, "step": 0})


def mark_stopped(folder: RunDir) -> None:
    """Mark a run that the scheduler ended early, at its newest checkpoint."""
    from trainables import checkpoint

    available = checkpoint.steps(folder)
    folder.write("DONE.json", {"step": max(available, default=0), "reason": "stopped"})
