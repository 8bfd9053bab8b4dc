"""The bundles of a search, as Ray Tune takes them: those that are there, then those of points asked for meanwhile.

One of the few files that know Ray. Tune calls `suggest` before each of its steps, so many times a second; the study's
searcher is asked only when a run has ended since, and no bundle waits for a worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Set
from typing import Any

from ray.tune.search import Searcher

from grokstudy.orchestrator.execution.bundle import Bundle, have_ended

Refill = Callable[[Set[str], int], list[Bundle] | None]
"""(ids of runs at work, bundles under way) -> what there is to do now; None when there will be no more."""


class Supply(Searcher):  # type: ignore[misc]
    """Gives each trial of Tune a bundle, as long as there are any or may come to be any."""

    def __init__(
        self, bundles: Iterable[Bundle], refill: Refill, running: Collection[str], is_over: Callable[[], bool]
    ) -> None:
        """Begin with these; `running` names the trials that have a worker. When it `is_over` nothing more is begun."""
        super().__init__()
        self._bundles, self._refill, self._running, self._is_over = deque(bundles), refill, running, is_over
        self._at_work: dict[str, set[str]] = {}
        """By trial, the runs of its bundle that have not come to their end."""
        self._has_settled = False
        """Whether a run has ended since the searcher was asked."""
        self._is_last = False

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles it for a restore that never happens."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A bundle for this trial; None while there is none, FINISHED when there will be none."""
        if self._is_over():
            return str(Searcher.FINISHED)
        if self._has_settled and not self._bundles and self._at_work.keys() <= set(self._running):
            self._has_settled = False
            new = self._refill(set().union(*self._at_work.values()), len(self._at_work))
            self._is_last = new is None
            self._bundles.extend(new or [])
        if self._bundles:
            bundle = self._bundles.popleft()
            self._at_work[trial_id] = bundle.run_ids
            return {"bundle": bundle}
        return None if self._at_work and not self._is_last else str(Searcher.FINISHED)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Some runs of its bundle may have ended."""
        settled = self._at_work[trial_id] & have_ended(result["progress"])
        self._has_settled |= bool(settled)
        self._at_work[trial_id] -= settled

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Its bundle has come to an end."""
        self._has_settled = True
        self._at_work.pop(trial_id, None)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the run directories are the state."""
