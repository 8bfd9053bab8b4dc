"""Registry of schedulers: who stops trials early. A scheduler is one file and one line here, and knows neither Ray nor
files: `on_result(trial, step, metrics)` says `continue`, `pause` or `stop`.

The same objects decide under Ray Tune and under `--local` (`execution/stopping.py`) and in replays of recorded curves
(`execution/simulator.py`). Whoever is stopped or paused keeps a checkpoint and can be extended. Contract tests run over
every entry.
"""

from __future__ import annotations

from grokstudy.orchestrator.schedulers.base import Scheduler
from grokstudy.trainables.registry import Registry

SCHEDULERS: Registry[type[Scheduler]] = Registry(
    "scheduler",
    {
        "fifo": "orchestrator.schedulers.fifo:Fifo",
        "asha": "orchestrator.schedulers.asha:Asha",
        "hyperband": "orchestrator.schedulers.hyperband:Hyperband",
        "median": "orchestrator.schedulers.median:Median",
        "futility": "orchestrator.schedulers.futility:Futility",
    },
)
