"""The driver's ear in Ray Tune: passes progress on and records how trials ended. One of the few files that know Ray."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Collection
from itertools import chain
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler

from grokstudy.orchestrator.execution.breaker import Breaker
from grokstudy.orchestrator.execution.budget import Budget
from grokstudy.orchestrator.execution.executor import OnProgress
from grokstudy.orchestrator.execution.stopping import Stopping
from grokstudy.orchestrator.execution.watchdog import LIMIT_S, Watchdog
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store


class LaunchCallback(TrialProgressCallback):  # type: ignore[misc]
    """Hears every report of every pack, in the place of Tune's own, which prints bundles that were never begun."""

    def __init__(self, on_progress: OnProgress, store: Store, breaker: Breaker, stopping: Stopping) -> None:
        """Pass progress to `on_progress`, `breaker` and `stopping`; look at markers in `store`."""
        self.on_progress, self.store, self.breaker, self.stopping = on_progress, store, breaker, stopping
        self.watchdog = Watchdog(float(os.environ.get("GROKSTUDY_SILENCE_S", LIMIT_S)), self._kill)
        self._trials: dict[str, Any] = {}
        self.running: set[str] = set()
        """Bundles that a worker has."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restore that never happens."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A worker has begun, or begun again."""
        self._trials[trial.trial_id] = trial
        self.running.add(trial.trial_id)
        self.watchdog.beat(trial.trial_id)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """A pack has trained for a while."""
        self.watchdog.beat(trial.trial_id)
        if result["halt"] is not None:
            self.breaker.reason = result["halt"]
        for line in result["progress"]:
            self.breaker.hear(line)
        self.on_progress(result["progress"])
        frozen = self.stopping.hear(result["progress"])
        if frozen and not result["done"]:  # before Tune asks for the next stretch of training
            trial.temporary_state.ray_actor.freeze.remote(frozen)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A worker has ended its bundle."""
        self.running.discard(trial.trial_id)
        self.watchdog.forget(trial.trial_id)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A worker process has died; Tune starts it again when there is room."""
        self.watchdog.forget(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A pack has ended in a way that is not retried."""
        self.running.discard(trial.trial_id)
        self.watchdog.forget(trial.trial_id)
        for config in chain.from_iterable(trial.config["bundle"].packs):
            record_loss(RunDir(self.store, config.run_id), trial.get_error())

    def _kill(self, trial_id: str) -> None:
        """End a silent worker: here by its process id, as one that is stopped answers nobody; elsewhere through Ray."""
        trial = self._trials[trial_id]
        last = trial.last_result or {}
        with contextlib.suppress(Exception):
            if last.get("host") == socket.gethostname():
                os.kill(last["pid"], signal.SIGKILL)
            else:
                ray.kill(trial.temporary_state.ray_actor)


class Brake(tune.Stopper):  # type: ignore[misc]
    """Stops the whole launch once the breaker has a reason to."""

    def __init__(self, breaker: Breaker, is_over: Callable[[], bool] = lambda: False) -> None:
        """Ask this breaker, and whether there is nothing left to wait for."""
        self.breaker, self._is_over = breaker, is_over

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never one trial alone."""
        return False

    def stop_all(self) -> bool:
        """Whether to stop."""
        return self.breaker.reason is not None or self._is_over()


class Gate(FIFOScheduler):  # type: ignore[misc]
    """Begins no more bundles once the budget is gone."""

    def __init__(self, budget: Budget, running: Collection[str]) -> None:
        """Ask this budget; `running` names the trials that have a worker, or had one that died."""
        super().__init__()
        self.budget, self.running = budget, running

    def choose_trial_to_run(self, tune_controller: Any, **options: Any) -> Any:
        """The next in line. Tune gives workers to those that wait without asking here, so they are ended."""
        if not self.budget.gone:
            return super().choose_trial_to_run(tune_controller, **options)
        for trial in tune_controller.get_trials():
            if trial.status == Trial.PENDING and trial.trial_id not in self.running:
                tune_controller.stop_trial(trial)
        return None


def record_loss(folder: RunDir, error: Exception | None) -> None:
    """Write FAILED.json for a run that ended without leaving a marker of its own."""
    if folder.read("DONE.json") is not None or folder.read("FAILED.json") is not None:
        return
    text = "the worker process ended without a message" if error is None else str(error).strip()
    last_line = text.splitlines()[-1] if text else type(error).__name__
    folder.write("FAILED.json", {"error": last_line, "traceback": text, "attempt": None, "step": 0})
