"""When a search is asked under Ray Tune, and when there is no more. Without a cluster: Tune's part is played here."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Set
from types import SimpleNamespace
from typing import Any

import pytest

from grokstudy.orchestrator.execution.budget import Budget
from grokstudy.orchestrator.execution.bundle import Bundle
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.retention import KEEP
from grokstudy.trainables.storage.store import Store

Small = Callable[..., RunConfig]
FINISHED = "FINISHED"


class Study:
    """Bundles of two runs each, and what the searcher is asked."""

    def __init__(self, small: Small, root: str) -> None:
        self._small, self._root, self._made = small, root, 0
        self.asked: list[tuple[int, int]] = []
        self.answers: list[int | None] = []
        """How many bundles each ask gives; none at all from then on."""

    def bundle(self) -> Bundle:
        self._made += 1
        configs = [self._small(seed=2 * self._made + member) for member in range(2)]
        how: dict[str, Any] = {"max_failures": 2, "keep": KEEP, "engine": "auto", "cpu": 1.0, "gpu": 0.0}
        return Bundle(root=self._root, packs=[configs], sizes=[{}], **how)

    def refill(self, at_work: Set[str], busy: int) -> list[Bundle] | None:
        self.asked.append((len(at_work), busy))
        count = self.answers.pop(0) if self.answers else 0
        return None if count is None else [self.bundle() for _ in range(count)]


class Tune:
    """What Tune does with a search: asks for trials, gives them workers, says what comes of them."""

    def __init__(self, study: Study, first: int, is_over: Callable[[], bool] = lambda: False) -> None:
        from grokstudy.orchestrator.execution.supply import Supply

        self.running: set[str] = set()
        self._bundles: dict[str, Bundle] = {}
        self.supply = Supply([study.bundle() for _ in range(first)], study.refill, self.running, is_over)

    def ask(self, begin: bool = True) -> str | None:
        """Ask for a trial, which a worker begins at once; its name, or what was said instead."""
        name = f"trial {len(self._bundles)}"
        said = self.supply.suggest(name)
        if not isinstance(said, dict):
            assert said in (None, FINISHED)
            return said
        self._bundles[name] = said["bundle"]
        if begin:
            self.running.add(name)
        return name

    def report(self, name: str, *outcomes: str | None) -> None:
        lines = zip(sorted(self._bundles[name].run_ids), outcomes, strict=True)
        progress = [{"run_id": run_id, "outcome": outcome} for run_id, outcome in lines]
        self.supply.on_trial_result(name, {"progress": progress})

    def end(self, name: str, error: bool = False) -> None:
        self.supply.on_trial_complete(name, error=error)
        self.running.discard(name)


@pytest.fixture
def study(small: Small, store: Store) -> Study:
    return Study(small, store.uri)


def test_it_asks_again_only_when_something_has_ended_since(study: Study) -> None:
    tune = Tune(study, 2)
    first, second = tune.ask(), tune.ask()
    assert first == "trial 0"
    assert second == "trial 1"
    assert [tune.ask() for _ in range(3)] == [None] * 3
    tune.report(first, None, None)
    assert tune.ask() is None
    assert study.asked == []
    tune.report(first, "done", None)
    assert [tune.ask() for _ in range(3)] == [None] * 3
    tune.report(first, "done", None)  # as at every heartbeat
    assert tune.ask() is None
    assert study.asked == [(3, 2)], "one run of four has ended; both workers have something to do"
    study.answers = [1]
    tune.end(first)
    assert tune.ask() == "trial 2"
    assert study.asked == [(3, 2), (2, 1)]


def test_it_does_not_ask_while_a_bundle_waits_for_a_worker(study: Study) -> None:
    tune = Tune(study, 2)
    first, waiting = tune.ask(), tune.ask(begin=False)
    assert first is not None
    assert waiting is not None
    tune.end(first)
    assert tune.ask() is None
    assert study.asked == []
    tune.running.add(waiting)
    assert tune.ask() is None
    assert study.asked == [(2, 1)]


def test_a_failure_is_told_when_the_bundle_ends_as_another_worker_may_try_again(study: Study) -> None:
    tune = Tune(study, 1)
    only = tune.ask()
    assert only is not None
    tune.report(only, "failed", "done")
    assert tune.ask() is None
    assert study.asked == [(1, 1)], "the run that failed is at work"
    tune.end(only, error=True)
    assert tune.ask() == FINISHED
    assert study.asked == [(1, 1), (0, 0)]


@pytest.mark.parametrize("answer", [0, None])
def test_it_is_finished_when_nothing_comes_and_nothing_is_under_way(study: Study, answer: int | None) -> None:
    tune, study.answers = Tune(study, 2), [answer, 0]
    first, second = tune.ask(), tune.ask()
    assert first is not None
    assert second is not None
    tune.end(first)
    assert tune.ask() == (None if answer == 0 else FINISHED), "more may come of what is under way, or none at all"
    tune.end(second)
    assert tune.ask() == FINISHED


def test_it_begins_nothing_when_the_budget_is_gone(study: Study) -> None:
    now = [0.0]
    budget = Budget(hours=1, clock=lambda: now[0])
    tune = Tune(study, 2, lambda: budget.gone)
    first = tune.ask()
    assert first is not None
    now[0] = 3600.0
    assert tune.ask() == FINISHED
    tune.end(first)
    assert tune.ask() == FINISHED
    assert study.asked == []


def test_tune_keeps_nothing_of_it(study: Study) -> None:
    """Tune pickles it before it begins, and what it refers to cannot be."""
    tune = Tune(study, 1, lambda: False)
    assert vars(pickle.loads(pickle.dumps(tune.supply))) == {}
    tune.supply.save("/nowhere/at/all")
    assert tune.ask() == "trial 0"


def test_bundles_that_wait_are_ended_when_the_budget_is_gone() -> None:
    """Tune would give them the workers that become free without asking its scheduler."""
    from grokstudy.orchestrator.execution.callback import Gate

    now, stopped = [0.0], list[str]()
    states = {"trains": "RUNNING", "waits": "PENDING", "lost its worker": "PENDING", "ended": "TERMINATED"}
    trials = [SimpleNamespace(trial_id=name, status=state) for name, state in states.items()]
    gate = Gate(Budget(hours=1, clock=lambda: now[0]), {"trains", "lost its worker"})
    controller = SimpleNamespace(get_trials=lambda: trials, stop_trial=lambda trial: stopped.append(trial.trial_id))
    now[0] = 3600.0
    assert gate.choose_trial_to_run(controller) is None
    assert stopped == ["waits"]
