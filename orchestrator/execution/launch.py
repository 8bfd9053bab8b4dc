"""A launch against what was foretold of it: kept in the study's folder from its first moment, completed at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from grokstudy.orchestrator.planning.seconds import Seconds
from grokstudy.orchestrator.runs.siblings import Share
from grokstudy.orchestrator.runs.state import RunState
from grokstudy.orchestrator.runs.study_dir import begin_launch, end_launch
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.trainables.storage.store import Store


@dataclass
class Launch:
    """What one command trains. Nothing is kept of one that nothing was foretold of."""

    store: Store
    study: str
    clock: Callable[[], float] = time.monotonic
    _origins: dict[str, int] = field(default_factory=dict)
    """The steps from which its runs are carried out, those that they jump over counted as there."""
    _at: float = 0.0
    """When it began, in seconds since 1970."""
    _began: float = 0.0
    _seconds: float = 0.0

    def begin(
        self, executor: str, workers: int, foretold: Seconds, runs: Iterable[Run], states: Mapping[str, RunState],
        shares: Mapping[str, Share],
    ) -> None:  # fmt: skip
        """Put down the forecast of these runs, and start the clock. `executor`: ray or local."""
        work = {run.run_id: shares[run.run_id] for run in runs}
        self._origins = {run_id: states[run_id].step + share.jumped for run_id, share in work.items()}
        run_steps = sum(share.trained + share.replayed for share in work.values())
        interval = foretold.mean, foretold.low, foretold.high
        self._at = begin_launch(self.store, self.study, executor, workers, interval, run_steps)
        self._began = self.clock()

    def stop(self) -> None:
        """Stop the clock."""
        self._seconds = self.clock() - self._began

    def end(self, states: Mapping[str, RunState]) -> None:
        """Put down how it ended: how long it took, the steps that were carried out, and whether runs are left open."""
        if not self._origins:
            return
        run_steps = sum(max(0, states[run_id].step - origin) for run_id, origin in self._origins.items())
        is_cut_short = any(states[run_id].open for run_id in self._origins)
        end_launch(self.store, self.study, self._at, self._seconds, run_steps, is_cut_short)
