"""One launch: a disposable Ray Tune experiment over the runs that are still missing.

One of the few files that know Ray. Nothing of the experiment is ever read again: its folder is scratch and is removed,
and `Tuner.restore` is not used.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from grokstudy.orchestrator.execution.breaker import Breaker, HaltedError
from grokstudy.orchestrator.execution.budget import Budget
from grokstudy.orchestrator.execution.bundle import Bundle, make_bundles
from grokstudy.orchestrator.execution.executor import More, OnProgress, RayStartError
from grokstudy.orchestrator.execution.ray_cluster import check_cluster
from grokstudy.orchestrator.execution.ray_node import NodeWatch, fewest_processes
from grokstudy.orchestrator.execution.resources import check_resources, cluster_address, granted, workers_at_once
from grokstudy.orchestrator.execution.stopping import Stopping
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.messages import first_line
from grokstudy.trainables.storage.store import Store

if TYPE_CHECKING:
    from grokstudy.orchestrator.execution.supply import Refill

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AUTH_MODE": "token",
}

ON_THIS_MACHINE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # as Ray does on a Mac: every listener on 127.0.0.1
    "RAY_enable_metrics_collection": "0",
    "AUTOSCALER_METRIC_PORT": "-1",
    "DASHBOARD_METRIC_PORT": "-1",
}
"""Of a Ray that serves one run on one machine: it listens on loopback alone, and nobody asks for its metrics."""

SCRATCH = "grokstudy-tune-"
WARM, WARM_S = "import ray.dashboard.agent, ray._private.runtime_env.agent.main", 120.0
"""What Ray's agents import: once read, it comes from memory."""


def launch(
    study: Study, runs: list[Run], store: Store, on_progress: OnProgress, measured: bool = True,
    more: More = lambda _: None, budget: Budget | None = None,
) -> bool:  # fmt: skip
    """Train these runs to their length, each with its retries; whether paused ones are to go on now.

    Unless `measured`, runs of a pack of size `auto` train alone where there is no GPU. Where a worker has nothing to
    do, `more` is asked. Once the `budget` is gone no bundle is begun.

    A run that fails for good ends up as FAILED.json, not as an exception. Returns early, with runs unfinished, when
    the process receives SIGINT. Raises HaltedError when it is pointless to go on.
    """
    set_environment()
    from grokstudy.orchestrator.execution.callback import LaunchCallback
    from grokstudy.orchestrator.execution.pack_size import Sizer

    # Tune warns once per trial that its own loggers, which are off, left no file.
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    breaker = Breaker()
    stopping = Stopping(study, runs, store)
    runs = stopping.admitted(runs)
    if not runs or (budget is not None and budget.gone):
        return False
    callback = LaunchCallback(on_progress, store, breaker, stopping)
    with ray_session(), _scratch() as scratch:
        check_resources(study)
        resources = granted(study)
        sizer = Sizer(resources) if measured or resources["gpu"] else Sizer(resources, lambda *_: 1)
        budget = budget or Budget()
        workers = budget.workers = workers_at_once(study)

        def refill(at_work: Set[str], busy: int) -> list[Bundle] | None:
            new = more(at_work)
            if not new:
                return None if new is None else []
            stopping.begin(new)
            free = max(1, workers - busy)
            return make_bundles(study, new, store, resources, free, sizer.meanwhile, sizer.sizes, "ray")

        first = more({run.run_id for run in runs})
        stopping.begin(first or [])
        runs = [*runs, *(first or [])]
        bundles = make_bundles(study, runs, store, resources, workers, sizer, sizer.sizes, "ray")
        tuner = _tuner(study, bundles, None if first is None else refill, callback, scratch, budget)
        with callback.watchdog:
            tuner.fit()
    if breaker.reason is not None:
        raise HaltedError(breaker.reason)
    return stopping.conclude()


@contextlib.contextmanager
def _scratch() -> Iterator[str]:
    """A folder for Tune, removed afterwards, and with it those of drivers that were killed."""
    for old in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*-*"):
        pid = old.name.removeprefix(SCRATCH).split("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{SCRATCH}{os.getpid()}-") as folder:
        yield folder


def set_environment() -> None:
    """Settings that Ray reads when it is imported. A cluster of our own gets a token of its own."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if cluster_address() is None:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        for name, value in ON_THIS_MACHINE.items():
            os.environ.setdefault(name, value)


def _start_ray(ray: Any) -> None:
    """Start Ray here or join it, the second time with its agent's imports warm: Ray gives the agent 15 s to come up.

    Its processes inherit that SIGHUP is blocked: where a terminal goes away, the driver decides when they end.
    """
    check_cluster(cluster_address())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        _init(ray)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _init(ray: Any) -> None:
    """Call it, and once more where it gave up on processes that were slow to start.

    Without an address Ray would join any Ray that somebody else has running on this machine.
    """
    address = cluster_address()
    for again in (False, True):
        try:
            with fewest_processes():
                ray.init(
                    address or "local",
                    include_dashboard=False,
                    logging_level="ERROR",
                    log_to_driver=False,
                    configure_logging=False,
                )
            return
        except Exception as error:  # Ray raises plain Exception when its processes do not come up
            ray.shutdown()
            if address is not None:
                raise HaltedError(f"Ray did not answer at {address}: {first_line(error)}") from error
            if again:
                logs = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()), "ray/session_latest/logs")
                raise RayStartError(f"Ray did not start: {first_line(error)} (its logs: {logs})") from error
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                subprocess.run([sys.executable, "-c", WARM], capture_output=True, timeout=WARM_S, check=False)


@contextlib.contextmanager
def ray_session() -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS, or start Ray on this machine and end it afterwards."""
    import ray

    if ray.is_initialized():
        yield
        return
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        _start_ray(ray)
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put a handler there that aborts
    nodes = NodeWatch(ray._private.worker._global_node)
    try:
        with nodes:
            yield
    finally:
        if nodes.lost is None:
            ray.shutdown()


def _tuner(
    study: Study, bundles: list[Bundle], refill: Refill | None, callback: Any, scratch: str, budget: Budget
) -> Any:  # fmt: skip
    """All bundles as a grid, or, where more may come, as a search that asks for these by `refill`."""
    from ray import tune
    from ray.tune.search import ConcurrencyLimiter

    from grokstudy.orchestrator.execution.callback import Brake, Gate
    from grokstudy.orchestrator.execution.supply import Supply
    from grokstudy.orchestrator.execution.worker import PackTrainable

    most = study.resources.workers if isinstance(study.resources.workers, int) else None
    chosen: dict[str, Any] = {"max_concurrent_trials": most}
    if refill is not None:
        supply = Supply(bundles, refill, callback.running, lambda: budget.gone or callback.breaker.reason is not None)
        # a search without such a limit has one trial wait for a worker at a time, and so for a node
        chosen = {"search_alg": ConcurrencyLimiter(supply, most or sys.maxsize), "num_samples": -1}
    return tune.Tuner(
        tune.with_resources(PackTrainable, granted(study)),
        param_space={"bundle": tune.grid_search(bundles)} if refill is None else None,
        tune_config=tune.TuneConfig(
            scheduler=Gate(budget, callback.running),
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
            **chosen,
        ),
        run_config=tune.RunConfig(
            name=study.name,
            storage_path=scratch,
            verbose=0,
            callbacks=[callback],
            stop=Brake(callback.breaker, lambda: budget.gone and not callback.running),
            failure_config=tune.FailureConfig(max_failures=-1),  # of processes; see pack_queue.py
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # would need storage shared by all nodes
        ),
    )
