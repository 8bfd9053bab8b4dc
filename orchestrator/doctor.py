"""Is everything there that a study needs? Each check says what it found and, if that is bad, what to do."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from grokstudy.orchestrator.tracking.mlflow_sync import tracking_uri
from grokstudy.trainables.machine import cores
from grokstudy.trainables.messages import first_line
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.versions import installed

PACKAGES = ("grokstudy", "torch", "ray", "polars", "mlflow", "optuna", "pyarrow", "numpy")
ROOM = 5e9
"""Bytes that should be free under a local root."""


@dataclass(frozen=True)
class Look:
    """One thing that was looked at."""

    name: str
    ok: bool
    said: str
    remedy: str = ""


def checkup(root: str) -> list[Look]:
    """Look at everything. No check raises, and none leaves anything behind."""
    looks: dict[str, Callable[[], Look]] = {
        "versions": _versions,
        "torch": _torch,
        "compiler": _compiler,
        "Ray": _ray,
        "root": lambda: _root(root),
        "room": lambda: _room(root),
        "MLflow": lambda: _mlflow(root),
    }
    return [_guarded(name, check) for name, check in looks.items()]


def _guarded(name: str, check: Callable[[], Look]) -> Look:
    try:
        return check()
    except Exception as error:  # whatever it is, that is the finding
        return Look(name, False, first_line(error, 1000), "see the message")


def _versions() -> Look:
    versions = installed(*PACKAGES)
    absent = [name for name in PACKAGES if not versions.get(name)]
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    cure = "install grokstudy with pip, or run `make setup` in a checkout"
    remedy = f"not installed: {', '.join(absent)}; {cure}" if absent else ""
    return Look("versions", not absent, text, remedy)


def _torch() -> Look:
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    names = ", ".join(gpus) if gpus else "no GPU: small models train well on the CPU"
    total = float(torch.ones(3, device="cuda" if gpus else "cpu").sum())
    return Look("torch", total == 3.0, f"{names}; {cores()} CPU cores", "torch cannot add; reinstall it")


def _compiler() -> Look:
    """Not needed: without one, `engine: compile` carries out steps one by one."""
    name = os.environ.get("CXX", "g++")
    path = shutil.which(name)
    text = f"{path}, for engine: compile" if path else f"no {name}: with engine: compile, steps are not compiled"
    return Look("compiler", True, text)


def _ray() -> Look:
    """Start Ray for real, or join the cluster of RAY_ADDRESS, and end it again."""
    from grokstudy.orchestrator.execution.breaker import HaltedError
    from grokstudy.orchestrator.execution.resources import cluster_address
    from grokstudy.orchestrator.execution.tuner import ray_session, set_environment

    address, began = cluster_address(), time.monotonic()
    set_environment()
    import ray

    try:
        with ray_session():
            seconds, resources = time.monotonic() - began, ray.cluster_resources()
    except HaltedError as error:
        remedy = "is the address right?" if address else "grokstudy run trains without it meanwhile, as --local does"
        return Look("Ray", False, first_line(error, 1000), remedy)
    place = f"joined {address}" if address else "started here"
    amounts = f"{resources.get('CPU', 0):.0f} CPUs, {resources.get('GPU', 0):.0f} GPUs"
    return Look("Ray", True, f"Ray {ray.__version__} {place} in {seconds:.1f} s: {amounts}")


def _root(root: str) -> Look:
    store = Store(root)
    store.patience_s = 0.0
    if store.exists(""):
        store.write(".doctor", b"written")
        store.delete(".doctor")
        return Look("root", True, f"{store.uri}: can be written")
    return Look("root", True, f"{store.uri}: is not there yet; the first study makes it")


def _room(root: str) -> Look:
    store = Store(root)
    if not store.local:
        return Look("room", True, "not a local root")
    path = store.base
    while not os.path.exists(path):
        path = os.path.dirname(path)
    free = shutil.disk_usage(path).free
    return Look("room", free > ROOM, f"{free / 1e9:.1f} GB free at {path}", "free space, or use another --root")


def _mlflow(root: str) -> Look:
    import urllib.request

    uri = tracking_uri(Store(root))
    if not uri.startswith("http"):
        opened = shlex.join([sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri])
        return Look("MLflow", True, f"{uri} (open it with {opened})")
    with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=10) as answer:
        return Look("MLflow", answer.status == 200, f"{uri}: answers {answer.status}", "is that an MLflow server?")
